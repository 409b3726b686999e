"""The old dialect: the calls of the service that rps succeeds, byte for byte (docs/protocol.md).

Every answer has status 200; one that refuses is text that begins with `Oops! `. The name is all that is
asked for, so each name given and redeemed this way is logged as a warning and counted.
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
from rps_proxy.access import from_page
from rps_proxy.bodies import content
from rps_proxy.group_commit import BusyError, RefusedError
from rps_proxy.names import is_name
from rps_proxy.networks import AddressSet
from rps_proxy.session import JobReport, JobState, Phase, Request, Session

if TYPE_CHECKING:
    from rps_proxy.service import Service

LONGEST_JOB_ID = 47
LONGEST_REPORT = 8 << 20  # bytes: a hundred thousand jobs
MOST_FIELDS = 100  # of a form: each costs time in which nobody else is answered
OLDEST_STATE = 600.0  # seconds; what was said of a job before that is not told

HELP = "Please see documentation on how to use this service.\n"
STATE_CALL = "/tokenjobstate.cgi"  # the one call that pages make

# The codes of squeue (Slurm) and qstat (Torque, PBS); others say nothing.
_WAITING = frozenset(["CF", "H", "PD", "Q", "RF", "RH", "RQ", "SO", "T", "W"])
_RUNNING = frozenset(["B", "CG", "E", "R", "S", "SI", "ST", "U"])
_GONE = frozenset(["BF", "C", "CA", "CD", "DL", "F", "NF", "OOM", "PR", "RV", "SE", "TO", "X"])

_PORT = re.compile(r"[0-9]{4,5}")

_log = get_logger("rps.cgi")


class _OopsError(Exception):
    """The call is refused, with this text; `cause` is what the API would call it."""

    def __init__(self, text: str, cause: str) -> None:
        super().__init__(text)
        self.cause = cause


class Cgi:
    """Answers the calls of older clients, on the management host."""

    def __init__(self, service: Service) -> None:
        settings = service.settings
        self._service = service
        self._networks = settings.networks
        self._compat = settings.compat
        self._users = AddressSet(settings.compat.networks or ("0.0.0.0/0", "::/0"))
        self._reporters = AddressSet(settings.compat.job_states_from)
        # The old calls show neither a key nor a credential.
        self._issues = settings.networks.issue_key_file is None and settings.auth == "none"
        self._calls: dict[str, tuple[str, Callable[[_Call], Awaitable[web.Response]]]] = {
            "/getlink.cgi": ("", self._getlink),
            "/linktoken.cgi": ("GET", self._linktoken),
            "/redeemtoken.cgi": ("GET", self._redeemtoken),
            "/destroytoken.cgi": ("GET", self._destroytoken),
            STATE_CALL: ("GET", self._tokenjobstate),
            "/update-jobs.cgi": ("POST", self._update_jobs),
        }

    def takes(self, path: str) -> bool:
        """Whether that path, without its query, is one of these calls."""
        return self._compat.cgi and (path == "/" or path in self._calls)

    async def handle(self, request: web.BaseRequest, remote: str) -> web.Response:
        """Answer one call from the address `remote`.

        Raises:
            RefusedError: it was made by a page in a browser.
        """
        path, _, query = request.raw_path.partition("?")
        if path == "/":
            return _text(HELP)
        if path != STATE_CALL and from_page(request):
            raise RefusedError("from-a-page")
        method, answer = self._calls[path]
        call = _Call(request, remote, parse_qs(query, errors="replace"))
        try:
            if method and request.method != method:
                raise _OopsError(f"Only {method} method is supported", "wrong-method")
            return await answer(call)
        except _OopsError as error:
            self._service.refused(_name(path), error.cause, remote)
            return _text(f"Oops! {error}\n")
        except BusyError as error:
            _log.error("registry-not-written", reason=str(error))
            self._service.refused(_name(path), "busy", remote)
            return _text("Oops! The registry cannot be written, nothing was done\n")

    async def _getlink(self, call: _Call) -> web.Response:
        self._inside(call.remote, self._service.access.check_issue, self._networks.issue)
        if not self._issues:
            raise _OopsError(
                "This service gives names to users who prove who they are: use rps", "no-claim"
            )
        limits = self._service.settings.limits
        try:
            self._service.rate.take(call.remote)
            name = await self._service.registry.issue(
                Request(source=call.remote, old_dialect=True),
                secrets.token_urlsafe(32),  # told nobody
                most_per_source=limits.pending_per_source,
            )
        except RefusedError as refusal:
            draining = refusal.code == "draining"
            why = "This service gives no new tokens for now" if draining else "Too many tokens"
            raise _OopsError(f"{why}, please try again later", refusal.code) from None
        self._service.note("issue", self._service.registry.find(name))
        self._service.counters.count("without-claim", call="getlink")
        _log.warning("issued-without-claim", session=name, source=call.remote)
        return _text(f"Your token is \n{name}\n")

    async def _linktoken(self, call: _Call) -> web.Response:
        name = call.parameter("token").lower()
        job_id = re.sub(r"[^-a-zA-Z0-9._]", "", call.parameter("jobid"))
        if not 0 < len(job_id) <= LONGEST_JOB_ID:
            raise _OopsError("Missing 'jobid' parameter", "bad-request")
        self._inside_either(call.remote)
        unknown = "Unknown nonce or nonce already destroyed"
        self._session(name, unknown)
        try:
            linked_to = await self._service.registry.link(name, job_id, once=True)
        except RefusedError as refusal:
            linked = "Nonce already linked to a jobid, you can do this only once!"
            text = linked if refusal.code == "already-linked" else unknown
            raise _OopsError(text, refusal.code) from None
        self._service.note("link", linked_to, source=call.remote)
        return _text("Success! Token linked to jobid.\n", "text/html")

    async def _redeemtoken(self, call: _Call) -> web.Response:
        name = call.parameter("token").lower()
        port = call.parameter("port")
        if not _PORT.fullmatch(port) or not 1024 <= int(port) <= 65535:
            raise _OopsError("'port' parameter isn't an integer between 1024 and 65535", "bad-port")
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
            text = elsewhere if refusal.code == "wrong-address" else unknown
            raise _OopsError(text, refusal.code) from None
        return _text("Success! Token destroyed.\n", "text/html")

    async def _tokenjobstate(self, call: _Call) -> web.Response:
        name = call.parameter("token").lower().partition(".")[0]
        if not name:
            raise _OopsError("Missing 'token' parameter", "bad-request")
        # Of names with a claim as well: it tells no more than the page on the session's own host.
        session = self._service.registry.find(name) if is_name(name) else None
        response = _text("" if session is None else self._code(session))
        response.headers["Vary"] = "Origin"
        hosts = self._service.hosts
        if call.request.headers.get("Origin") == f"https://{hosts.public(hosts.host(name))}":
            response.headers["Access-Control-Allow-Origin"] = call.request.headers["Origin"]
        return response

    async def _update_jobs(self, call: _Call) -> web.Response:
        if call.remote not in self._reporters:  # before its body: to read a long one is work
            allowed = self._compat.job_states_from
            raise _OopsError(f"Client (your) IP not in {_ranges(allowed)}", "outside-networks")
        try:
            text = (await content(call.request, LONGEST_REPORT)).decode("ascii", "replace")
        except RefusedError as refusal:
            raise _OopsError("The list of jobs is too long", refusal.code) from None
        try:
            found = parse_qs(text, errors="replace", max_num_fields=MOST_FIELDS)
        except ValueError:
            raise _OopsError("Too many parameters", "bad-request") from None
        states = found.get("jobstates")
        if not states:
            raise _OopsError("Missing 'jobstates' parameter", "bad-request")
        registry = self._service.registry
        # Of names of this dialect alone: whose the jobs are is not said here, and `rps proxy feed` looks.
        reports = {
            name: JobReport(state)
            for job_id, state in _job_states(states[0])
            for name in registry.linked(job_id)
        }
        await self._service.note_jobs(reports, "updater")
        return _text("Successfully updated jobs! \n", "text/html")

    def _code(self, session: Session) -> str:
        """How a session stands, in the codes of the old service."""
        if session.phase is Phase.GONE:
            return ""  # it forgot them at once
        fresh = session.job_seen is not None and time.time() - session.job_seen <= OLDEST_STATE
        job = session.job_state if fresh and session.job_id is not None else None
        if job is JobState.GONE:
            return "D"
        if session.phase is Phase.READY:
            live = self._service.is_live(session.name)
            return "PR" if live else "M" if session.lapsed is None else "U"
        return {JobState.QUEUED: "Q", JobState.RUNNING: "R", None: "PE"}[job]

    def _session(self, name: str, unknown: str) -> Session:
        """The session of that name, if it was given without a claim."""
        session = self._service.registry.find(name) if is_name(name) else None
        if session is None or not session.old_dialect:
            raise _OopsError(unknown, "unknown-name")
        return session

    def _inside_either(self, remote: str) -> None:
        networks = dict.fromkeys((*self._networks.issue, *self._networks.redeem))
        self._inside(remote, self._service.access.check_either, tuple(networks))

    def _inside(self, remote: str, check: Callable[[str], None], networks: tuple[str, ...]) -> None:
        try:
            if remote not in self._users:
                networks = self._compat.networks or ()
                raise RefusedError("outside-networks")
            check(remote)
        except RefusedError as refusal:
            raise _OopsError(
                f"Client (your) IP not in {_ranges(networks)}, please try from within the cluster.",
                refusal.code,
            ) from None


class _Call:
    """One request, and what stands in its query."""

    def __init__(
        self, request: web.BaseRequest, remote: str, parameters: dict[str, list[str]]
    ) -> None:
        self.request = request
        self.remote = remote
        self._parameters = parameters

    def parameter(self, name: str) -> str:
        values = self._parameters.get(name)
        if not values:
            raise _OopsError(f"Missing '{name}' parameter", "bad-request")
        return values[0]


def _job_states(text: str) -> list[tuple[str, JobState]]:
    """The lines `<jobid> <STATE>` that say something."""
    found = []
    for line in text.splitlines():
        job_id, _, state = " ".join(line.split()).partition(" ")
        for kind, codes in (
            (JobState.QUEUED, _WAITING),
            (JobState.RUNNING, _RUNNING),
            (JobState.GONE, _GONE),
        ):
            if state in codes:
                found.append((re.sub(r"[^-a-zA-Z0-9._]", "", job_id), kind))
    return found


def _name(path: str) -> str:
    """A call as the metrics and the audit log have it."""
    return path.removeprefix("/").removesuffix(".cgi")


def _ranges(networks: tuple[str, ...]) -> str:
    """How the old service named the networks that it was set up with."""
    return f"range{'s' if len(networks) > 1 else ''} {' '.join(networks)}"


def _text(text: str, kind: str = "text/plain") -> web.Response:
    # Not `text=`, which would add a charset.
    return web.Response(body=text.encode(), headers={"Content-Type": kind})
