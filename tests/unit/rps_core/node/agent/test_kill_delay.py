"""The end of a session within the delay from SIGTERM to SIGKILL."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rps_core.node.agent import lease
from rps_core.node.agent.life import Agent
from rps_core.node.agent.time_limit import SchedulerJob
from rps_core.traits import JobTraits
from tests.stands.agent import job_of


class Teller:
    """A call of a service that does not answer."""

    waited = 0.0

    def is_alive(self) -> bool:
        return True

    def join(self, seconds: float) -> None:
        self.waited += seconds


@pytest.mark.parametrize("asked_to_end", [True, False])
@pytest.mark.parametrize(("scheduler", "kill_delay"), [("torque", 2), ("pbs", 10), ("slurm", 30)])
def test_an_end_fits_into_the_schedulers_kill_delay(
    scheduler: str,
    kill_delay: float,
    asked_to_end: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Test all three waits at their longest, by the scheduler's default."""
    job = SchedulerJob(job_of(scheduler))
    assert job.kill_delay == kill_delay
    wake: Any = SimpleNamespace(asked_to_end=asked_to_end, hurry=lambda: False)
    agent = Agent(str(tmp_path), "lab", wake)
    agent.kill_delay = job.kill_delay
    teller = Teller()
    monkeypatch.setattr(lease, "in_thread", lambda work: teller)
    monkeypatch.setattr(lease, "time", SimpleNamespace(monotonic=lambda: teller.waited))
    route = lease.Lease.__new__(lease.Lease)
    route.watch = SimpleNamespace(**vars(wake), kill_delay=job.kill_delay)  # type: ignore[assignment]
    route.revoke("The job was asked to end", "signal")
    first, rest = agent.grace()
    if asked_to_end:
        assert teller.waited + first + rest < 0.7 * kill_delay
    else:
        assert teller.waited == pytest.approx(2)
        assert (first, rest) == (5, 1)


def test_a_session_of_an_older_launcher_has_slurms_kill_delay() -> None:
    older = job_of("slurm")
    del older["kill_delay"]
    assert SchedulerJob(older).kill_delay == 30


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan")])
def test_a_plugins_kill_delay_is_positive(wrong: float) -> None:
    with pytest.raises(ValueError, match="kill_delay"):
        JobTraits(job_id_variable="A", kill_delay=wrong)
