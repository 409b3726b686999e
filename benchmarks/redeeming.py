"""Sessions redeemed and renewed a second, by 8 keep-alive clients at once: each request of wrk is either
the *redeem* of a session that was issued before (durable: an fsync before its answer) or the *renew* of
a session that was redeemed some requests before, so a session takes two requests. Rounds of 3 s, medians."""

from __future__ import annotations

import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import wrk
from benchmarks.processes import FailedError, tree_cpu
from benchmarks.report import Row, at_least, beside
from benchmarks.service import DOMAIN, Service, service

NEEDS: tuple[str, ...] = ("wrk",)
LIMIT = 1_000
CLIENTS = 8
ROUNDS = 3
SECONDS = 3
SESSIONS = 12_000  # for each round, more than one can use up
_SCRIPT = """
local behind = 64 -- more than are under way at once
local sessions, sent = {{}}, 0
for line in io.lines("{sessions}") do sessions[#sessions + 1] = line end
local function call(number, what, body)
  local name, claim = sessions[number]:match("(%S+) (%S+)")
  return wrk.format("POST", "/api/v1/sessions/" .. name .. "/" .. what,
    {{["Host"] = wrk.headers["Host"], ["Authorization"] = "Bearer " .. claim,
      ["Content-Type"] = "application/json"}}, body)
end
function request()
  sent = sent + 1
  local number = math.floor((sent + 1) / 2)
  -- Past the last session there would be nothing to measure: such a request fails, and the benchmark.
  if number > #sessions then return wrk.format("GET", "/used-up") end
  if sent % 2 == 1 or number <= behind then
    return call(number, "redeem", '{{"port": 9999, "job_id": "benchmark"}}')
  end
  return call(number - behind, "renew", "{{}}")
end
"""


def measure(scratch: Path) -> list[Row]:
    """Pairs a second, and what one costs."""
    rates, costs = [], []
    with service(scratch / "redeeming") as running:
        for number in range(ROUNDS):
            sessions = scratch / f"sessions-{number}"
            sessions.write_text("\n".join(_issued(running)))
            script = scratch / "redeem.lua"
            script.write_text(_SCRIPT.format(sessions=sessions))
            before = tree_cpu(running.pid)
            total, rate = wrk.load(
                running.port,
                f"manage.{DOMAIN}:{running.port}",
                "/",
                connections=CLIENTS,
                seconds=SECONDS,
                options=["-s", str(script)],
            )
            if total < 4 * CLIENTS:
                raise FailedError(f"only {total} requests in {SECONDS} s")
            rates.append(rate / 2)
            costs.append((tree_cpu(running.pid) - before) / (total / 2) * 1e3)
    return [
        at_least("redeemed and renewed", statistics.median(rates), LIMIT, "/s"),
        beside("CPU of the service for both", statistics.median(costs), "ms"),
    ]


def _issued(running: Service) -> list[str]:
    """`name claim` of new sessions."""

    def some(count: int) -> list[str]:
        api = running.connection()
        try:
            sessions = [running.issue(api) for _ in range(count)]
        finally:
            api.close()
        return [f"{session.name} {session.claim}" for session in sessions]

    with ThreadPoolExecutor(CLIENTS) as pool:
        parts = pool.map(some, [SESSIONS // CLIENTS] * CLIENTS)
        return [line for part in parts for line in part]
