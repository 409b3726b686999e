"""The service's sessions: registry, leases and routes, kept in step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rps_core.log import get_logger
from rps_proxy.control.access import Access
from rps_proxy.control.audit import Audit
from rps_proxy.control.counters import Counters
from rps_proxy.control.drain import is_draining, set_draining
from rps_proxy.control.leases import Leases
from rps_proxy.control.live_routes import LiveRoutes
from rps_proxy.control.metrics import EVENTS
from rps_proxy.control.rates import IssueRates
from rps_proxy.control.wall_clock import WallClock
from rps_proxy.engine import Engine, Target
from rps_proxy.hostnames import Hosts
from rps_proxy.pages.catalogue import Catalogue
from rps_proxy.pages.events import Waiting
from rps_proxy.pages.state import PageState, standing
from rps_proxy.refusals import BusyError, Refusal
from rps_proxy.registry.expiry import Kept
from rps_proxy.registry.names import is_name
from rps_proxy.registry.pools import MADE_ROOM
from rps_proxy.registry.registry import Registry
from rps_proxy.registry.session import JobReport, JobState, Phase, Request, Session
from rps_proxy.settings.model import Settings

EXPIRE_EVERY = 60.0  # seconds
REPORTERS = ("agent", "launcher", "feed", "updater")  # the senders of job states
MOST_ENDED = 100_000  # kept records of ended sessions, some 300 bytes each
_DAY = 86400

_T = TypeVar("_T")

_log = get_logger("rps.service")


class Service:
    """One service on its directory. A session has a route while it holds a lease.

    The registry decides, and answers do not wait for an engine that does not answer. A change that was begun
    is finished even if its caller disconnects: else a session could be revoked, and its route stay.
    """

    def __init__(
        self,
        settings: Settings,
        directory: Path,
        hosts: Hosts,
        engine: Engine,
        counters: Counters,
        catalogue: Catalogue,
    ) -> None:
        self.settings = settings
        self.hosts = hosts
        self.registry = Registry(directory / "registry.db")
        self.access = Access(settings.networks)
        self._rates = IssueRates(settings.limits)
        self.registry.draining = is_draining(directory)
        self.started, self.started_at = time.monotonic(), time.time()
        self._wall_clock = WallClock()
        self.counters = counters
        self.counters.expect("events", kind=EVENTS)
        self.counters.expect("job_reports", by=REPORTERS, state=JobState)
        if settings.engine_kind == "embedded":
            self.counters.expect("worker-ends")
        file = settings.audit.file
        if file:
            self.counters.expect("audit-dropped", kind=(*EVENTS, "refusal", "dropped"))
        self.audit = Audit(
            Path(file).expanduser() if file else None,
            settings.advanced.audit_lines_per_minute,
            self.counters,
        )
        advanced = settings.advanced
        self.waiting = Waiting(
            self.standing,
            advanced.waiting_pages,
            advanced.waiting_pages_per_session,
            catalogue,
        )
        self.routes = LiveRoutes(engine, self.waiting.changed, advanced.sweep_every)
        self._directory = directory
        self._unreached: set[str] = set()  # the last check of their way back failed
        self._not_revived: set[str] = set()  # with a route, but still lapsed in the registry
        self._changes: set[asyncio.Task[Any]] = set()  # under way
        self._leases = Leases(settings.lease.length, advanced.sweep_every)
        self._idle_since = time.monotonic()

    async def start(self) -> None:
        """Restore the routes of the registry, except those that have expired."""
        self.audit.fault()
        await self._expire()
        # Each gets a full lease: agents could not renew while the service was down.
        live = [session for session in self.registry.ready() if session.lapsed is None]
        for session in live:
            self._grant(session)
        await self.routes.restore(self._target(session) for session in live)

    async def issue(self, asked: Request, claim: str) -> str:
        """Issue a name within the limits, and return it.

        A refused request does not count: it must take nothing from other users of the address.

        Raises:
            TooFastError: more names than the rates allow.
            RefusedError: `limit`, `draining`.
            BusyError: the registry cannot be written.
        """
        limits = self.settings.limits
        async with self._rates.one_name(asked):
            issued = await self.registry.issue(
                asked,
                claim,
                most_per_source=limits.pending_per_source,
                most_per_user=limits.pending_per_user,
            )
        for name in issued.made_room:
            self.note("revoke", self.registry.find(name), cause=MADE_ROOM)
            _log.warning("made-room", session=name, source=asked.source)
        self.note("issue", self.registry.find(issued.name))
        return issued.name

    async def redeem(
        self,
        name: str,
        address: str,
        port: int,
        run_id: str | None,
        origins: tuple[str, ...] = (),
    ) -> None:
        """Make a session ready and its route live; see `Registry.redeem`."""
        began = time.monotonic()

        async def change() -> None:
            session = await self.registry.redeem(name, address, port, run_id, origins=origins)
            await self._go_live(session, began)
            self.note("redeem", session, source=address)
            _log.info("redeemed", session=name, address=address, port=port)

        await self._whole(change())

    def note_unreached(self, session: Session, tried: str, reason: str) -> None:
        """Note that the service cannot connect to a session's notebook, for its page."""
        if session.name not in self._unreached:
            _log.warning("notebook-unreachable", session=session.name, tried=tried, reason=reason)
        if session.phase < Phase.READY:
            self._unreached.add(session.name)
            self.waiting.changed(session.name)

    async def redeem_without_claim(self, name: str, address: str, port: int) -> None:
        """Make a satellite session ready, once; it has no lease. See `Registry.redeem`."""

        async def change() -> None:
            session = await self.registry.redeem(name, address, port, None, once=True)
            await self._go_live(session)
            self.note("redeem", session, source=address)
            _log.warning("redeemed-without-claim", session=name, address=address, port=port)

        await self._whole(change())

    async def destroy(self, name: str, address: str) -> None:
        """End a satellite session; refused as `Registry.destroy`."""

        async def change() -> None:
            session = await self.registry.destroy(name, address)
            await self._remove_route(name)
            self.note("revoke", session, source=address, cause=session.reason)
            _log.info("destroyed", session=name, address=address)

        await self._whole(change())

    async def renew(self, session: Session) -> None:
        """Renew a lease to its full length; a lapsed session gets its route again."""

        async def bring_back() -> None:
            revived = await self._revive(session.name)
            if revived.name not in self.routes:
                self.note("back", revived, source=revived.address)
                _log.info("back", session=revived.name)
            await self._go_live(revived)

        if session.name in self.routes and session.name not in self._not_revived:
            self._grant(session)
        else:
            await self._whole(bring_back())
        self.counters.count("events", kind="renew")

    async def _revive(self, name: str) -> Session:
        """Note it in the registry, later if the disk is full: the route must not wait."""
        try:
            revived = await self.registry.revive(name)
        except BusyError as error:
            session = self.registry.find(name)
            if session is None or session.phase is not Phase.READY:
                raise
            _log.error("registry-not-written", reason=str(error))
            self._not_revived.add(name)
            return session
        self._not_revived.discard(name)
        return revived

    async def revoke(
        self,
        name: str,
        reason: str,
        source: str | None = None,
        cause: str | None = None,
        notice: str | None = None,
    ) -> Session:
        """End a session and the connections on its route.

        Args:
            name: The session.
            reason: See `Registry.revoke`, as for `cause` and `notice`.
            source: The caller's address, or `operator`, for the audit log.
            cause: The word for the session's page.
            notice: The operator's text for the page.
        """

        async def change() -> Session:
            before = self.registry.find(name)
            session = await self.registry.revoke(name, reason, cause, notice)
            self._leases.drop(name)
            await self._remove_route(name)
            if before is None or before.phase is not Phase.GONE:  # a repeated call ends nothing
                self.note("revoke", session, source=source, cause=session.reason)
                _log.info("revoked", session=name, reason=session.reason)
            return session

        return await self._whole(change())

    async def _whole(self, change: Coroutine[Any, Any, _T]) -> _T:
        """Return the change's result; the change goes on if its caller is cancelled."""
        task = asyncio.get_running_loop().create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    def note(self, event: str, session: Session | None, **more: str | None) -> None:
        """Count an event and write it to the audit log.

        `event` is one of `metrics.EVENTS`, `more` as for `Audit.note`.
        """
        self.counters.count("events", kind=event)
        self.audit.note(event, session, **more)
        if session is not None:
            self.waiting.changed(session.name)

    def refused(
        self, call: str, cause: Refusal, source: str, session: Session | None = None
    ) -> None:
        """Count a refused call and write it to the audit log."""
        self.counters.count("refused", call=call, cause=cause)
        self.audit.note("refusal", session, source=source, cause=cause)

    def drain(self, *, on: bool) -> None:
        """Start or end draining: no new names. A restart does not change it."""
        set_draining(self._directory, on=on)
        self.registry.draining = on
        self.note("drain", None, cause="on" if on else "off")
        _log.info("draining", on=on)

    @property
    def draining(self) -> bool:
        """Return whether no new names are issued."""
        return self.registry.draining

    async def engine_fault(self) -> str | None:
        """Ask the engine now; return why it has not all routes, or None."""
        await self.routes.reconcile()
        return self.routes.fault

    def standing(self, name: str) -> PageState:
        """Return the state of a session for its page."""
        target = self.routes.live_target(name)
        if target is not None:  # the registry, which may be away, is not asked
            return PageState("ready", satellite=not target.verified, name=name)
        session = self.registry.find(name) if is_name(name) else None
        return standing(session, live=False, unreached=name in self._unreached)

    async def note_jobs(self, reports: Mapping[str, JobReport], by: str) -> int:
        """Note the job states that `by`, of REPORTERS, sent; see `Registry.note_jobs`."""
        noted = await self.registry.note_jobs(reports)
        for name, report in reports.items():
            self.counters.count("job_reports", by=by, state=report.state)
            self.waiting.changed(name)
        return noted

    async def note_running(self, name: str) -> None:
        """Note that the job's agent called. A full disk must not refuse the certificate."""
        try:
            await self.note_jobs({name: JobReport(JobState.RUNNING)}, "agent")
        except BusyError as error:
            _log.error("registry-not-written", reason=str(error))

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs as long as the service; one ends after `idle_exit` seconds."""
        return [self._watch_leases(), self.routes.keep_in_step(), self._clean_up()]

    async def end(self) -> None:
        """Finish the changes under way, and close engine and registry; sessions stay."""
        if self._changes:
            await asyncio.wait(self._changes)
        self.routes.close()
        self.registry.close()

    async def _watch_leases(self) -> None:
        while not self._idle_for_long():
            self._sweep()
            await asyncio.sleep(self.settings.advanced.sweep_every)
        _log.info("idle", seconds=self.settings.idle_exit)

    async def _clean_up(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY)
            await self._expire()

    async def _go_live(self, session: Session, asked_at: float | None = None) -> None:
        self._unreached.discard(session.name)
        self._grant(session)
        await self.routes.add(self._target(session), asked_at)

    def _grant(self, session: Session) -> None:
        """Grant a lease; satellite sessions cannot renew one."""
        if not session.satellite:
            self._leases.grant(session.name)

    async def _remove_route(self, name: str) -> None:
        self._unreached.discard(name)
        self._not_revived.discard(name)
        await self.routes.remove(name)

    def _target(self, session: Session) -> Target:
        if session.address is None or session.port is None:
            raise ValueError(f"session {session.name} is ready without an address")
        host = self.hosts.host(session.name)
        verified = not session.satellite
        return Target(session.name, host, session.address, session.port, verified, session.origins)

    def _sweep(self) -> None:
        """Remove the routes whose lease ran out, without waiting for disk or engine."""
        lapsed = self._leases.sweep()
        self._not_revived.difference_update(lapsed)
        if lapsed:
            # Before the next await: a renewal that comes now must find the session lapsed, and its own write
            # must follow this one.
            noted = self.registry.lapse(lapsed)
            self.routes.drop(lapsed)
            task = asyncio.get_running_loop().create_task(self._lapsed(lapsed, noted))
            self._changes.add(task)
            task.add_done_callback(self._changes.discard)
        self.routes.sweep()
        self.audit.sweep()
        self.waiting.beat()

    async def _lapsed(self, names: list[str], noted: Awaitable[None]) -> None:
        try:
            await noted
        except BusyError as error:
            # Harmless: after a restart they get a new lease, which lapses too.
            _log.error("registry-not-written", reason=str(error))
        for name in names:
            _log.info("lapsed", session=name)
            try:
                session = self.registry.find(name)
            except BusyError:
                session = None
            self.note("lapse", session, source=session.address if session else None)
        for name in names:
            self.waiting.changed(name)

    async def _expire(self) -> None:
        keep, now = self.settings.keep, self._wall_clock.now()
        try:
            hours = self.settings.satellite.route_hours
            for name in self.registry.satellite_routes(now - hours * 3600):
                await self.revoke(name, "its route reached its maximum age")
            limits = self.settings.limits
            kept = Kept(
                pending=keep.pending * _DAY,
                lapsed=keep.lapsed * _DAY,
                ended=keep.ended * _DAY,
                most_lapsed_per_source=limits.pending_per_source,
                most_lapsed_per_user=limits.pending_per_user,
                most_ended=MOST_ENDED,
            )
            await self.registry.expire(now, kept)
            self._unreached = {name for name in self._unreached if self.registry.find(name)}
        except BusyError as error:
            _log.error("registry-not-written", reason=str(error))

    def _idle_for_long(self) -> bool:
        if not self.settings.idle_exit:
            return False
        try:
            counts = self.registry.counts()
        except BusyError as error:
            _log.error("registry-not-read", reason=str(error))
            return False
        if sum(counts.values()) > counts["gone"]:
            self._idle_since = time.monotonic()
        return time.monotonic() - self._idle_since >= self.settings.idle_exit
