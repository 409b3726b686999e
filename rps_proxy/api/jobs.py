"""Reports of job states, from launchers that follow a session and the feed.

A job is queued or running, gone with evidence, or unknown, which is not reported. No report ends a session or
a route: the lease of its notebook is better evidence.

The launcher names a session's job, and may name another user's. It queries the scheduler as its user; the
feed may see all users' jobs, and confirms that the job is the session's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from rps_core.log import get_logger
from rps_core.node.agent.protocol import LONGEST_FEED
from rps_core.protocol import LONGEST_OWNER, LONGEST_REASON
from rps_proxy.api.keys import SharedKey
from rps_proxy.http.body import content, json_object
from rps_proxy.networks import AddressSet
from rps_proxy.pages.state import known_cause
from rps_proxy.refusals import Refusal, RefusedError
from rps_proxy.registry.names import is_name
from rps_proxy.registry.session import JobReport, JobState

if TYPE_CHECKING:
    from rps_proxy.control.service import Service
    from rps_proxy.registry.session import Session

_LATEST = 4102444800.0  # 2100; estimates beyond are none
_STATES = frozenset(JobState)
_FIELDS = frozenset({"state", "reason", "estimate"})

_log = get_logger("rps.feed")


def report(said: Mapping[str, Any]) -> JobReport:
    """Parse the report of one job: `state`, optional `reason`, `estimate` if queued.

    A reason that is a word of the protocol is kept. Another, which earlier launchers send and any holder of a
    claim can, is accepted and dropped: only the service and its operator write on its pages.

    Refused: `bad-request`, for any other form or field.
    """
    state, reason, estimate = said.get("state"), said.get("reason"), said.get("estimate")
    if not said.keys() <= _FIELDS or not isinstance(state, str) or state not in _STATES:
        raise RefusedError(Refusal.BAD_REQUEST)
    if reason is not None:
        if not isinstance(reason, str) or not 0 < len(reason) <= LONGEST_REASON:
            raise RefusedError(Refusal.BAD_REQUEST)
        if not reason.isprintable():
            raise RefusedError(Refusal.BAD_REQUEST)
    if estimate is not None:
        number = isinstance(estimate, int | float) and not isinstance(estimate, bool)
        if not number or not 0 < estimate < _LATEST:
            raise RefusedError(Refusal.BAD_REQUEST)
        if state != JobState.QUEUED:
            raise RefusedError(Refusal.BAD_REQUEST)
        estimate = float(estimate)
    return JobReport(JobState(state), reason if known_cause(reason) else None, estimate)


class Feed:
    """The calls of `rps proxy feed`, on the admin socket or the API."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._noted_foreign: set[tuple[str, str]] = set()  # unfinished sessions, with their jobs

    def unfinished(self, cluster: object) -> dict[str, Any]:
        """Return the sessions of a cluster whose job is not known to have ended.

        With the authenticated user, and whether the feed has confirmed the job, to check that it is theirs.
        """
        if not isinstance(cluster, str):
            raise RefusedError(Refusal.BAD_REQUEST)
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
        """Note the reports `said` on that cluster's jobs, by session name; ignore others.

        `foreign`: sessions whose job belongs to another user, with the job's owner.
        """
        foreign = {} if foreign is None else foreign
        if not isinstance(cluster, str) or not isinstance(said, dict):
            raise RefusedError(Refusal.BAD_REQUEST)
        if not isinstance(foreign, dict):
            raise RefusedError(Refusal.BAD_REQUEST)
        reports = {name: _own_job(name, one) for name, one in said.items()}
        owners = {name: _owner(name, one) for name, one in foreign.items()}
        theirs = {one.name: one for one in self._service.registry.unfinished(cluster)}
        reports = {name: one for name, one in reports.items() if name in theirs}
        noted = await self._service.note_jobs(reports, "feed") if reports else 0
        self._note_foreign(theirs, owners)
        return {"noted": noted}

    def _note_foreign(
        self, theirs: Mapping[str, Session], owners: Mapping[str, tuple[str, str | None]]
    ) -> None:
        """Log and count each foreign job once, not at each report."""
        self._noted_foreign &= {(name, session.job or "") for name, session in theirs.items()}
        for name, (job_id, owner) in owners.items():
            session = theirs.get(name)
            if session is None or session.job != job_id or (name, job_id) in self._noted_foreign:
                continue
            self._noted_foreign.add((name, job_id))
            self._service.note(
                "foreign-job", session, cause=f"the job of {owner or 'another user'}"
            )
            _log.warning("foreign-job", session=name, job=job_id, owner=owner)


def _own_job(name: str, said: object) -> JobReport:
    """Parse a report of the feed: as `report`, with `job_id`."""
    if not is_name(name) or not isinstance(said, dict):
        raise RefusedError(Refusal.BAD_REQUEST)
    job_id = said.get("job_id")
    if not isinstance(job_id, str) or not job_id:
        raise RefusedError(Refusal.BAD_REQUEST)
    return replace(report({k: v for k, v in said.items() if k != "job_id"}), own_job=job_id)


def _owner(name: str, said: object) -> tuple[str, str | None]:
    if not is_name(name) or not isinstance(said, dict) or said.keys() != {"job_id", "owner"}:
        raise RefusedError(Refusal.BAD_REQUEST)
    job_id, owner = said["job_id"], said["owner"]
    if not isinstance(job_id, str):
        raise RefusedError(Refusal.BAD_REQUEST)
    if owner is not None and not (
        isinstance(owner, str) and owner.isprintable() and len(owner) <= LONGEST_OWNER
    ):
        raise RefusedError(Refusal.BAD_REQUEST)
    return job_id, owner


class FeedCalls:
    """The API's calls `clusters/NAME/jobs`, for the addresses and key of `feed`.

    Raises:
        ServiceError: there is no usable key in `feed.key_file`.
    """

    def __init__(self, service: Service) -> None:
        settings = service.settings.feed
        self._feed = Feed(service)
        self._time = service.settings.advanced.call_time
        self._networks = AddressSet(settings.networks)
        self._key = SharedKey(Path(settings.key_file), "the feed") if settings.key_file else None

    def is_for(self, address: str) -> bool:
        """Return whether these calls are open to that address."""
        return self._key is not None and address in self._networks

    async def answer(self, request: web.BaseRequest, path: str) -> dict[str, Any]:
        """Answer one call; `path` is what follows `clusters/`."""
        if self._key is None:
            raise RefusedError(Refusal.OUTSIDE_NETWORKS)
        self._key.check(request)
        cluster, _, call = path.partition("/")
        if call != "jobs":
            raise RefusedError(Refusal.NO_SUCH_CALL)
        if request.method == "GET":
            return self._feed.unfinished(unquote(cluster))
        if request.method != "POST":
            raise RefusedError(Refusal.WRONG_METHOD)
        body = json_object(await content(request, LONGEST_FEED, self._time))
        if "jobs" not in body or not body.keys() <= {"jobs", "foreign"}:
            raise RefusedError(Refusal.BAD_REQUEST)
        return await self._feed.note(unquote(cluster), body["jobs"], body.get("foreign"))
