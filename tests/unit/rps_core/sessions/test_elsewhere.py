"""Two clusters of one name and home directory: neither touches the other's jobs."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from rps_core import cluster
from rps_core.cli.main import rps
from rps_core.cluster import ClusterContext
from rps_core.errors import SchedulerError, UsageError
from rps_core.protocol import Cause
from rps_core.sessions import actions, identity, recover, status
from rps_core.sessions import end as ending
from rps_core.sessions.application import Application
from rps_core.sessions.explain import explain
from rps_core.state.record import Secrets, SessionRecord
from rps_core.state.store import Store
from rps_core.system import cache, paths
from rps_core.system.shell import Finished
from rps_core.testing import TIMEOUT, every_command
from tests.stands.record import RECORD

A, B = "linux@a", "linux@b"


class Slurm:
    """A shell on a cluster; `identity` None: its controller does not answer.

    `name`: that of the job of the session's id; None: it has no such job.
    """

    def __init__(self, identity: str | None, name: str | None = f"rps-{RECORD.name}") -> None:
        self.identity = identity
        self.name = name
        self.asked: list[str] = []

    def __call__(self, *argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        self.asked.append(argv[0])
        if argv[:2] == ("scontrol", "show") and argv[2] == "config":
            if self.identity is None:
                raise SchedulerError("scontrol does not answer", transient=True)
            name, controller = self.identity.split("@")
            text = f"ClusterName = {name}\nSlurmctldHost[0] = {controller}(10.0.0.1)\n"
            return Finished(argv, 0, text, "")
        if argv[0] == "scancel":
            return Finished(argv, 0, "", "scancel: Terminating job 7\n")
        if self.name is None or argv[0] != "squeue":
            return Finished(argv, 0, "", "")
        tag = RECORD.tag if RECORD.name in self.name else "(null)"
        fields = ("7", "PENDING", "N/A", "30:00", "", "Priority", self.name, tag, "N/A")
        return Finished(argv, 0, "\x1f".join(fields) + "\x1e", "")


@pytest.fixture
def store() -> Store:
    """Make a store with a session of cluster A."""
    store = Store(paths.sessions_dir())
    store.directory.mkdir(parents=True)
    record = replace(RECORD, cluster="generic", site="generic", cluster_identity=A)
    store.create(record, Secrets("claim", "token"))
    return store


@pytest.fixture
def revoked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the sessions whose routes were closed."""
    names: list[str] = []

    def revoke(record: SessionRecord, *_: object) -> bool:
        names.append(record.name)
        return True

    monkeypatch.setattr(ending, "revoke", revoke)
    return names


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch, store: Store) -> type[Slurm]:
    """Go to a cluster."""

    class On(Slurm):
        def __init__(self, identity: str | None, name: str | None = f"rps-{RECORD.name}") -> None:
            super().__init__(identity, name)
            here = replace(cluster.find("generic"), shell=self)
            monkeypatch.setattr(Application, "find", lambda *_, **__: here)
            self.here: ClusterContext = here

    monkeypatch.setattr(status, "_ask_service", lambda *_: (None, None))
    return On


def test_elsewhere_its_job_is_not_polled(store: Store, on: type[Slurm]) -> None:
    slurm = on(B)
    (found,) = actions.surveyed(Application(), everything=False)
    assert (found.state, found.cause) == ("unknown", Cause.ELSEWHERE)
    assert found.reason == "its job is on linux@a, and this is linux@b: ask there"
    assert set(slurm.asked) == {"scontrol"}
    done = CliRunner().invoke(rps, ["list"])
    assert "generic (linux@a)" in done.stdout
    assert f"elsewhere: {A}" in " ".join(CliRunner().invoke(rps, ["status"]).stdout.split())


def test_at_home_it_is(store: Store, on: type[Slurm]) -> None:
    slurm = on(A)
    (found,) = actions.surveyed(Application(), everything=False)
    assert found.state == "pending"
    assert slurm.asked == ["scontrol", "squeue"]
    assert found.as_json()["cluster_identity"] == A


