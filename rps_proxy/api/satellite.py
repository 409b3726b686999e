"""Answer the satellite's calls byte for byte (docs/protocol.md), at every host.

The text of a refusal begins with `Oops! `. Its status is 200 as at the satellite, except in two cases:
`getlink.cgi` refuses with 4xx or 5xx, because galyleo takes the last word of a 200 for a name
(`galyleo.sh`, `galyleo_launch`); and a registry that cannot be written is 503 (the satellite's scripts die
there, which Apache answers with 500). A call needs no claim, only the name: each name issued and redeemed
this way is logged as a warning and counted.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from aiohttp import web

from rps_core.log import get_logger
from rps_proxy.api.answers import error_headers, error_response
from rps_proxy.api.satellite_jobs import clean_job_id, job_states
from rps_proxy.control.access import from_page
from rps_proxy.http.body import content
from rps_proxy.networks import AddressSet
from rps_proxy.refusals import BusyError, Refusal, RefusedError
from rps_proxy.registry.names import is_name
from rps_proxy.registry.session import JobReport, JobState, Phase, Request, Session

if TYPE_CHECKING:
    from rps_proxy.control.service import Service

LONGEST_JOB_ID = 47
LONGEST_REPORT = 8 << 20  # bytes: a hundred thousand jobs
MOST_FIELDS = 100  # of a form: each costs time in which no other request is answered
OLDEST_STATE = 600.0  # seconds; an earlier report of a job's state is not used

INDEX = ("/", "/index.cgi")
HELP = "Please see documentation on how to use this service.\n"
ISSUE_CALL = "/getlink.cgi"
STATE_CALL = "/tokenjobstate.cgi"  # the one call that pages make

_PORT = re.compile(r"[0-9]{4,5}")

_log = get_logger("rps.satellite")


class _OopsError(Exception):
    """The call is refused with this text; `cause` is the API's code for it."""

    def __init__(self, text: str, cause: Refusal) -> None:
        super().__init__(text)
        self.cause = cause


