"""What is said of jobs by who may ask a scheduler: launchers that follow, and `rps proxy feed`.

Three values: queued or running, gone with evidence, and unknown, which is not said at all. Nothing of it
ends a session or a route: that a job lives, its notebook's lease says better.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from aiohttp import web

from rps_proxy.bodies import content, json_object
from rps_proxy.group_commit import RefusedError
from rps_proxy.keys import SharedKey
from rps_proxy.names import is_name
from rps_proxy.networks import AddressSet
from rps_proxy.session import JobReport, JobState

if TYPE_CHECKING:
    from rps_proxy.service import Service

LONGEST_REASON = 200  # characters
LONGEST_FEED = 8 << 20  # bytes: some fifty thousand jobs
_LATEST = 4102444800.0  # 2100; estimates beyond are none
_STATES = frozenset(JobState)
_FIELDS = frozenset({"state", "reason", "estimate"})


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

    def unfinished(self, cluster: object) -> dict[str, Any]:
        """The sessions of a cluster that have a job which is not known to be over."""
        if not isinstance(cluster, str):
            raise RefusedError("bad-request")
        return {
            "jobs": [
                {"name": session.name, "job_id": session.job_id or session.run_id}
                for session in self._service.registry.unfinished(cluster)
            ]
        }

    async def note(self, cluster: object, said: object) -> dict[str, Any]:
        """Take what is said of that cluster's jobs, by session name; of others nothing is taken."""
        if not isinstance(cluster, str) or not isinstance(said, dict):
            raise RefusedError("bad-request")
        reports = {}
        for name, one in said.items():
            if not is_name(name) or not isinstance(one, dict):
                raise RefusedError("bad-request")
            reports[name] = report(one)
        theirs = {session.name for session in self._service.registry.unfinished(cluster)}
        reports = {name: one for name, one in reports.items() if name in theirs}
        noted = await self._service.note_jobs(reports, "feed") if reports else 0
        return {"noted": noted}


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
        if body.keys() != {"jobs"}:
            raise RefusedError("bad-request")
        return await self._feed.note(unquote(cluster), body["jobs"])
