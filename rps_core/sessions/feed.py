"""Report the scheduler's view of all jobs to the service (`rps proxy feed`).

Run by cron or a timer: one call of the service, one poll, one call of the service. An unknown status is not
reported, nor that of a job that is not the session's own: the feed may see jobs that the session's user may
not, and everyone who knows its address can read the session's page.
"""

from __future__ import annotations

import contextlib
import pwd
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rps_core.jobs import Gone, ObservedJob, Unknown
from rps_core.node.agent.words import printable
from rps_core.protocol import LONGEST_OWNER, Cause
from rps_core.sessions.report_job import report

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_core.proxy_client.job_feed import Feed

_SILENCE = ObservedJob(status=Unknown(reason="the scheduler said nothing of it"))


def feed(here: ClusterContext, service: Feed) -> str:
    """Report all jobs to the service; return a line about it.

    Raises:
        ServiceError: the service does not answer, or rejects the call.
        SchedulerError: the scheduler cannot be asked.
        RpsError: its plugin cannot poll all users' jobs.
    """
    unfinished = service(None)["jobs"]
    sightings: Mapping[str, ObservedJob] = {}
    if unfinished:
        sightings = here.site.poll_all_users(
            sorted({one["job_id"] for one in unfinished}), here.shell
        )
    known: dict[str, Any] = {}
    foreign: dict[str, Any] = {}
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()  # why the scheduler gave no answer
    for one in unfinished:
        job_id, seen = one["job_id"], sightings.get(one["job_id"], _SILENCE)
        said = report(seen.status)
        if isinstance(seen.status, Unknown) and seen.status.cause == Cause.SCHEDULER_AWAY:
            reasons[seen.status.reason] += 1
        if said is not None and not _is_its_own(seen, one, here):
            said = None
            if seen.name is not None:
                foreign[one["name"]] = {"job_id": job_id, "owner": _shown(seen.owner)}
        if said is not None:
            known[one["name"]] = {**said, "job_id": job_id}
        counts[said["state"] if said else "unknown"] += 1
    noted = service({"jobs": known, "foreign": foreign})["noted"] if known or foreign else 0
    states = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    others = f" ({len(foreign)} not the session's own)" if foreign else ""
    why = "".join(f". {reason}" for reason, _ in reasons.most_common(1))
    return f"{len(unfinished)} jobs{f': {states}{others}' if states else ''}; {noted} noted{why}"


def _is_its_own(seen: ObservedJob, session: Mapping[str, Any], here: ClusterContext) -> bool:
    """Return whether the job is the session's own.

    It has the name of the session's job, and belongs to the session's user if the user is authenticated. A
    job that the scheduler has forgotten counts if the feed has found it to be the session's before.
    """
    if seen.name is None:
        return isinstance(seen.status, Gone) and bool(session["seen"])
    user = session["user"]
    if user is not None and seen.owner != _login_name(user):
        return False
    return seen.name == here.site.job_name(session["name"])


def _login_name(user: str) -> str:
    """Return the login name for a service's user.

    A service whose host does not know the cluster's users has `uid:1234`.
    """
    kind, _, number = user.partition(":")
    if kind == "uid" and number.isdecimal():
        with contextlib.suppress(KeyError, OverflowError):
            return pwd.getpwuid(int(number)).pw_name
    return user


def _shown(owner: str | None) -> str | None:
    if owner is None:
        return None
    return printable(owner)[:LONGEST_OWNER]