def test_at_home_its_job_is_asked_for_first_once_the_cluster_is_known(
    store: Store, on: type[Slurm]
) -> None:
    """Test a job with the session's name: no further command identifies the cluster."""
    on(A)
    actions.surveyed(Application(), everything=False)
    slurm = on(A)
    (found,) = actions.surveyed(Application(), everything=False)
    assert (found.state, slurm.asked) == ("pending", ["squeue"])
    assert identity.of_a_new_session(slurm.here) == A  # type: ignore[attr-defined]
    assert slurm.asked == ["squeue"]


@pytest.mark.parametrize("name", [None, "my-simulation"])
def test_a_job_that_is_not_shown_is_believed_gone_at_home_alone(
    name: str | None, store: Store, on: type[Slurm]
) -> None:
    """The host has the other cluster's commands now, under the same names."""
    on(A)
    actions.surveyed(Application(), everything=False)
    on(B, name)
    (found,) = actions.surveyed(Application(), everything=False)
    assert (found.state, found.cause) == ("unknown", Cause.ELSEWHERE)
    assert store.load(RECORD.name).ended is None
    later = on(B, name)
    (found,) = actions.surveyed(Application(), everything=False)
    assert (found.cause, set(later.asked)) == (Cause.ELSEWHERE, {"scontrol"})
    at_home = on(A, name)
    (found,) = actions.surveyed(Application(), everything=False)
    assert found.cause == (Cause.ID_REUSED if name else Cause.UNKNOWN)
    assert at_home.asked[0] == "scontrol"


def test_a_scheduler_that_does_not_answer_is_not_asked_which_it_is(
    store: Store, on: type[Slurm], monkeypatch: pytest.MonkeyPatch
) -> None:
    on(A)
    actions.surveyed(Application(), everything=False)
    frozen = every_command(TIMEOUT)
    here = replace(cluster.find("generic"), shell=frozen)
    monkeypatch.setattr(Application, "find", lambda *_, **__: here)
    (found,) = actions.surveyed(Application(), everything=False)
    assert found.cause == Cause.SCHEDULER_AWAY
    assert [call[0] for call in frozen.calls] == ["squeue"]


@pytest.mark.parametrize("changed", ["host", "boot", "path", "configuration"])
def test_what_is_known_of_one_cluster_is_used_only_there(
    changed: str, on: type[Slurm], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two clusters can have login nodes of one name, or one login node two clusters."""
    here = on(A).here  # type: ignore[attr-defined]
    assert identity.asked(here) == identity.remembered(here) == A
    if changed == "host":
        monkeypatch.setattr("os.uname", lambda: SimpleNamespace(nodename="other"))
    elif changed == "boot":
        (tmp_path / "boot_id").write_text("0f-1\n")
        monkeypatch.setattr(identity, "_BOOT", tmp_path / "boot_id")
    elif changed == "path":
        (tmp_path / "squeue").write_text("#!/bin/sh\n")
        (tmp_path / "squeue").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
    else:
        monkeypatch.setenv("SLURM_CONF", "/etc/b/slurm.conf")
    assert identity.remembered(here) is None


def test_a_path_with_the_same_programs_is_the_same_cluster(
    on: type[Slurm], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with a conda environment that was activated."""
    here = on(A).here  # type: ignore[attr-defined]
    identity.asked(here)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert identity.remembered(here) == A


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"%s": 7}', '{"%s": {"identity": "linux@b"}}', "[" * 10**5]
)
def test_a_damaged_cache_is_asked_anew(text: str, on: type[Slurm]) -> None:
    slurm = on(A)
    here = slurm.here  # type: ignore[attr-defined]
    where = json.dumps(identity._where(here))[1:-1]
    cache.replace(identity._file(), text.replace("%s", where))
    assert identity.of_a_new_session(here) == A
    assert slurm.asked == ["scontrol"]
    assert identity.remembered(here) == A


