"""The API on the management host: docs/protocol.md, version 1, and nothing else."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from rps_core.config.origins import are_origins
from rps_core.log import get_logger
from rps_core.node.agent.words import printable, without_addresses
from rps_core.version import __version__
from rps_proxy.api.answers import error_response, json_response
from rps_proxy.api.jobs import FeedCalls, report
from rps_proxy.api.keys import SharedKey, bearer
from rps_proxy.control.access import from_page
from rps_proxy.control.munge import HEADER, Munge
from rps_proxy.control.rates import TooFastError
from rps_proxy.control.way_back import WayBack
from rps_proxy.http.body import content, json_object
from rps_proxy.networks import plain
from rps_proxy.pages.state import known_cause
from rps_proxy.refusals import (
    LONGEST_REQUEST,
    LOWEST_PORT,
    BusyError,
    Refusal,
    RefusedError,
    UnreachableError,
)
from rps_proxy.registry.names import is_name
from rps_proxy.registry.session import JobState, Phase, Request, Session
from rps_proxy.tls.authority import Authority
from rps_proxy.tls.contexts import upstream_context

if TYPE_CHECKING:
    from rps_proxy.control.readiness import Readiness
    from rps_proxy.control.service import Service

LONGEST_TEXT = 256  # of a job id, a user's name and the like
# The job requests the certificate at its start, and must end before it expires.
NOTEBOOK_CERTIFICATE_DAYS = 397

_PREFIX = "/api/v1/"
_SECONDS_A_DAY = 86400

_log = get_logger("rps.api")


class Api:
    """Answers the calls of launchers and agents for one `Service`.

    `closed`: it answers nothing without a secret, not even whether it is ready.

    Raises:
        ServiceError: there is no usable key in `networks.issue_key_file`.
    """

    def __init__(
        self,
        service: Service,
        authority: Authority,
        readiness: Readiness,
        munge: Munge | None,
        *,
        closed: bool = False,
    ) -> None:
        networks = service.settings.networks
        service.counters.expect("refused", call=("api",), cause=Refusal)
        self._service = service
        self._authority = authority
        self._readiness = readiness
        self._access = service.access
        self._way_back = WayBack(
            upstream_context(authority.certificate), service.settings.advanced.connect_timeout
        )
        # On a host with many users the address identifies no user: a personal service requires its key.
        key_file = networks.issue_key_file
        self._issue_key = SharedKey(Path(key_file), "issuing names") if key_file else None
        self._health_key = self._issue_key if closed else None
        self._time = service.settings.advanced.call_time
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
            return error_response(refusal.code, message=refusal.message)
        except BusyError as error:
            _log.error("registry-not-written", reason=str(error))
            self._service.refused("api", Refusal.BUSY, remote, request.get("session"))
            return error_response(Refusal.BUSY)

    async def _dispatch(self, request: web.BaseRequest, remote: str) -> web.Response:
        if from_page(request):
            raise RefusedError(Refusal.FROM_A_PAGE)
        path = request.raw_path.partition("?")[0]
        what, _, rest = path.removeprefix(_PREFIX).partition("/")
        if path.startswith(_PREFIX) and what == "clusters" and self._feed.is_for(remote):
            return json_response(await self._feed.answer(request, rest))
        self._access.check_either(remote)
        if not path.startswith(_PREFIX):
            raise RefusedError(Refusal.NO_SUCH_CALL)
        if self._health_key is not None and what in ("health", "ready"):
            self._health_key.check(request)
        if what == "health" and not rest:
            _want(request, "GET")
            settings = self._service.settings
            return json_response(
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
            return json_response(state, status=status)
        if what != "sessions":
            raise RefusedError(Refusal.NO_SUCH_CALL)
        if not rest:
            _want(request, "POST")
            return await self._issue(request, remote)
        name, _, call = rest.partition("/")
        if call not in self._calls:
            raise RefusedError(Refusal.NO_SUCH_CALL)
        method, answer = self._calls[call]
        _want(request, method)
        self._check_networks(call, remote)
        session = self._claimed(request, name)
        body = json_object(await content(request, LONGEST_REQUEST, self._time))
        return json_response(await answer(session, remote, body))

    async def answer_file(
        self, session: Session, call: str, remote: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Answer a call that came as a file, signed with the session's claim; `file_calls`.

        The node states its address, `remote`. A route leads there only if the server there has the session's
        certificate.

        Returns:
            The status and the answer, as over HTTP.
        """
        try:
            try:
                address = plain(remote)
            except ValueError:
                raise RefusedError(Refusal.BAD_REQUEST) from None
            self._check_networks(call, address)
            checked = {**body, "address": None, "check": True} if call == "redeem" else body
            return 200, await self._calls[call][1](session, address, checked)
        except RefusedError as refusal:
            self._service.refused("api", refusal.code, remote, session)
            return refusal.code.status, {"error": refusal.code, "message": refusal.message}
        except BusyError as error:
            _log.error("registry-not-written", reason=str(error))
            self._service.refused("api", Refusal.BUSY, remote, session)
            return Refusal.BUSY.status, {"error": Refusal.BUSY, "message": Refusal.BUSY.message}

    def _check_networks(self, call: str, remote: str) -> None:
        if call in ("certificate", "redeem", "renew"):
            self._access.check_redeem(remote)

    def _claimed(self, request: web.BaseRequest, name: str) -> Session:
        """Return the session, if the claim is its own."""
        claim = bearer(request)
        session = self._service.registry.find(name) if is_name(name) else None
        if session is None:
            raise RefusedError(Refusal.UNKNOWN_NAME)
        request["session"] = session  # for the audit log, if the call is refused
        if not session.opens_with(claim):
            raise RefusedError(Refusal.WRONG_CLAIM)
        return session

    async def _issue(self, request: web.BaseRequest, remote: str) -> web.Response:
        self._access.check_issue(remote)
        if self._issue_key is not None:
            self._issue_key.check(request)
        text = await content(request, LONGEST_REQUEST, self._time)
        body = json_object(text)
        user = _text(body, "user")
        if self._munge is not None:  # in place of the name that the caller states
            user = await self._munge.user(request.headers.getall(HEADER, []), text, remote)
        asked = Request(
            source=remote,
            cluster=_text(body, "cluster"),
            scheduler=_text(body, "scheduler"),
            user=user,
            authenticated=self._munge is not None,
        )
        claim = secrets.token_urlsafe(32)
        settings, hosts = self._service.settings, self._service.hosts
        # Last: a malformed or unauthenticated request must take nothing from other users of that address.
        name = await self._service.issue(asked, claim)
        host = hosts.host(name)
        answer = {
            "name": name,
            "host": host,
            "url": hosts.url(name),
            "claim": claim,
            "expires_in": round(settings.keep.pending * _SECONDS_A_DAY),
        }
        return json_response(answer, status=201)

    async def _state(self, session: Session, _remote: str, _body: dict[str, Any]) -> dict[str, Any]:
        return {
            "name": session.name,
            "phase": session.phase.name.lower(),
            "live": self._service.routes.is_live(session.name),
            "job_id": session.job,
            "address": session.address,
            "reason": session.reason,
        }

    async def _link(self, session: Session, remote: str, body: dict[str, Any]) -> dict[str, Any]:
        job_id = _text(body, "job_id")
        if not job_id:
            raise RefusedError(Refusal.BAD_REQUEST)
        linked = await self._service.registry.link(session.name, job_id)
        self._service.note("link", linked, source=remote)
        return await self._state(linked, remote, body)

    async def _certificate(
        self, session: Session, remote: str, body: dict[str, Any]
    ) -> dict[str, Any]:
        self._target(remote, body)  # in time: `redeem` would be refused
        if session.phase >= Phase.READY:
            raise RefusedError(
                Refusal.GONE if session.phase is Phase.GONE else Refusal.ALREADY_REDEEMED
            )
        host = self._service.hosts.host(session.name)
        leaf = await asyncio.to_thread(self._authority.issue, [host], NOTEBOOK_CERTIFICATE_DAYS)
        # Only the job's agent requests it, so the job runs: the scheduler's report comes later, or never.
        if session.job_state is not JobState.RUNNING:
            await self._service.note_running(session.name)
        return {
            "certificate": leaf.certificate.decode(),
            "key": leaf.key.decode(),
            "ca": self._authority.certificate.decode(),
        }

    async def _job(self, session: Session, _remote: str, body: dict[str, Any]) -> dict[str, Any]:
        if session.phase is Phase.GONE:
            raise RefusedError(Refusal.GONE)
        await self._service.note_jobs({session.name: report(body)}, "launcher")
        return {}

    async def _redeem(self, session: Session, remote: str, body: dict[str, Any]) -> dict[str, Any]:
        port = body.get("port")
        # bool is an int in Python, not in JSON
        if not isinstance(port, int) or isinstance(port, bool) or not LOWEST_PORT <= port <= 65535:
            raise RefusedError(Refusal.BAD_PORT)
        origins = body.get("origins", [])
        if not are_origins(origins):
            raise RefusedError(Refusal.BAD_REQUEST)
        job_id = _text(body, "job_id")
        check = body.get("check", False)
        if not isinstance(check, bool):
            raise RefusedError(Refusal.BAD_REQUEST)
        address = self._target(remote, body)
        if check or address != remote:
            await self._check_way_back(session, address, port, remote)
        await self._service.redeem(session.name, address, port, job_id, tuple(origins))
        return {**self._lease(), "address": address}

    def _target(self, remote: str, body: dict[str, Any]) -> str:
        """Return the address for the route: the caller's own, or the one that it announces."""
        announced = _text(body, "address")
        if announced is None:
            self._access.check_target(remote)
            return remote
        try:
            address = plain(announced)
        except ValueError:
            raise RefusedError(Refusal.BAD_REQUEST) from None
        if address == remote:
            self._access.check_target(address)
        else:
            self._access.check_announced(address)
        return address

    async def _check_way_back(self, session: Session, address: str, port: int, remote: str) -> None:
        if session.phase is Phase.GONE:
            raise RefusedError(Refusal.GONE)
        host = self._service.hosts.host(session.name)
        try:
            await self._way_back.check(host, address, port, remote)
        except UnreachableError as error:
            self._service.note_unreached(session, error.tried, error.reason)
            raise

    async def _renew(self, session: Session, remote: str, _body: dict[str, Any]) -> dict[str, Any]:
        if session.phase is Phase.GONE:
            raise RefusedError(Refusal.GONE)
        # Where addresses are translated, the next call may come from another one of the translator's.
        if session.address != remote and not self._access.may_be_announced(session.address):
            raise RefusedError(Refusal.WRONG_ADDRESS)
        await self._service.renew(session)
        return self._lease()

    async def _revoke(self, session: Session, remote: str, body: dict[str, Any]) -> dict[str, Any]:
        reason = _line(body.get("reason")) or "ended"
        cause = body.get("cause")
        known = cause if known_cause(cause) else None
        revoked = await self._service.revoke(session.name, reason, remote, known)
        return await self._state(revoked, remote, body)

    def _lease(self) -> dict[str, Any]:
        lease = self._service.settings.lease
        return {"lease": lease.length, "renew_every": lease.renew_every}


def _want(request: web.BaseRequest, method: str) -> None:
    if request.method != method:
        raise RefusedError(Refusal.WRONG_METHOD)


def _text(body: dict[str, Any], key: str) -> str | None:
    value = body.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise RefusedError(Refusal.BAD_REQUEST)
    return value


def _line(value: object) -> str:
    """Shorten a text to one printable line without addresses.

    The reason must not make a revoke fail, and any holder of the claim writes it to the state and the logs.
    """
    if not isinstance(value, str | None):
        raise RefusedError(Refusal.BAD_REQUEST)
    words = printable(value or "", " ").split()
    return without_addresses(" ".join(words))[:LONGEST_TEXT]