class SatelliteCalls:
    """Answers the calls of the satellite's clients."""

    def __init__(self, service: Service) -> None:
        settings = service.settings
        self._service = service
        self._networks = settings.networks
        self._settings = settings.satellite
        self._users = AddressSet(settings.satellite.networks or ("0.0.0.0/0", "::/0"))
        self._reporters = AddressSet(settings.satellite.job_states_from)
        # The satellite's clients send neither a key nor a credential.
        self._issues = settings.networks.issue_key_file is None and settings.auth == "none"
        self._calls: dict[str, tuple[str, Callable[[_Call], Awaitable[web.Response]]]] = {
            ISSUE_CALL: ("", self._getlink),
            "/linktoken.cgi": ("GET", self._linktoken),
            "/redeemtoken.cgi": ("GET", self._redeemtoken),
            "/destroytoken.cgi": ("GET", self._destroytoken),
            STATE_CALL: ("GET", self._tokenjobstate),
            "/update-jobs.cgi": ("POST", self._update_jobs),
        }

        if self._settings.calls:
            counters = service.counters
            counters.expect("refused", call=map(_name, self._calls), cause=Refusal)
            counters.expect("without-claim", call=("getlink", "redeemtoken"))

    def is_call(self, path: str) -> bool:
        """Return whether a path, without its query, is one of these calls."""
        return self._settings.calls and path in self._calls

    def is_index(self, path: str) -> bool:
        """Return whether a path is the page on hosts that are no session's."""
        return self._settings.calls and path in INDEX

    async def handle(self, request: web.BaseRequest, remote: str) -> web.Response:
        """Answer one call, or the index, to the address `remote`."""
        path, _, query = request.raw_path.partition("?")
        if path in INDEX:
            # As a page that a browser shows: its method is checked like that of a call, its origin is not.
            return _text(HELP if request.method == "GET" else _only("GET"))
        if path != STATE_CALL and from_page(request):
            self._service.refused(_name(path), Refusal.FROM_A_PAGE, remote)
            return error_response(Refusal.FROM_A_PAGE)
        method, answer = self._calls[path]
        call = _Call(request, remote, parse_qs(query, errors="replace"))
        try:
            if method and request.method != method:
                self._service.refused(_name(path), Refusal.WRONG_METHOD, remote)
                return _text(_only(method))
            return await answer(call)
        except _OopsError as error:
            self._service.refused(_name(path), error.cause, remote)
            return _refusal(str(error), error.cause if path == ISSUE_CALL else None)
        except BusyError as error:
            _log.error("registry-not-written", reason=str(error))
            self._service.refused(_name(path), Refusal.BUSY, remote)
            return _refusal("The registry cannot be written, nothing was done", Refusal.BUSY)

    async def _getlink(self, call: _Call) -> web.Response:
        self._inside(call.remote, self._service.access.check_issue, self._networks.issue)
        if not self._issues:
            raise _OopsError(
                "This service gives names to users who prove who they are: use rps",
                Refusal.NO_CLAIM,
            )
        asked = Request(source=call.remote, satellite=True)
        try:
            # The claim is discarded: a satellite session has none.
            name = await self._service.issue(asked, secrets.token_urlsafe(32))
        except RefusedError as refusal:
            draining = refusal.code is Refusal.DRAINING
            why = "This service gives no new tokens for now" if draining else "Too many tokens"
            raise _OopsError(f"{why}, please try again later", refusal.code) from None
        self._service.counters.count("without-claim", call="getlink")
        _log.warning("issued-without-claim", session=name, source=call.remote)
        return _text(f"Your token is \n{name}\n")

    async def _linktoken(self, call: _Call) -> web.Response:
        name = call.parameter("token").lower()
        job_id = clean_job_id(call.parameter("jobid"))
        if not 0 < len(job_id) <= LONGEST_JOB_ID:
            raise _OopsError("Missing 'jobid' parameter", Refusal.BAD_REQUEST)
        self._inside_either(call.remote)
        unknown = "Unknown nonce or nonce already destroyed"
        self._session(name, unknown)
        try:
            linked_to = await self._service.registry.link(name, job_id, once=True)
        except RefusedError as refusal:
            linked = "Nonce already linked to a jobid, you can do this only once!"
            text = linked if refusal.code is Refusal.ALREADY_LINKED else unknown
            raise _OopsError(text, refusal.code) from None
        self._service.note("link", linked_to, source=call.remote)
        return _text("Success! Token linked to jobid.\n", "text/html")

    async def _redeemtoken(self, call: _Call) -> web.Response:
        name = call.parameter("token").lower()
        port = call.parameter("port")
        if not _PORT.fullmatch(port) or not 1024 <= int(port) <= 65535:
            raise _OopsError(
                "'port' parameter isn't an integer between 1024 and 65535", Refusal.BAD_PORT
            )
        self._inside(call.remote, self._service.access.check_target, self._networks.redeem)
        unknown = "Unknown nonce or nonce already used"
        self._session(name, unknown)
        try:
            await self._service.redeem_without_claim(name, call.remote, int(port))
        except RefusedError as refusal:
            raise _OopsError(unknown, refusal.code) from None
        self._service.counters.count("without-claim", call="redeemtoken")
        return _text("Success!\n", "text/html")

    async def _destroytoken(self, call: _Call) -> web.Response:
        name = call.parameter("token").lower()
        self._inside_either(call.remote)
        unknown = "Unknown nonce or nonce already destroyed"
        self._session(name, unknown)
        try:
            await self._service.destroy(name, call.remote)
        except RefusedError as refusal:
            elsewhere = "Nonce must be destroyed from host it was redeemed on"
            text = elsewhere if refusal.code is Refusal.WRONG_ADDRESS else unknown
            raise _OopsError(text, refusal.code) from None
        return _text("Success! Token destroyed.\n", "text/html")

    async def _tokenjobstate(self, call: _Call) -> web.Response:
        name = call.parameter("token").lower().partition(".")[0]
        if not name:
            raise _OopsError("Missing 'token' parameter", Refusal.BAD_REQUEST)
        # For sessions with a claim too: the page on the session's host shows the same to anyone.
        session = self._service.registry.find(name) if is_name(name) else None
        response = _text("" if session is None else self._code(session))
        response.headers["Vary"] = "Origin"
        hosts = self._service.hosts
        if call.request.headers.get("Origin") == f"https://{hosts.public(hosts.host(name))}":
            response.headers["Access-Control-Allow-Origin"] = call.request.headers["Origin"]
        return response

    async def _update_jobs(self, call: _Call) -> web.Response:
        if call.remote not in self._reporters:  # before reading the body, which may be long
            allowed = self._settings.job_states_from
            raise _OopsError(
                f"Client (your) IP not in {_ranges(allowed)}", Refusal.OUTSIDE_NETWORKS
            )
        try:
            seconds = self._service.settings.advanced.call_time
            body = await content(call.request, LONGEST_REPORT, seconds)
        except RefusedError as refusal:
            what = "too long" if refusal.code is Refusal.TOO_LARGE else "too slow"
            raise _OopsError(f"The list of jobs is {what}", refusal.code) from None
        text = body.decode("ascii", "replace")
        try:
            found = parse_qs(text, errors="replace", max_num_fields=MOST_FIELDS)
        except ValueError:
            raise _OopsError("Too many parameters", Refusal.BAD_REQUEST) from None
        states = found.get("jobstates")
        if not states:
            raise _OopsError("Missing 'jobstates' parameter", Refusal.BAD_REQUEST)
        registry = self._service.registry
        # For satellite sessions only: a line does not name the job's owner, which `rps proxy feed` checks.
        reports = {
            name: JobReport(state)
            for job_id, state in job_states(states[0])
            for name in registry.linked(job_id)
        }
        await self._service.note_jobs(reports, "updater")
        return _text("Successfully updated jobs! \n", "text/html")

    def _code(self, session: Session) -> str:
        """Return a session's state as the satellite's code."""
        if session.phase is Phase.GONE:
            return ""  # as for an unknown name: the satellite deletes a session's row when it ends
        fresh = session.job_seen is not None and time.time() - session.job_seen <= OLDEST_STATE
        job = session.job_state if fresh and session.job_id is not None else None
        if job is JobState.GONE:
            return "D"
        if session.phase is Phase.READY:
            live = self._service.routes.is_live(session.name)
            return "PR" if live else "M" if session.lapsed is None else "U"
        return {JobState.QUEUED: "Q", JobState.RUNNING: "R", None: "PE"}[job]

    def _session(self, name: str, unknown: str) -> Session:
        """Return the session of that name, if a satellite call issued it."""
        session = self._service.registry.find(name) if is_name(name) else None
        if session is None or not session.satellite:
            raise _OopsError(unknown, Refusal.UNKNOWN_NAME)
        return session

    def _inside_either(self, remote: str) -> None:
        networks = dict.fromkeys((*self._networks.issue, *self._networks.redeem))
        self._inside(remote, self._service.access.check_either, tuple(networks))

    def _inside(self, remote: str, check: Callable[[str], None], networks: tuple[str, ...]) -> None:
        try:
            if remote not in self._users:
                networks = self._settings.networks or ()
                raise RefusedError(Refusal.OUTSIDE_NETWORKS)
            check(remote)
        except RefusedError as refusal:
            raise _OopsError(
                f"Client (your) IP not in {_ranges(networks)}, please try from within the cluster.",
                refusal.code,
            ) from None


