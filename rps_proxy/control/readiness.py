"""Readiness checks: registry writable, certificate valid, engine in step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rps_proxy.refusals import BusyError
from rps_proxy.tls.probe import served_certificate

if TYPE_CHECKING:
    from rps_proxy.control.munge import Munge
    from rps_proxy.control.service import Service
    from rps_proxy.tls.front import Front

PATIENCE = 5.0  # seconds for the registry to write
_HOLDS = 1.0  # seconds that a result is kept: a check writes to the disk

CAUSES = {
    "registry": "the registry cannot be written",
    "engine": "the engine does not have all routes, or does not answer",
    "certificate": "the certificate in force is invalid, or the engine serves another one",
    "renewal": "the certificate's files are not usable; the previous certificate stays in force",
    "audit": "the audit log cannot be written",
    "munge": "the MUNGE daemon does not answer",
}


class Readiness:
    """The checks of CAUSES; `munge` is among them with `auth: munge`."""

    def __init__(self, service: Service, front: Front, munge: Munge | None) -> None:
        self._service = service
        self._front = front
        self._munge = munge
        self._lock = asyncio.Lock()
        self._looked = float("-inf")
        self._found: dict[str, str | None] = {}

    async def found(self, *, now: bool = False) -> Mapping[str, bool]:
        """Return for each check of CAUSES whether it passes; `now`: check again now."""
        faults = await self.faults(now=now)
        return {what: fault is None for what, fault in faults.items()}

    async def faults(self, *, now: bool = False) -> Mapping[str, str | None]:
        """Return for each check of CAUSES its fault, which may be empty; None: it passes."""
        async with self._lock:
            if now or time.monotonic() - self._looked >= _HOLDS:
                self._front.refresh()
                registry, engine, (listens, certificate), munge = await asyncio.gather(
                    self._registry(),
                    # Now: it may have stopped since its last change.
                    self._service.engine_fault(),
                    self._served(),
                    self._munge_answers(),
                )
                self._found = {
                    "registry": registry,
                    "engine": engine or listens,
                    "certificate": certificate,
                    "renewal": self._front.refused,
                    "audit": self._service.audit.fault(),
                }
                if munge is not None:
                    self._found["munge"] = None if munge else ""
                self._looked = time.monotonic()
            return dict(self._found)

    async def answer(self) -> tuple[dict[str, object], int]:
        """Return the body and the HTTP status of the answer to `ready`."""
        lacking = [what for what, good in (await self.found()).items() if not good]
        return {"ready": not lacking, "lacking": lacking}, 503 if lacking else 200

    async def _munge_answers(self) -> bool | None:
        return None if self._munge is None else await self._munge.answers()

    async def _registry(self) -> str | None:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._service.registry.write_nothing()
        except BusyError as error:
            return str(error)
        except TimeoutError:
            return f"not within {PATIENCE:g} s"
        return None

    async def _served(self) -> tuple[str | None, str | None]:
        """Return the faults of the port for browsers and of its certificate."""
        in_use, settings = self._front.in_use, self._service.settings
        listens = certificate = None
        if settings.engine_kind != "embedded":  # the embedded engine listens in our processes
            try:
                served = await asyncio.to_thread(
                    served_certificate,
                    settings.listen.address,
                    settings.listen.port,
                    settings.domain,
                )
            except OSError as error:
                listens = (
                    f"port {settings.listen.port} does not answer: {error.strerror or error}. "
                    "Restart the engine: `systemctl restart rps-proxy-engine`"
                )
            else:
                if served != in_use.der:
                    certificate = (
                        "the engine serves another one. Restart it: "
                        "`systemctl restart rps-proxy-engine`"
                    )
        if in_use.expires <= datetime.now(UTC):
            certificate = f"it expired on {in_use.expires:%Y-%m-%d %H:%M} UTC"
        return listens, self._front.not_taken or certificate
