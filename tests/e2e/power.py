"""End a job without a signal, as a node that loses power does."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rps_core.node.agent.processes import start_ticks
from tests.stands.waiting import until


def cut_off(home: Path, found: Mapping[str, Any]) -> None:
    """Kill supervisor, agent and Jupyter of a session at once, and wait for their end."""
    log = home / ".local/state/rps/sessions" / found["name"] / "events.jsonl"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    pids = [int(found["job_id"].partition(".")[0]), *(one["pid"] for one in events if "pid" in one)]
    assert len(pids) == 3
    # Each notices the end of the one before, and the agent would then revoke the route.
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        with suppress(ProcessLookupError):  # it ended with the one before
            os.kill(pid, signal.SIGKILL)
    until(lambda: all(start_ticks(pid) is None for pid in pids), "the end of its processes")
