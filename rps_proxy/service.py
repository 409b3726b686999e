"""The service's state and what changes it: registry, routes and leases kept in step."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rps_core.log import get_logger
from rps_proxy.access import Access, Rate
from rps_proxy.audit import Audit
from rps_proxy.counters import Counters
from rps_proxy.engines import Engine, EngineError, Target, Traffic
from rps_proxy.group_commit import BusyError
from rps_proxy.hosts import Hosts
from rps_proxy.leases import Leases
from rps_proxy.metrics import Durations
from rps_proxy.names import is_name
from rps_proxy.operate import DRAINING_FILE, set_draining
from rps_proxy.registry import Registry
from rps_proxy.session import JobReport, JobState, Phase, Session
from rps_proxy.settings import Settings
from rps_proxy.standing import Standing, standing
from rps_proxy.waiting import Waiting
from rps_proxy.wall_clock import WallClock

EXPIRE_EVERY = 60.0  # seconds
RECONCILE_EVERY = 30.0  # seconds; an engine that was restarted may have lost routes
_DAY = 86400

_T = TypeVar("_T")

_log = get_logger("rps.service")


class Service:
    """One service on its directory. A route is live exactly while its session holds a lease.

    The registry is the truth, and answers do not wait for an engine that is away: what it did not
    take, it gets with `reconcile` once it is back. A change that was begun is carried through, whether or
    not who asked for it is still there: else a session could be revoked, and its route stay.
    """

    def __init__(self, settings: Settings, directory: Path, hosts: Hosts, engine: Engine) -> None:
        self.settings = settings
        self.hosts = hosts
        self.registry = Registry(directory / "registry.db")
        self.access = Access(settings.networks)
        self.rate = Rate(settings.limits.issues_per_minute)
        self.registry.draining = (directory / DRAINING_FILE).exists()
        self.started, self.started_at = time.monotonic(), time.time()
        self._wall_clock = WallClock()
        self.counters = Counters()
        file = settings.audit.file
        self.audit = Audit(
            Path(file).expanduser() if file else None,
            settings.audit.most_per_minute,
            self.counters,
        )
        self.reachable_after = Durations()
        pages = settings.pages
        self.waiting = Waiting(self.standing, pages.most_waiting, pages.most_waiting_of_one)
        self._redeemed_at: dict[str, float] = {}  # those that the engine does not have yet
        self._directory = directory
        self._engine = engine
        self._live: dict[str, Target] = {}
        self._not_taken: set[str] = set()  # of the live: the engine does not have them yet
        self._not_revived: set[str] = set()  # of the live: lapsed, as far as the registry knows
        self._lingering: set[str] = set()  # ended, but the engine was not there to hear of it
        self._in_step: bool | None = None  # whether the engine has all; None: not asked yet
        self._refusals = 0  # changes that the engine did not take
        self._behind = asyncio.Event()  # the engine is to be looked at now
        self._changes: set[asyncio.Task[Any]] = set()  # under way
        self._leases = Leases(settings.lease.length, settings.lease.sweep_every)
        self._idle_since = time.monotonic()

    async def start(self) -> None:
        """Bring the routes of the registry back, but for those whose time is over."""
        self.audit.try_out()
        await self._expire()
        # Our own outage costs nobody the lease; who had lost it before is off until heard of.
        for session in self.registry.ready():
            if session.lapsed is None:
                self._live[session.name] = self._target(session)
                self._grant(session)
        self._not_taken.update(self._live)
        await self._reconcile()

    def is_live(self, name: str) -> bool:
        """Whether the route of that name answers now."""
        return name in self._live and name not in self._not_taken

    async def redeem(self, name: str, address: str, port: int, run_id: str | None) -> None:
        """Make a session ready and its route live; see `Registry.redeem`."""
        began = time.monotonic()

        async def change() -> None:
            session = await self.registry.redeem(name, address, port, run_id)
            if name not in self._live:
                self._redeemed_at[name] = began
            await self._go_live(session)
            self.note("redeem", session, source=address)
            _log.info("redeemed", session=name, address=address, port=port)

        await self._whole(change())

    async def redeem_without_claim(self, name: str, address: str, port: int) -> None:
        """Make a session of the old dialect ready, once; refused as `Registry.redeem`. It has no lease."""

        async def change() -> None:
            session = await self.registry.redeem(name, address, port, None, once=True)
            await self._go_live(session)
            self.note("redeem", session, source=address)
            _log.warning("redeemed-without-claim", session=name, address=address, port=port)

        await self._whole(change())

    async def destroy(self, name: str, address: str) -> None:
        """End a session of the old dialect; refused as `Registry.destroy`."""

        async def change() -> None:
            session = await self.registry.destroy(name, address)
            await self._take_out(name)
            self.note("revoke", session, source=address, cause=session.reason)
            _log.info("destroyed", session=name, address=address)

        await self._whole(change())

    async def renew(self, session: Session) -> None:
        """Put a lease back to its full length; a lapsed session gets its route back."""

        async def bring_back() -> None:
            revived = await self._revive(session.name)
            if revived.name not in self._live:
                self.note("back", revived, source=revived.address)
                _log.info("back", session=revived.name)
            await self._go_live(revived)

        if session.name in self._live and session.name not in self._not_revived:
            self._grant(session)
        else:
            await self._whole(bring_back())
        self.counters.count("events", kind="renew")

    async def _revive(self, name: str) -> Session:
        """As the registry's; a full disk keeps no route away, the registry then hears of it later."""
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
        self, name: str, reason: str, source: str | None = None, told: str | None = None
    ) -> Session:
        """End a session, and everything under way on its route; `source` is who asked, for the audit log,
        `told` what its page says of the end."""

        async def change() -> Session:
            session = await self.registry.revoke(name, reason, told)
            self._leases.drop(name)
            await self._take_out(name)
            self.note("revoke", session, source=source, cause=session.reason)
            _log.info("revoked", session=name, reason=session.reason)
            return session

        return await self._whole(change())

    async def _whole(self, change: Coroutine[Any, Any, _T]) -> _T:
        """The change's result; it goes on where its caller is cancelled."""
        task = asyncio.get_running_loop().create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return await asyncio.shield(task)

    def note(self, event: str, session: Session | None, **more: str | None) -> None:
        """Count what was done, to a session or by the operator, and have it in the audit log.

        `event` is one of `metrics.EVENTS`, `more` as for `Audit.note`.
        """
        self.counters.count("events", kind=event)
        self.audit.note(event, session, **more)
        if session is not None:
            self.waiting.changed(session.name)

    def refused(self, call: str, cause: str, source: str, session: Session | None = None) -> None:
        """Count a call that was refused, and have it in the audit log."""
        self.counters.count("refused", call=call, cause=cause)
        self.audit.note("refusal", session, source=source, cause=cause)

    def drain(self, *, on: bool) -> None:
        """Issue no new names, or issue them again; a restart does not change it."""
        set_draining(self._directory, on=on)
        self.registry.draining = on
        self.note("drain", None, cause="on" if on else "off")
        _log.info("draining", on=on)

    async def traffic(self) -> Traffic | None:
        """What the engine has carried; None where it cannot be asked."""
        try:
            return await self._engine.traffic()
        except EngineError:
            return None

    @property
    def draining(self) -> bool:
        """Whether no new names are issued."""
        return self.registry.draining

    @property
    def in_step(self) -> bool:
        """Whether the engine had all routes when last asked."""
        return bool(self._in_step)

    def lingers(self, name: str) -> bool:
        """Whether the engine may carry that session still, which is over: it did not answer since."""
        return name in self._lingering

    @property
    def routes(self) -> int:
        """How many routes there are to be."""
        return len(self._live)

    def standing(self, name: str) -> Standing:
        """How the session of that name stands, for its page."""
        live = self.is_live(name)
        session = None if live or not is_name(name) else self.registry.find(name)
        return standing(session, live=live)

    async def note_jobs(self, reports: Mapping[str, JobReport], by: str) -> int:
        """Note what was said of jobs, by session name; see `Registry.note_jobs`. `by` is who said it:
        agent, launcher, feed or updater."""
        noted = await self.registry.note_jobs(reports)
        for name, report in reports.items():
            self.counters.count("job_reports", by=by, state=report.state)
            self.waiting.changed(name)
        return noted

    async def note_running(self, name: str) -> None:
        """The job's agent was heard of. That it could not be written keeps no job from its certificate."""
        try:
            await self.note_jobs({name: JobReport(JobState.RUNNING)}, "agent")
        except BusyError as error:
            _log.error("registry-not-written", reason=str(error))

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """What runs as long as the service does. One of them ends where there was nothing to do for
        `idle_exit` seconds; each is kept from waiting for the others.
        """
        return [self._watch_leases(), self._keep_in_step(), self._clean_up()]

    async def end(self) -> None:
        """Carry out what was begun, and close engine and registry. The sessions stay as they are in it."""
        if self._changes:
            await asyncio.wait(self._changes)
        self._engine.close()
        self.registry.close()

    async def _watch_leases(self) -> None:
        while not self._idle_for_long():
            self._sweep()
            await asyncio.sleep(self.settings.lease.sweep_every)
        _log.info("idle", seconds=self.settings.idle_exit)

    async def _keep_in_step(self) -> None:
        while True:
            if self._in_step:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RECONCILE_EVERY):
                        await self._behind.wait()
            else:
                await asyncio.sleep(self.settings.lease.sweep_every)
            await self._reconcile()

    async def _clean_up(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY)
            await self._expire()

    async def _go_live(self, session: Session) -> None:
        self._grant(session)
        if session.name in self._live:
            return
        target = self._live[session.name] = self._target(session)
        self._not_taken.add(session.name)
        try:
            await self._engine.add(target)
        except EngineError as error:
            self._out_of_step(error)
        else:
            self._taken([session.name])

    def _taken(self, names: Iterable[str]) -> None:
        """The engine has these routes."""
        late = self._not_taken.intersection(names)
        self._not_taken -= late
        for name in late:
            self.waiting.changed(name)
        for name in self._redeemed_at.keys() & set(names):
            self.reachable_after.observe(time.monotonic() - self._redeemed_at.pop(name))

    def _grant(self, session: Session) -> None:
        """A lease, but for who could not renew it."""
        if not session.old_dialect:
            self._leases.grant(session.name)

    async def _take_out(self, name: str) -> None:
        target = self._live.pop(name, None)
        self._not_revived.discard(name)
        self._not_taken.discard(name)
        self._redeemed_at.pop(name, None)
        if target is not None:
            try:
                await self._engine.remove(target)
            except EngineError as error:
                self._lingering.add(name)
                self._out_of_step(error)

    async def _reconcile(self) -> None:
        self._behind.clear()
        targets, refusals = dict(self._live), self._refusals
        try:
            await self._engine.reconcile(targets)
        except EngineError as error:
            self._out_of_step(error)
            return
        if refusals != self._refusals:  # of a change that came meanwhile: once more
            return
        if not self._in_step:
            _log.info("engine-in-step", routes=len(targets))
        self._in_step = True
        self._lingering.clear()
        self._taken(targets)

    def _out_of_step(self, error: EngineError) -> None:
        if self._in_step is not False:  # said once, not every two seconds
            _log.error("engine-not-answering", reason=str(error))
        self._in_step = False
        self._refusals += 1
        self._behind.set()

    def _target(self, session: Session) -> Target:
        if session.address is None or session.port is None:
            raise ValueError(f"session {session.name} is ready without an address")
        host = self.hosts.host(session.name)
        verified = not session.old_dialect
        return Target(session.name, host, session.address, session.port, verified)

    def _sweep(self) -> None:
        """Take out the routes whose lease ran out; neither the disk nor the engine is waited for."""
        over = self._leases.sweep()
        for name in over:
            self._live.pop(name, None)
            self._not_revived.discard(name)
            self._not_taken.discard(name)
            self._redeemed_at.pop(name, None)
        if over:
            # At once: a renewal that comes now finds the session lapsed, and its own note must be the later.
            noted = self.registry.lapse(over)
            self._behind.set()  # what is under way ends, too: behind the address may soon be another
            task = asyncio.get_running_loop().create_task(self._lapsed(over, noted))
            self._changes.add(task)
            task.add_done_callback(self._changes.discard)
        self._engine.sweep()
        self.audit.sweep()
        self.waiting.beat()

    async def _lapsed(self, names: list[str], noted: Awaitable[None]) -> None:
        try:
            await noted
        except BusyError as error:
            # After a restart these would get a fresh lease, and lose it again: harmless.
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
            for name in self.registry.old_routes(now - self.settings.compat.route_hours * 3600):
                await self.revoke(name, "its time is over")
            days = keep.pending * _DAY, keep.lapsed * _DAY, keep.ended * _DAY
            await self.registry.expire(now, *days)
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
