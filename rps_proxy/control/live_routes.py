"""The routes of the sessions with a lease, and an engine that may be behind them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

from rps_core.log import get_logger
from rps_proxy.control.metrics import Durations
from rps_proxy.engine import Engine, EngineError, Target, Traffic

RECONCILE_EVERY = 30.0  # seconds; an engine that was restarted may have lost routes

_log = get_logger("rps.routes")


class LiveRoutes:
    """The routes that there should be, by session name, on an engine.

    No method raises `EngineError`: a change that the engine did not take reaches it by `reconcile`.
    """

    def __init__(self, engine: Engine, changed: Callable[[str], None], retry_every: float) -> None:
        """Start without routes.

        Args:
            engine: The engine.
            changed: Called with a session's name when the engine has its route after a delay.
            retry_every: Seconds between two attempts while the engine is behind.
        """
        self.reachable_after = Durations()
        # Why the engine did not have all routes when last asked; None: it had them.
        self.fault: str | None = "it was not asked yet"
        self._engine = engine
        self._changed = changed
        self._retry_every = retry_every
        self._targets: dict[str, Target] = {}
        self._not_taken: set[str] = set()  # of the targets: those that the engine does not have yet
        self._asked_at: dict[str, float] = {}  # of those: when the route was requested, monotonic
        self._lingering: set[str] = set()  # removed, but the engine did not take that
        self._failures = 0  # changes that the engine did not take
        self._fault_logged = False
        self._behind = asyncio.Event()  # reconcile now

    def __contains__(self, name: str) -> bool:
        """Return whether there should be a route, whether or not the engine has it."""
        return name in self._targets

    def __len__(self) -> int:
        """Return how many routes there should be."""
        return len(self._targets)

    @property
    def in_step(self) -> bool:
        """Return whether the engine had all routes when last asked."""
        return self.fault is None

    def is_live(self, name: str) -> bool:
        """Return whether the engine has the route."""
        return self.live_target(name) is not None

    def live_target(self, name: str) -> Target | None:
        """Return where the engine's route leads; None: it has none."""
        return None if name in self._not_taken else self._targets.get(name)

    def lingers(self, name: str) -> bool:
        """Return whether the engine may still have a removed route: it did not answer."""
        return name in self._lingering

    async def restore(self, targets: Iterable[Target]) -> None:
        """Give the engine all routes at the start of the service."""
        self._targets.update((target.name, target) for target in targets)
        self._not_taken.update(self._targets)
        await self.reconcile()

    async def add(self, target: Target, asked_at: float | None = None) -> None:
        """Add a route, unless there is one; `asked_at`: monotonic, for `reachable_after`."""
        name = target.name
        if name in self._targets:
            return
        self._targets[name] = target
        self._not_taken.add(name)
        if asked_at is not None:
            self._asked_at[name] = asked_at
        try:
            await self._engine.add(target)
        except EngineError as error:
            self._out_of_step(error)
        else:
            self._taken([name])

    async def remove(self, name: str) -> None:
        """Remove a route, if there is one, and end the connections on it."""
        target = self._forget(name)
        if target is None:
            return
        try:
            await self._engine.remove(target)
        except EngineError as error:
            self._lingering.add(name)
            self._out_of_step(error)

    def drop(self, names: Iterable[str]) -> None:
        """Remove routes without waiting for the engine."""
        for name in names:
            self._forget(name)
        # At once, with the connections on them: another job's notebook may soon have the address.
        self._behind.set()

    async def reconcile(self) -> None:
        """Make the engine's routes these and no others."""
        self._behind.clear()
        targets, failures = dict(self._targets), self._failures
        try:
            await self._engine.reconcile(targets)
        except EngineError as error:
            self._out_of_step(error)
            return
        if failures != self._failures:  # a change failed meanwhile: reconcile again
            return
        if not self.in_step:
            _log.info("engine-in-step", routes=len(targets))
        self.fault, self._fault_logged = None, False
        self._lingering.clear()
        self._taken(targets)

    async def keep_in_step(self) -> None:
        """Reconcile every `RECONCILE_EVERY` seconds, sooner while the engine is behind."""
        while True:
            if self.in_step:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RECONCILE_EVERY):
                        await self._behind.wait()
            else:
                await asyncio.sleep(self._retry_every)
            await self.reconcile()

    async def traffic(self) -> Traffic | None:
        """Return what the engine has carried; None: it does not answer."""
        try:
            return await self._engine.traffic()
        except EngineError:
            return None

    def sweep(self) -> None:
        """Have the engine close what is idle."""
        self._engine.sweep()

    def close(self) -> None:
        """Close the engine, see `Engine.close`."""
        self._engine.close()

    def _forget(self, name: str) -> Target | None:
        self._not_taken.discard(name)
        self._asked_at.pop(name, None)
        return self._targets.pop(name, None)

    def _taken(self, names: Iterable[str]) -> None:
        """Note that the engine has these routes."""
        late = self._not_taken.intersection(names)
        self._not_taken -= late
        for name in late:
            self._changed(name)
        for name in self._asked_at.keys() & set(names):
            self.reachable_after.observe(time.monotonic() - self._asked_at.pop(name))

    def _out_of_step(self, error: EngineError) -> None:
        if not self._fault_logged:  # once, not at each attempt
            _log.error("engine-not-answering", reason=str(error))
        self.fault, self._fault_logged = str(error), True
        self._failures += 1
        self._behind.set()
