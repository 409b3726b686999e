"""Commands with a plugin that fails before or after its scheduler has acted.

The scheduler keeps a file for each job. No caller can decide from outside what a mistake means: was the job
submitted, or not?
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rps_core.state.record import SessionRecord
from rps_core.state.store import Store
from rps_core.system import paths
from tests.programs.rps_core.hooks.test_faulty_plugins import RPS
from tests.stands.plugins import Distributions, distributions
from tests.stands.service import Service, running_service
from tests.unit.rps_core.hooks.test_faulty_plugins import CLAIMS

__all__ = ["distributions"]

# `fails` is called before and after each hook's work, and fails in the way that the test asked for.
PLUGIN = """\
import json, os, sys, time
from pathlib import Path

BROKEN = json.loads(os.environ.get("BROKEN", "{}"))
JOBS = Path(os.environ["JOBS"])

def fails(hook, moment):
    when, way = BROKEN.get(hook, ("", ""))
    if when == moment:
        if way == "raises":
            1 // 0
        if way == "exits":
            sys.exit(3)
        if way == "hangs":
            time.sleep(3600)
        if way == "refuses":
            raise UsageError("not on this host", "Try another.")
        if way == "refuses at length":
            raise SchedulerError("\\n".join(f"line {number} of a banner" for number in range(9999)))

def answers(hook, right):
    return b"nonsense" if "nonsense" in BROKEN.get(hook, ()) else right

@hookimpl
def rps_site_config():
    return None

@hookimpl
def rps_cluster_identity():
    fails("identity", "before")
    return None

@hookimpl
def rps_submit(spec):
    fails("submit", "before")
    job_id = f"{len(list(JOBS.iterdir())) + 1}"
    (JOBS / job_id).write_text(spec.tag)
    fails("submit", "after")
    if BROKEN.get("submit") == ["after", "announces"]:
        return Submitted(job_id=job_id, words=["Maintenance on", "Monday\\x1b[31m."])
    return answers("submit", job_id)

@hookimpl
def rps_find_jobs(submissions):
    fails("find", "before")
    jobs = {job.read_text(): job.name for job in JOBS.iterdir() if job.suffix == ""}
    return {one.tag: jobs[one.tag] for one in submissions if one.tag in jobs}

@hookimpl
def rps_poll(jobs):
    fails("poll", "before")
    return answers("poll", {job.id: Known(phase=JobPhase.PENDING) for job in jobs})

@hookimpl
def rps_cancel(job):
    fails("cancel", "before")
    if not (JOBS / job.id).exists():
        return False
    (JOBS / job.id).rename(JOBS / f"{job.id}.cancelled")
    fails("cancel", "after")
    return answers("cancel", True)