def test_a_new_session_has_what_the_scheduler_said_within_the_hour(
    on: type[Slurm], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1e9]
    monkeypatch.setattr(identity, "time", SimpleNamespace(time=lambda: clock[0]))
    assert identity.of_a_new_session(on(A).here) == A  # type: ignore[attr-defined]
    clock[0] += 3500
    assert identity.of_a_new_session(on(B).here) == A  # type: ignore[attr-defined]
    clock[0] += 200
    assert identity.of_a_new_session(on(B).here) == B  # type: ignore[attr-defined]
    clock[0] += 3700
    assert identity.of_a_new_session(on(None).here) is None  # type: ignore[attr-defined]


def test_a_scheduler_that_does_not_say_who_it_is_is_not_asked_further(
    store: Store, on: type[Slurm], revoked: list[str]
) -> None:
    slurm = on(None)
    (found,) = actions.surveyed(Application(), everything=False)
    assert (found.state, found.cause) == ("unknown", Cause.SCHEDULER_AWAY)
    assert found.reason == "scontrol does not answer"
    _, failures = actions.stop(Application(), None, everything=True)
    assert [getattr(error, "transient", None) for error in failures] == [True]
    assert set(slurm.asked) == {"scontrol"}
    assert revoked == []


def test_stop_all_leaves_it_alone(store: Store, on: type[Slurm], revoked: list[str]) -> None:
    slurm = on(B)
    before = store.load(RECORD.name)
    stopped, failures = actions.stop(Application(), None, everything=True)
    assert stopped == []
    assert "was not stopped: its job is on linux@a, and this is linux@b" in str(failures[0])
    assert store.load(RECORD.name) == before
    assert not store.files(RECORD.name).stop_note.exists()
    assert revoked == []
    assert set(slurm.asked) == {"scontrol"}


def test_by_name_its_route_is_closed_and_no_job_is_ended(
    store: Store, on: type[Slurm], revoked: list[str]
) -> None:
    slurm = on(B)
    with pytest.raises(SchedulerError, match=r"its job is on generic \(linux@a\)"):
        actions.stop(Application(), RECORD.name, everything=False)
    assert revoked == [RECORD.name]
    assert set(slurm.asked) == {"scontrol"}
    assert store.load(RECORD.name).ended is None


def test_at_home_it_is_stopped(store: Store, on: type[Slurm], revoked: list[str]) -> None:
    slurm = on(A)
    (stopped,), failures = actions.stop(Application(), None, everything=True)
    assert (stopped.state, failures) == ("ended", [])
    assert "scancel" in slurm.asked


def test_a_lost_job_is_searched_for_at_home_alone(store: Store, on: type[Slurm]) -> None:
    record = replace(RECORD, cluster="generic", cluster_identity=A, job_id=None, submitting=True)
    for which, asked in ((B, {"scontrol"}), (A, {"scontrol", "squeue"})):
        slurm = on(which)
        recover.adopt([record], slurm.here, store)  # type: ignore[attr-defined]
        assert asked <= set(slurm.asked)
        assert ("squeue" in slurm.asked) == (which == A)


def test_why_and_wait_ask_nothing_elsewhere(store: Store, on: type[Slurm]) -> None:
    slurm = on(B)
    assert explain(Application(), RECORD.name).cause == Cause.ELSEWHERE
    done = CliRunner().invoke(rps, ["wait", RECORD.name])
    assert isinstance(done.exception, UsageError)
    assert "it runs on generic (linux@a)" in str(done.exception)
    store.end(store.load(RECORD.name), now=2.0, outcome="ended", reason="over", cause="stopped")
    lines = [one.line for one in explain(Application(), RECORD.name).evidence]
    assert lines == [] or all("scontrol" not in line for line in lines)
    assert set(slurm.asked) == {"scontrol"}


def test_a_record_without_an_identity_is_known_by_the_clusters_name(
    store: Store, on: type[Slurm]
) -> None:
    store.save(replace(store.load(RECORD.name), cluster_identity=None))
    slurm = on(B)
    (found,) = actions.surveyed(Application(), everything=False)
    assert found.state == "pending"
    assert slurm.asked == ["squeue"]
