"""An outage of ten minutes, after which a thousand agents return at once.

No session is lost, since the outage was the service's. The minutes pass by libfaketime, also on
CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from rps_core.node.agent.route import BACK_OFF
from rps_core.node.agent.service import Service as Client
from rps_core.node.agent.service import ServiceAway
from rps_proxy.registry.registry import Registry
from rps_proxy.registry.session import Phase, Request
from tests.stands.fake_clock import Clock
from tests.stands.service import DOMAIN, Service, running_service
from tests.stands.waiting import until

AGENTS = 1000
OUTAGE = 600  # seconds


def thousand(directory: Path) -> dict[str, str]:
    """Sessions that are ready, as the service notes them: claims by name."""
    directory.mkdir(mode=0o700)
    registry = Registry(directory / "registry.db")

    async def fill() -> dict[str, str]:
        claims = [f"claim-{number:x}-{random.getrandbits(128):032x}" for number in range(AGENTS)]
        asked = [registry.issue(Request("127.0.0.1"), claim) for claim in claims]
        names = [issued.name for issued in await asyncio.gather(*asked)]
        found = dict(zip(names, claims, strict=True))
        await asyncio.gather(*(registry.redeem(name, "127.0.0.1", 5000, None) for name in found))
        return found

    try:
        return asyncio.run(fill())
    finally:
        registry.close()


def come_back(service: Service, sessions: dict[str, str], now: Callable[[], None]) -> list[int]:
    """Renew all at once, each as its agent does; return how often each tried.

    `now` runs once they have begun.
    """
    together = threading.Barrier(AGENTS + 1)

    def renew(name: str, claim: str) -> int:
        ca_file = str(service.directory / "ca" / "ca.pem")
        client = Client(f"manage.{DOMAIN}", service.port, "127.0.0.1", ca_file)
        together.wait()
        for attempt in count():
            try:
                client.request("POST", f"/api/v1/sessions/{name}/renew", dict, None, claim)
            except ServiceAway:
                time.sleep(BACK_OFF[min(attempt, len(BACK_OFF) - 1)] * random.uniform(0.7, 1.3))
            else:
                break
        return attempt + 1

    with ThreadPoolExecutor(AGENTS) as agents:
        asked = [agents.submit(renew, *session) for session in sessions.items()]
        together.wait()
        now()
        return [each.result() for each in asked]


def counted(service: Service, event: str) -> int:
    return service.log().count(f'"event": "{event}"')


@pytest.mark.parametrize("outage", ["frozen", "killed", "cut off"])
def test_all_agents_come_back_at_once(
    outage: str, tmp_path: Path, need: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    need("faketime")
    clock = Clock(tmp_path / "clock", monkeypatch, steady=True)
    sessions = thousand(tmp_path / "service")
    # Cut off: only the service's network is gone; it runs, and the leases, made short here, run out.
    lease = {"lease.length": 1, "lease.renew_every": 0.5, "advanced.sweep_every": 0.2}
    with running_service(tmp_path, **(lease if outage == "cut off" else {})) as service:
        monkeypatch.delenv("LD_PRELOAD")  # not for us
        assert service.process
        process = service.process

        def over() -> None:
            time.sleep(0.3)  # they retry meanwhile
            if outage == "frozen":
                process.send_signal(signal.SIGCONT)
            if outage == "killed":
                service.start()

        if outage == "frozen":
            process.send_signal(signal.SIGSTOP)
        elif outage == "killed":
            service.kill()
        else:
            until(lambda: counted(service, "lapsed") >= AGENTS, "all leases run out")
        clock.put(OUTAGE)
        come_back(service, sessions, over)
        if outage == "cut off":
            assert counted(service, "back") >= AGENTS
        else:
            assert counted(service, "lapsed") == 0
        assert '"defect"' not in service.log()
    registry = Registry(tmp_path / "service" / "registry.db")
    try:
        assert {session.name for session in registry.every([Phase.READY])} == set(sessions)
    finally:
        registry.close()
