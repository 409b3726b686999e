"""What is said of jobs by who may ask a scheduler: launchers that follow, and `rps proxy feed`.

Three values: queued or running, gone with evidence, and unknown, which is not said at all. Nothing of it
ends a session or a route: that a job lives, its notebook's lease says better.

Which job is a session's, its launcher says, and may say of a stranger's. A launcher asks the scheduler as its
user, and learns what that user may; the feed may see more, and says first that the job is the session's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from rps_core.job_reports import LONGEST_OWNER
from rps_core.log import get_logger
from rps_proxy.bodies import content, json_object
from rps_proxy.group_commit import RefusedError
from rps_proxy.keys import SharedKey
from rps_proxy.names import is_name
from rps_proxy.networks import AddressSet
from rps_proxy.session import JobReport, JobState

if TYPE_CHECKING:
    from rps_proxy.service import Service
    from rps_proxy.session import Session

LONGEST_REASON = 200  # characters
LONGEST_FEED = 8 << 20  # bytes: some fifty thousand jobs
_LATEST = 4102444800.0  # 2100; estimates beyond are none
_STATES = frozenset(JobState)
_FIELDS = frozenset({"state", "reason", "estimate"})

_log = get_logger("rps.feed")


def report(said: Mapping[str, Any]) -> JobReport:
    """What is said of one job: `state`, and perhaps `reason` and, of one that waits, `estimate`.

    Refused: `bad-request`, for what is not in this form, other fields included.
    """
    state, reason, estimate = said.get("state"), said.get("reason"), said.get("estimate")
    if not said.keys() <= _FIELDS or not isinstance(state, str) or state not in _STATES:
        raise RefusedError("bad-request")
    if reason is not None:
        if not isinstance(reason, str) or not 0 < len(reason) <= LONGEST_REASON:
            raise RefusedError("bad-request")
        if not reason.isprintable():
            raise RefusedError("bad-request")
    if estimate is not None:
        number = isinstance(estimate, int | float) and not isinstance(estimate, bool)
        if not number or not 0 < estimate < _LATEST:
            raise RefusedError("bad-request")
        if state != JobState.QUEUED:
            raise RefusedError("bad-request")
        estimate = float(estimate)
    return JobReport(JobState(state), reason, estimate)


class Feed:
    """What `rps proxy feed` asks and says, over the admin socket or the API."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._told_foreign: set[tuple[str, str]] = set()  # unfinished sessions, with their jobs

    def unfinished(self, cluster: object) -> dict[str, Any]:
        """The sessions of a cluster that have a job which is not known to be over, and what tells whether
        that job is theirs: the user, where that was proved, and whether the feed has seen it before."""
        if not isinstance(cluster, str):
            raise RefusedError("bad-request")
        return {
            "jobs": [
                {
                    "name": session.name,
                    "job_id": session.job,
                    "user": session.user if session.authenticated else None,
                    "seen": session.own_job == session.job,
                }
                for session in self._service.registry.unfinished(cluster)
            ]
        }

    async def note(self, cluster: object, said: object, foreign: object = None) -> dict[str, Any]:
        """Take what is said of that cluster's jobs, by session name; of others nothing is taken. `foreign`
        are the sessions whose job is not theirs, with its owner."""
        foreign = {} if foreign is None else foreign
        if not isinstance(cluster, str) or not isinstance(said, dict):
            raise RefusedError("bad-request")
        if not isinstance(foreign, dict):
            raise RefusedError("bad-request")
        reports = {name: _own_job(name, one) for name, one in said.items()}
        owners = {name: _owner(name, one) for name, one in foreign.items()}
        theirs = {one.name: one for one in self._service.registry.unfinished(cluster)}
        reports = {name: one for name, one in reports.items() if name in theirs}
        noted = await self._service.note_jobs(reports, "feed") if reports else 0
        self._tell_foreign(theirs, owners)
        return {"noted": noted}

    def _tell_foreign(
        self, theirs: Mapping[str, Session], owners: Mapping[str, tuple[str, str | None]]
    ) -> None:
        """Once for each session and job, and not each minute."""
        self._told_foreign &= {(name, session.job or "") for name, session in theirs.items()}
        for name, (job_id, owner) in owners.items():
            session = theirs.get(name)
            if session is None or session.job != job_id or (name, job_id) in self._told_foreign:
                continue
            self._told_foreign.add((name, job_id))
            self._service.note("foreign-job", session, cause=f"the job of {owner or 'somebody'}")
            _log.warning("foreign-job", session=name, job=job_id, owner=owner)


def _own_job(name: str, said: object) -> JobReport:
    """A report of the feed: as `report` reads it, and `job_id`."""
    if not is_name(name) or not isinstance(said, dict):
        raise RefusedError("bad-request")
    job_id = said.get("job_id")
    if not isinstance(job_id, str) or not job_id:
        raise RefusedError("bad-request")
    return replace(report({k: v for k, v in said.items() if k != "job_id"}), own_job=job_id)


def _owner(name: str, said: object) -> tuple[str, str | None]:
    if not is_name(name) or not isinstance(said, dict) or said.keys() != {"job_id", "owner"}:
        raise RefusedError("bad-request")
    job_id, owner = said["job_id"], said["owner"]
    if not isinstance(job_id, str):
        raise RefusedError("bad-request")
    if owner is not None and not (
        isinstance(owner, str) and owner.isprintable() and len(owner) <= LONGEST_OWNER
    ):
        raise RefusedError("bad-request")
    return job_id, owner


class FeedCalls:
    """The API's calls `clusters/NAME/jobs`: for the addresses and the key of `feed` in proxy.yaml.

    Raises:
        ServiceError: there is no usable key in `feed.key_file`.
    """

    def __init__(self, service: Service) -> None:
        settings = service.settings.feed
        self._feed = Feed(service)
        self._networks = AddressSet(settings.networks)
        self._key = SharedKey(Path(settings.key_file), "the feed") if settings.key_file else None

    def is_for(self, address: str) -> bool:
        """Whether these calls are for that address at all."""
        return self._key is not None and address in self._networks

    async def answer(self, request: web.BaseRequest, path: str) -> dict[str, Any]:
        """Answer one call; `path` is what follows `clusters/`."""
        if self._key is None:
            raise RefusedError("outside-networks")
        self._key.check(request)
        cluster, _, call = path.partition("/")
        if call != "jobs":
            raise RefusedError("no-such-call")
        if request.method == "GET":
            return self._feed.unfinished(unquote(cluster))
        if request.method != "POST":
            raise RefusedError("wrong-method")
        body = json_object(await content(request, LONGEST_FEED))
        if "jobs" not in body or not body.keys() <= {"jobs", "foreign"}:
            raise RefusedError("bad-request")
        return await self._feed.note(unquote(cluster), body["jobs"], body.get("foreign"))