class _Call:
    """One request and the parameters of its query."""

    def __init__(
        self, request: web.BaseRequest, remote: str, parameters: dict[str, list[str]]
    ) -> None:
        self.request = request
        self.remote = remote
        self._parameters = parameters

    def parameter(self, name: str) -> str:
        values = self._parameters.get(name)
        if not values:
            raise _OopsError(f"Missing '{name}' parameter", Refusal.BAD_REQUEST)
        return values[0]


def _only(method: str) -> str:
    return f"Oops! Only {method} method is supported\n"


def _name(path: str) -> str:
    """Return the name of a call in the metrics and the audit log."""
    return path.removeprefix("/").removesuffix(".cgi")


def _ranges(networks: tuple[str, ...]) -> str:
    """Format networks as the satellite does in its refusals."""
    return f"range{'s' if len(networks) > 1 else ''} {' '.join(networks)}"


def _refusal(text: str, cause: Refusal | None) -> web.Response:
    """Return the answer to a refused call, with the status of `cause` or with 200."""
    response = _text(f"Oops! {text}\n")
    if cause is not None:
        response.set_status(cause.status)
        response.headers.update(error_headers(cause))
    return response


def _text(text: str, kind: str = "text/plain") -> web.Response:
    # Not `text=`, which would add a charset.
    return web.Response(body=text.encode(), headers={"Content-Type": kind})
