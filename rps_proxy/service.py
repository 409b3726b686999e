"""The service's state and what changes it: registry, routes and leases kept in step."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from rps_core.errors import ServiceError
from rps_core.log import get_logger
from rps_proxy.group_commit import BusyError
from rps_proxy.leases import Leases
from rps_proxy.names import is_name
from rps_proxy.registry import Phase, Registry, Session
from rps_proxy.routes import Routes
from rps_proxy.settings import Settings

EXPIRE_EVERY = 60.0  # seconds
LOCK_TRIES = 30  # tenths of a second: a service that was told to stop may still be at it
_DAY = 86400

_log = get_logger("rps.service")


class Service:
    """One service on its directory. A route is live exactly while its session holds a lease."""

    def __init__(
        self, settings: Settings, directory: Path, public_port: int, context: ssl.SSLContext
    ) -> None:
        self.settings = settings
        self.registry = Registry(directory / "registry.db")
        self.routes = Routes(
            settings.domain, public_port, context, settings.upstream.connect_timeout
        )
        self._leases = Leases(settings.lease.length, settings.lease.sweep_every)
        # Our own outage costs nobody the lease; who had lost it before is off until heard of.
        for session in self.registry.ready():
            if session.lapsed is None:
                self._go_live(session)
        self._idle_since = time.monotonic()

    async def redeem(self, name: str, address: str, port: int, run_id: str | None) -> None:
        """Make a session ready and its route live; see `Registry.redeem`."""
        session = await self.registry.redeem(name, address, port, run_id)
        self._go_live(session)
        _log.info("redeemed", session=name, address=address, port=port)

    async def renew(self, session: Session) -> None:
        """Put a lease back to its full length; a lapsed session gets its route back."""
        if not self.routes.is_live(session.name):
            session = await self.registry.revive(session.name)
            _log.info("back", session=session.name)
        self._go_live(session)

    async def revoke(self, name: str, reason: str) -> Session:
        """End a session, and everything under way on its route."""
        session = await self.registry.revoke(name, reason)
        self._leases.drop(name)
        self.routes.remove(name)
        _log.info("revoked", session=name, reason=session.reason)
        return session

    def state(self, name: str) -> str:
        """How the session of that name stands: a key of `pages.PAGES`, or `ready`."""
        if self.routes.is_live(name):
            return "ready"
        session = self.registry.find(name) if is_name(name) else None
        if session is None:
            return "unknown"
        if session.phase is Phase.GONE:
            return "ended"
        return "lapsed" if session.phase is Phase.READY else "pending"

    async def run(self) -> None:
        """Sweep until cancelled, or until there was nothing to do for `idle_exit` seconds."""
        expired = float("-inf")
        while not self._idle_for_long():
            await self._sweep()
            if time.monotonic() - expired >= EXPIRE_EVERY:
                await self._expire()
                expired = time.monotonic()
            await asyncio.sleep(self.settings.lease.sweep_every)
        _log.info("idle", seconds=self.settings.idle_exit)

    def close(self) -> None:
        """End every connection and close the registry. The sessions stay as they are in it."""
        self.routes.close()
        self.registry.close()

    def _go_live(self, session: Session) -> None:
        if session.address is None or session.port is None:
            raise ValueError(f"session {session.name} is ready without an address")
        self.routes.add(session.name, session.address, session.port)
        self._leases.grant(session.name)

    async def _sweep(self) -> None:
        over = self._leases.sweep()
        for name in over:
            # What is under way ends, too: behind the address may soon be somebody else.
            self.routes.remove(name)
            _log.info("lapsed", session=name)
        self.routes.sweep()
        if over:
            try:
                await self.registry.lapse(over)
            except BusyError as error:
                # After a restart these would get a fresh lease, and lose it again: harmless.
                _log.error("registry-not-written", reason=str(error))

    async def _expire(self) -> None:
        keep = self.settings.keep
        try:
            await self.registry.expire(keep.pending * _DAY, keep.lapsed * _DAY, keep.ended * _DAY)
        except BusyError as error:
            _log.error("registry-not-written", reason=str(error))

    def _idle_for_long(self) -> bool:
        if not self.settings.idle_exit:
            return False
        counts = self.registry.counts()
        if sum(counts.values()) > counts["gone"]:
            self._idle_since = time.monotonic()
        return time.monotonic() - self._idle_since >= self.settings.idle_exit


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold the directory for this process; the system lets go of it however the process ends.

    Raises:
        ServiceError: another service holds it, and did not let go of it soon.
    """
    handle = os.open(
        directory / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    try:
        for left in range(LOCK_TRIES, -1, -1):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    raise ServiceError(
                        f"Another service is running on {directory}.",
                        "Stop it first, or give this one a directory of its own (`directory`).",
                    ) from None
                time.sleep(0.1)
        yield
    finally:
        os.close(handle)
