"""The load generator `wrk`, and what it reports."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from benchmarks.processes import ADDRESS, FailedError


def load(
    port: int,
    host: str,
    path: str,
    *,
    connections: int,
    seconds: int,
    options: Sequence[str] = (),
) -> tuple[int, float]:
    """Return the requests answered, and their rate, over HTTPS with kept connections."""
    command = [
        "wrk", "-t1", f"-c{connections}", f"-d{seconds}", "-H", f"Host: {host}", *options,
        f"https://{ADDRESS}:{port}{path}",
    ]  # fmt: skip
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    total = re.search(r"(\d+) requests in", said)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", said)
    if total is None or rate is None or "Non-2xx" in said or "Socket errors" in said:
        raise FailedError(f"wrk: {said}")
    return int(total[1]), float(rate[1])
