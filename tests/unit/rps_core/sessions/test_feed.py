"""`rps proxy feed`: what of a scheduler's answer is passed on, and of whose jobs."""

from __future__ import annotations

import os
import pwd
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rps_core.cluster import ClusterContext
from rps_core.jobs import Gone, JobPhase, Known, ObservedJob, Outcome, Unknown
from rps_core.sessions.feed import feed
from rps_core.system.shell import run

WAITS = Known(phase=JobPhase.PENDING)
OVER = Gone(outcome=Outcome.ENDED, evidence="the server no longer knows job 7")
ME = pwd.getpwuid(os.getuid()).pw_name


def passed_on(sighting: ObservedJob, **session: Any) -> dict[str, Any] | None:
    """Return the report to the service on a session whose job is 7."""
    site = SimpleNamespace(
        poll_all_users=lambda job_ids, _shell: dict.fromkeys(job_ids, sighting),
        job_name=lambda name: f"rps-{name}",
    )
    messages: list[dict[str, Any]] = []

    def service(said: dict[str, Any] | None) -> dict[str, Any]:
        if said is None:
            one = {"name": "a-b-c", "job_id": "7", "user": None, "seen": False}
            return {"jobs": [{**one, **session}]}
        messages.append(said)
        return {"noted": len(said["jobs"])}

    feed(cast("ClusterContext", SimpleNamespace(site=site, shell=run)), service)
    assert len(messages) <= 1
    return messages[0] if messages else None


def test_the_sessions_own_job() -> None:
    said = passed_on(ObservedJob(status=WAITS, name="rps-a-b-c", owner="alice"))
    assert said == {"jobs": {"a-b-c": {"state": "queued", "job_id": "7"}}, "foreign": {}}


@pytest.mark.parametrize("status", [WAITS, Known(phase=JobPhase.RUNNING), OVER])
@pytest.mark.parametrize("seen_before", [False, True])
@pytest.mark.parametrize("name", ["rps-d-e-f", "rps-a-b-c-", "rps-a-b", "RPS-a-b-c", "thesis", ""])
def test_another_job(name: str, seen_before: bool, status: Known | Gone) -> None:
    said = passed_on(ObservedJob(status=status, name=name, owner="bob"), seen=seen_before)
    assert said == {"jobs": {}, "foreign": {"a-b-c": {"job_id": "7", "owner": "bob"}}}


@pytest.mark.parametrize(
    ("user", "owner", "theirs"),
    [
        ("alice", "alice", True),
        ("alice", "bob", False),
        ("alice", None, False),
        (f"uid:{os.getuid()}", ME, True),  # the service's host does not know the cluster's users
        (f"uid:{os.getuid()}", "bob", False),
        ("uid:4000000000", "4000000000", False),
        ("uid:99999999999999999999", "99999999999999999999", False),
    ],
)
def test_where_the_user_is_proved(user: str, owner: str | None, theirs: bool) -> None:
    said = passed_on(ObservedJob(status=WAITS, name="rps-a-b-c", owner=owner), user=user)
    assert said is not None
    assert ("a-b-c" in said["jobs"], "a-b-c" in said["foreign"]) == (theirs, not theirs)


@pytest.mark.parametrize("seen_before", [False, True])
def test_one_that_the_scheduler_has_forgotten(seen_before: bool) -> None:
    """Test a job without an owner: it counts as ended if it was the session's before."""
    said = passed_on(ObservedJob(status=OVER), seen=seen_before)
    over = {"a-b-c": {"state": "gone", "reason": "ended", "job_id": "7"}}
    assert said == ({"jobs": over, "foreign": {}} if seen_before else None)


def test_silence_is_not_passed_on() -> None:
    assert passed_on(ObservedJob(status=Unknown(reason="away")), seen=True) is None
    # One that lives and has no name to be known by.
    assert passed_on(ObservedJob(status=WAITS), seen=True) is None


def test_an_owner_is_shown_as_one_short_word() -> None:
    said = passed_on(ObservedJob(status=WAITS, name="x", owner="b\n" * 100))
    assert said is not None
    assert said["foreign"]["a-b-c"]["owner"] == "b?" * 32
