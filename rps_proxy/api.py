"""The API on the management host: docs/protocol.md, version 1, and nothing else."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from rps_core.log import get_logger
from rps_core.version import __version__
from rps_proxy.access import TooFastError, from_page
from rps_proxy.authority import Authority
from rps_proxy.bodies import content, json_object
from rps_proxy.group_commit import BusyError, RefusedError
from rps_proxy.jobs import FeedCalls, report
from rps_proxy.keys import SharedKey, bearer
from rps_proxy.munge import HEADER, Munge
from rps_proxy.names import is_name
from rps_proxy.session import JobState, Phase, Request, Session
from rps_proxy.standing import words_for

if TYPE_CHECKING:
    from rps_proxy.readiness import Readiness
    from rps_proxy.service import Service

LONGEST_REQUEST = 16 * 1024
LONGEST_TEXT = 256  # of a job id, a user's name and the like
LOWEST_PORT = 1024
# The certificate is asked for as the job starts, and the job may be long.
NOTEBOOK_CERTIFICATE_DAYS = 397

_PREFIX = "/api/v1/"
_SECONDS_A_DAY = 86400

_log = get_logger("rps.api")

_REFUSALS = {
    "already-linked": (409, "This session is linked to another job."),
    "already-redeemed": (409, "This session was redeemed already, by another job or address."),
    "bad-port": (400, f"The port must be a number from {LOWEST_PORT} to 65535."),
    "bad-request": (400, "The request is not what docs/protocol.md says."),
    "busy": (503, "The registry cannot be written; nothing was done."),
    "draining": (503, "The service issues no new names for now; sessions go on."),
    "excluded-address": (403, "No route may lead to this address."),
    "from-a-page": (403, "This API is not for web pages."),
    "gone": (410, "This session is over."),
    "limit": (429, "Too many names wait to be used; use or revoke some first."),
    "munge-expired": (
        403,
        "The MUNGE credential is too old, or from the future: are clocks wrong?",
    ),
    "munge-invalid": (403, "The MUNGE credential is damaged, or was made for another request."),
    "munge-replayed": (403, "The MUNGE credential was used before."),
    "munge-required": (401, "This service asks who you are: show a MUNGE credential."),
    "munge-unavailable": (503, "The service's MUNGE daemon does not answer; nothing was done."),
    "no-claim": (401, "This call needs the session's claim; a new name, the service's key."),
    "no-such-call": (404, "There is no such call."),
    "outside-networks": (403, "This call is not for your address."),
    "too-fast": (429, "Your address asks for names too fast."),
    "too-large": (413, f"A request has at most {LONGEST_REQUEST} bytes."),
    "unknown-name": (404, "No session has this name."),
    "wrong-address": (403, "Another address redeemed this session."),
    "wrong-claim": (403, "This is not the session's claim, or not the service's key."),
    "wrong-method": (405, "This call wants another method."),
}


class Api:
    """Answers the calls of launchers and agents for one `Service`.

    Raises:
        ServiceError: there is no usable key in `networks.issue_key_file`.
    """

    def __init__(
        self, service: Service, authority: Authority, readiness: Readiness, munge: Munge | None
    ) -> None:
        networks = service.settings.networks
        self._service = service
        self._authority = authority
        self._readiness = readiness
        self._access = service.access
        # On a machine of many users an address says nothing: names are for who knows the key.
        key_file = networks.issue_key_file
        self._issue_key = SharedKey(Path(key_file), "issuing names") if key_file else None
        self._feed = FeedCalls(service)
        self._munge = munge
        calls: dict[str, tuple[str, Callable[[Session, str, dict[str, Any]], Awaitable[Any]]]] = {
            "": ("GET", self._state),
            "job": ("POST", self._job),
            "link": ("POST", self._link),
            "certificate": ("POST", self._certificate),
            "redeem": ("POST", self._redeem),
            "renew": ("POST", self._renew),
            "revoke": ("POST", self._revoke),
        }
        self._calls = calls

    async def handle(self, request: web.BaseRequest, remote: str) -> web.Response:
        """Answer one call from the address `remote`."""
        try:
            return await self._dispatch(request, remote)
        except RefusedError as refusal:
            self._service.refused("api", refusal.code, remote, request.get("session"))
            if isinstance(refusal, TooFastError):
                return error_response(refusal.code, retry_after=refusal.after)
            return error_response(refusal.code)
        except BusyError as error:
            _log.error("registry-not-written", reason=str(error))
            self._service.refused("api", "busy", remote, request.get("session"))
            return error_response("busy")

    async def _dispatch(self, request: web.BaseRequest, remote: str) -> web.Response:
        if from_page(request):
            raise RefusedError("from-a-page")
        path = request.raw_path.partition("?")[0]
        what, _, rest = path.removeprefix(_PREFIX).partition("/")
        if path.startswith(_PREFIX) and what == "clusters" and self._feed.is_for(remote):
            return _json(await self._feed.answer(request, rest))
        self._access.check_either(remote)
        if not path.startswith(_PREFIX):
            raise RefusedError("no-such-call")
        if what == "health" and not rest:
            _want(request, "GET")
            settings = self._service.settings
            return _json(
                {
                    "status": "ok",
                    "version": __version__,
                    "domain": settings.domain,
                    "draining": self._service.draining,
                }
            )
        if what == "ready" and not rest:
            _want(request, "GET")
            state, status = await self._readiness.answer()
            return _json(state, status=status)
        if what != "sessions":
            raise RefusedError("no-such-call")
        if not rest:
            _want(request, "POST")
            return await self._issue(request, remote)
        name, _, call = rest.partition("/")
        if call not in self._calls:
            raise RefusedError("no-such-call")
        method, answer = self._calls[call]
        _want(request, method)
        self._check_networks(call, remote)
        session = self._claimed(request, name)
        body = json_object(await content(request, LONGEST_REQUEST))
        return _json(await answer(session, remote, body))

    def _check_networks(self, call: str, remote: str) -> None:
        if call in ("redeem", "certificate"):
            self._access.check_target(remote)
        elif call == "renew":
            self._access.check_redeem(remote)

    def _claimed(self, request: web.BaseRequest, name: str) -> Session:
        """The session, once the claim is seen to be its."""
        claim = bearer(request)
        session = self._service.registry.find(name) if is_name(name) else None
        if session is None:
            raise RefusedError("unknown-name")
        request["session"] = session  # for the audit log, should the call be refused
        if not session.opens_with(claim):
            raise RefusedError("wrong-claim")
        return session

    async def _issue(self, request: web.BaseRequest, remote: str) -> web.Response:
        self._access.check_issue(remote)
        if self._issue_key is not None:
            self._issue_key.check(request)
        self._service.rate.take(remote)  # not before: who lacks the key must not use up the owner's
        text = await content(request, LONGEST_REQUEST)
        body = json_object(text)
        user = _text(body, "user")
        if self._munge is not None:  # what the caller says of itself does not count then
            user = await self._munge.user(request.headers.getall(HEADER, []), text)
        asked = Request(
            source=remote,
            cluster=_text(body, "cluster"),
            scheduler=_text(body, "scheduler"),
            user=user,
            authenticated=self._munge is not None,
        )
        claim = secrets.token_urlsafe(32)
        settings, hosts = self._service.settings, self._service.hosts
        name = await self._service.registry.issue(
            asked,
            claim,
            most_per_source=settings.limits.pending_per_source,
            most_per_user=settings.limits.pending_per_user,
        )
        self._service.note("issue", self._service.registry.find(name))
        host = hosts.host(name)
        answer = {
            "name": name,
            "host": host,
            "url": f"https://{hosts.public(host)}/",
            "claim": claim,
            "expires_in": round(settings.keep.pending * _SECONDS_A_DAY),
        }
        return _json(answer, status=201)

    async def _state(self, session: Session, _remote: str, _body: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": session.name,
            "phase": session.phase.name.lower(),
            "live": self._service.is_live(session.name),
            "job_id": session.job,
            "address": session.address,
            "reason": session.reason,
        }

    async def _link(self, session: Session, remote: str, body: dict[str, Any]) -> dict[str, Any]:
        job_id = _text(body, "job_id")
        if not job_id:
            raise RefusedError("bad-request")
        linked = await self._service.registry.link(session.name, job_id)
        self._service.note("link", linked, source=remote)
        return await self._state(linked, remote, body)

    async def _certificate(
        self, session: Session, _remote: str, _body: dict[str, Any]
    ) -> dict[str, Any]:
        if session.phase >= Phase.READY:
            raise RefusedError("gone" if session.phase is Phase.GONE else "already-redeemed")
        host = self._service.hosts.host(session.name)
        leaf = await asyncio.to_thread(self._authority.issue, [host], NOTEBOOK_CERTIFICATE_DAYS)
        # Only the job's agent asks for it, so the job runs: the queue's word comes later, or never.
        if session.job_state is not JobState.RUNNING:
            await self._service.note_running(session.name)
        return {
            "certificate": leaf.certificate.decode(),
            "key": leaf.key.decode(),
            "ca": self._authority.certificate.decode(),
        }

    async def _job(self, session: Session, _remote: str, body: dict[str, Any]) -> dict[str, Any]:
        if session.phase is Phase.GONE:
            raise RefusedError("gone")
        await self._service.note_jobs({session.name: report(body)}, "launcher")
        return {}

    async def _redeem(self, session: Session, remote: str, body: dict[str, Any]) -> dict[str, Any]:
        port = body.get("port")
        # bool is an int in Python, not in JSON
        if not isinstance(port, int) or isinstance(port, bool) or not LOWEST_PORT <= port <= 65535:
            raise RefusedError("bad-port")
        await self._service.redeem(session.name, remote, port, _text(body, "job_id"))
        return {**self._lease(), "address": remote}

    async def _renew(self, session: Session, remote: str, _body: dict[str, Any]) -> dict[str, Any]:
        if session.phase is Phase.GONE:
            raise RefusedError("gone")
        if session.address != remote:
            raise RefusedError("wrong-address")
        await self._service.renew(session)
        return self._lease()

    async def _revoke(self, session: Session, remote: str, body: dict[str, Any]) -> dict[str, Any]:
        reason = _line(body.get("reason")) or "ended"
        told = words_for(body.get("cause"))
        revoked = await self._service.revoke(session.name, reason, remote, told)
        return await self._state(revoked, remote, body)

    def _lease(self) -> dict[str, Any]:
        lease = self._service.settings.lease
        return {"lease": lease.length, "renew_every": lease.renew_every}


def error_response(code: str, retry_after: int = 10) -> web.Response:
    """The answer that refuses a call; `code` is one of docs/protocol.md."""
    status, message = _REFUSALS[code]
    response = _json({"error": code, "message": message}, status=status)
    if status in (429, 503):
        response.headers["Retry-After"] = str(retry_after)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Munge" if code == "munge-required" else "Bearer"
    return response


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(value).encode(),
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
    )


def _want(request: web.BaseRequest, method: str) -> None:
    if request.method != method:
        raise RefusedError("wrong-method")


def _text(body: dict[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise RefusedError("bad-request")
    return value


def _line(value: object) -> str:
    """A text of any length and characters as one short line: to end a session must not fail for it."""
    if not isinstance(value, str | None):
        raise RefusedError("bad-request")
    printable = "".join(c if c.isprintable() else " " for c in value or "")
    return " ".join(printable.split())[:LONGEST_TEXT]