"""
WAYS = {
    "raises": "ZeroDivisionError: integer division or modulo by zero",
    "exits": "SystemExit: 3",
    "hangs": "no answer within 3 s",
    "nonsense": "its answer is b'nonsense' (bytes), not ",
}
# An answer comes after the work.
MOMENTS = [
    (when, way)
    for when in ("before", "after")
    for way in WAYS
    if (when, way) != ("before", "nonsense")
]


@dataclass
class Host:
    """A login node with the plugin, and what its user sees."""

    service: Service
    plugin: Path
    jobs: Path

    def rps(self, *arguments: str, code: int = 10, **broken: tuple[str, str]) -> tuple[str, str]:
        """Run a command with these hooks broken; return stdout and stderr."""
        hangs = any(way == "hangs" for _, way in broken.values())
        settings = {"own": "false", "domain": self.service.domain, "port": self.service.port,
                    "ca_file": self.service.directory / "ca" / "ca.pem"}  # fmt: skip
        given = [
            word for key, value in settings.items() for word in ("--set", f"proxy.{key}={value}")
        ]
        given += ["--set", "allow_root=true"]
        environment = os.environ | {
            "PYTHONPATH": str(self.plugin.parent), "RPS_BLOCK": "comet,stratus,tscc",
            "BROKEN": json.dumps(broken), "JOBS": str(self.jobs),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-P", "-c", RPS, "3" if hangs else "86400", *arguments, *given],
            capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, done
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    def blamed(self, said: str, hook: str, reason: str) -> None:
        """Check that one error names the distribution, the hook, and file and line."""
        (error,) = [line for line in said.splitlines() if line.startswith("rps: Cannot go on")]
        assert f"the plugin `toy` (rps-toy 2.0): rps_{hook}: {reason}" in error
        assert f"({self.plugin}:" in error

    def session(self) -> SessionRecord:
        """Return the only session."""
        (record,) = Store(paths.sessions_dir()).records()
        return record

    def names(self) -> list[str]:
        """Return the names that the service has issued and not got back."""
        done = subprocess.run(
            [sys.executable, "-c", "from rps_proxy.cli.main import proxy; proxy()", "sessions", "--json",
             f"--set=directory={self.service.directory / 'service'}"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [one["name"] for one in json.loads(done.stdout)]

    def job(self) -> list[str]:
        return sorted(job.name for job in self.jobs.iterdir())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def host(service: Service, distributions: Distributions, tmp_path: Path) -> Host:
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    return Host(service, distributions.install("toy", CLAIMS + PLUGIN), jobs)


def test_a_sound_plugin_starts_and_stops(host: Host) -> None:
    """Test a correct plugin: without it the tests below show nothing."""
    host.rps("start", code=0)
    assert host.session().job_id == "1"
    assert '"pending"' in host.rps("list", "--json", code=0)[0]
    host.rps("stop", code=0)
    assert host.job() == ["1.cancelled"]


@pytest.mark.parametrize("way", WAYS)
def test_a_job_that_the_scheduler_has_accepted_is_cancelled(host: Host, way: str) -> None:
    out, said = host.rps("start", submit=("after", way))
    assert out == ""
    host.blamed(said, "submit", WAYS[way])
    assert "Its job 1 was cancelled." in said
    assert host.job() == ["1.cancelled"]
    record = host.session()
    assert (record.job_id, record.outcome, record.cause) == ("1", "failed", "plugin-broken")
    assert "its job 1 was cancelled" in str(record.reason)
    assert record.name not in host.names()
    assert not (paths.sessions_dir() / record.name / "claim.json").exists()


@pytest.mark.parametrize("way", sorted(WAYS.keys() - {"nonsense"}))
def test_a_job_that_was_never_submitted_leaves_a_record_of_the_cause(host: Host, way: str) -> None:
    out, said = host.rps("start", submit=("before", way))
    assert out == ""
    host.blamed(said, "submit", WAYS[way])
    assert "No job was submitted." in said
    assert host.job() == []
    record = host.session()
    assert (record.job_id, record.outcome, record.cause) == (None, "failed", "plugin-broken")
    assert str(record.reason).startswith("not submitted: ")
    assert record.name not in host.names()
    why = json.loads(host.rps("why", "--json", code=0)[0])
    assert (why["state"], why["cause"]) == ("failed", "plugin-broken")


def test_a_long_refusal_is_shown_whole_and_takes_the_name_back(host: Host) -> None:
    _, said = host.rps("start", code=5, submit=("before", "refuses at length"))
    assert "rps: line 0 of a banner\n" in said
    assert "\nline 9998 of a banner\n" in said
    record = host.session()
    assert record.name not in host.names()
    assert str(record.reason).endswith("line 9998 of a banner")


def test_what_the_scheduler_says_beside_the_id_is_shown_and_kept(host: Host) -> None:
    _, said = host.rps("start", code=0, submit=("after", "announces"))
    assert "local says:\n  Maintenance on\n  Monday [31m.\n" in said
    assert "Maintenance on | Monday [31m.\n" in host.rps("status", code=0)[0]
    (shown,) = json.loads(host.rps("list", "--json", code=0)[0])
    assert shown["scheduler_words"] == ["Maintenance on", "Monday\x1b[31m."]
    host.rps("stop", code=0)


def test_a_job_whose_submission_is_unknown_stays_a_session(host: Host) -> None:
    """Test a submission and a search without answers: the scheduler may have the job."""
    _, said = host.rps("start", submit=("after", "raises"), find=("before", "raises"))
    record = host.session()
    assert (record.job_id, record.submitting, record.ended) == (None, True, None)
    assert (
        f"Its job may have been submitted. `rps list` shows the session, and `rps stop {record.name}`"
        in said
    )
    assert record.name not in host.names()
    assert host.job() == ["1"]
    host.rps("list", code=0, find=("before", "raises"))
    assert host.session().ended is None
    host.rps("stop", code=0)  # the plugin works again: the job is found, and cancelled
    assert host.job() == ["1.cancelled"]
    assert host.session().cause == "stopped"


def test_a_job_that_cannot_be_cancelled_stays_a_session(host: Host) -> None:
    _, said = host.rps("start", submit=("after", "raises"), cancel=("before", "raises"))
    record = host.session()
    assert (record.job_id, record.ended) == ("1", None)
    host.blamed(said, "submit", WAYS["raises"])
    assert "Its job 1 could not be cancelled: " in said
    assert record.name not in host.names()
    host.rps("stop", code=0)
    assert host.job() == ["1.cancelled"]


def test_a_cluster_whose_identity_is_refused_leaves_no_name(host: Host) -> None:
    names = host.names()
    _, said = host.rps("start", code=2, identity=("before", "refuses"))
    assert "not on this host" in said
    assert host.names() == names


@pytest.mark.parametrize("way", WAYS)
def test_a_poll_that_fails_ends_no_session(host: Host, way: str) -> None:
    host.rps("start", code=0)
    before = host.session()
    for command in ("list", "status", "why") if way != "hangs" else ("list",):
        out, said = host.rps(command, poll=("before", way))
        assert out == ""
        host.blamed(said, "poll", WAYS[way])
    assert host.session() == before
    assert before.name in host.names()
    host.rps("stop", code=0, poll=("before", way))  # asks for no state
    assert host.job() == ["1.cancelled"]


@pytest.mark.parametrize(("when", "way"), MOMENTS)
def test_a_cancel_that_fails_keeps_the_record(host: Host, when: str, way: str) -> None:
    """The route is closed at once; the job can be cancelled again."""
    host.rps("start", code=0)
    _, said = host.rps("stop", cancel=(when, way))
    host.blamed(said, "cancel", WAYS[way])
    record = host.session()
    assert (record.job_id, record.ended) == ("1", None)
    assert record.name not in host.names()
    assert host.job() == ["1.cancelled" if when == "after" else "1"]
