"""Sessions of launchers killed during a submission: found by tag, ended, unknown."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from rps_core.cluster import ClusterContext
from rps_core.errors import SchedulerError
from rps_core.jobs import Gone, Submission, Unknown
from rps_core.launch import start as launch
from rps_core.models import Cluster
from rps_core.sessions import recover as recovery
from rps_core.state.record import Endpoint, Secrets, SessionRecord
from rps_core.state.session_dir import SessionFiles
from rps_core.state.store import Store
from rps_core.system.shell import Shell, run

COMET = Cluster(name="comet", site="comet", scheduler="slurm")


@dataclass
class Site:
    """A scheduler with these jobs, by tag; None: its plugin does not look for jobs."""

    jobs: Mapping[str, str] | None
    silent: bool = False
    asked: list[list[Submission]] = field(default_factory=list)
    cluster: Cluster = COMET

    def find_jobs(self, submissions: Sequence[Submission], _shell: Any) -> Mapping[str, str] | None:
        self.asked.append(list(submissions))
        if self.silent:
            raise SchedulerError("squeue does not answer", transient=True)
        return self.jobs


@dataclass
class FakeHere:
    site: Site
    shell: Shell = run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "sessions")
    found.probe()
    return found


def interrupted(store: Store, name: str, age: float = 5.0, **more: Any) -> SessionRecord:
    record = SessionRecord(
        name=name, tag=f"rps:{name}:0a0b0c0d", cluster="comet", site="comet", scheduler="slurm",
        url=f"https://{name}.example.org/", endpoint=Endpoint(host="manage.example.org", port=443),
        own_service=False, app="lab", directory="/", walltime=60, created=time.time() - age,
        submitting=True,
    )  # fmt: skip
    record = replace(record, **more)
    files = store.create(record, Secrets("claim", "token"))
    (files.directory / "claim.json").unlink()  # no service is asked here
    return record


def adopt(
    records: Sequence[SessionRecord], site: Site, store: Store
) -> tuple[list[SessionRecord], dict[str, Any]]:
    return recovery.adopt(records, cast("ClusterContext", FakeHere(site)), store)


def test_the_jobs_of_all_are_found_with_one_question(store: Store) -> None:
    records = [interrupted(store, f"one-two-{name}") for name in ("three", "four")]
    site = Site({record.tag: f"1{number}" for number, record in enumerate(records)})
    found, judged = adopt(records, site, store)
    assert [(one.job_id, one.submitting) for one in found] == [("10", False), ("11", False)]
    assert judged == {}
    assert [store.load(one.name).job_id for one in records] == ["10", "11"]
    (asked,) = site.asked
    assert [one.tag for one in asked] == [one.tag for one in records]
    assert adopt(found, site, store) == (found, {})
    assert len(site.asked) == 1, "what is known is not asked for again"


@pytest.mark.parametrize(("age", "kind"), [(5, Unknown), (800, Unknown), (1000, Gone)])
def test_a_job_that_is_denied_is_believed_to_be_none_only_later(
    store: Store, age: float, kind: type
) -> None:
    """An sbatch whose launcher was killed goes on, and tries for minutes to be heard."""
    record = interrupted(store, "one-two-three", age)
    found, judged = adopt([record], Site({}), store)
    assert found == [record]
    assert isinstance(judged["one-two-three"], kind)


@pytest.mark.parametrize("site", [Site({}, silent=True), Site(None)])
def test_without_evidence_there_is_no_conclusion(store: Store, site: Site) -> None:
    record = interrupted(store, "one-two-three", age=10**6)
    found, judged = adopt([record], site, store)
    assert found == [record]
    status = judged.get("one-two-three") or recovery.without_a_job(record)
    assert isinstance(status, Unknown)


def test_what_ended_or_is_another_clusters_or_has_its_job_is_not_looked_for(store: Store) -> None:
    site = Site({})
    records = [
        interrupted(store, "ended-one-here", submitting=False, ended=1.0, outcome="ended", reason="x"),
        interrupted(store, "other-one-here", cluster="tscc"),
        interrupted(store, "known-one-here", submitting=False, job_id="5"),
    ]  # fmt: skip
    assert adopt(records, site, store) == (records, {})
    assert site.asked == []


def test_what_the_job_noted_itself_needs_no_scheduler(store: Store) -> None:
    record = interrupted(store, "one-two-three")
    store.files(record.name).write("job-id", "18\n")
    site = Site({}, silent=True)
    found, judged = adopt([record], site, store)
    assert [one.job_id for one in found] == ["18"]
    assert judged == {}
    assert site.asked == []


def test_a_disk_that_fills_up_during_the_submission_loses_no_job(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is there: its session goes on, and the next command finds it by its tag."""
    record = interrupted(store, "one-two-three")
    site = Site({record.tag: "17"})

    def full(*_arguments: object, **_options: object) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(SessionFiles, "write", full)
        submitted = launch._submitted(cast("ClusterContext", FakeHere(site)), store, record, "17")
        assert (submitted.job_id, submitted.ended) == ("17", None)
        found, _ = adopt([record], site, store)
        assert found[0].job_id == "17"
    assert store.load("one-two-three").job_id is None
    adopt([record], site, store)
    assert store.load("one-two-three").job_id == "17"
