"""Whether the service can do what it is for, which is more than that it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rps_proxy.group_commit import BusyError

if TYPE_CHECKING:
    from rps_proxy.munge import Munge
    from rps_proxy.service import Service

PATIENCE = 5.0  # seconds for the registry to write
_HOLDS = (
    1.0  # seconds that an answer holds: who asks often does not have the disk written each time
)

CAUSES = {
    "registry": "the registry cannot be written",
    "engine": "the engine does not have all routes, or does not answer",
    "certificate": "the certificate has ended",
    "munge": "the daemon of MUNGE does not answer",
}


class Readiness:
    """Looks at the registry, the engine, the certificate, which `expires` says the end of, and `munge`,
    where names need it."""

    def __init__(
        self, service: Service, expires: Callable[[], datetime], munge: Munge | None
    ) -> None:
        self._service = service
        self._expires = expires
        self._munge = munge
        self._lock = asyncio.Lock()
        self._looked = float("-inf")
        self._found: dict[str, bool] = {}

    async def found(self) -> Mapping[str, bool]:
        """Whether each of what is needed is as it must be; keys of CAUSES."""
        async with self._lock:
            if time.monotonic() - self._looked >= _HOLDS:
                registry, munge = await asyncio.gather(
                    self._registry_writes(), self._munge_answers()
                )
                self._found = {
                    "registry": registry,
                    "engine": self._service.in_step,
                    "certificate": self._expires() > datetime.now(UTC),
                }
                if munge is not None:
                    self._found["munge"] = munge
                self._looked = time.monotonic()
            return dict(self._found)

    async def lacking(self) -> list[str]:
        """What is not as it must be."""
        return [what for what, good in (await self.found()).items() if not good]

    async def answer(self) -> tuple[dict[str, object], int]:
        """What is said to who asks, and the status that it is said with."""
        lacking = await self.lacking()
        return {"ready": not lacking, "lacking": lacking}, 503 if lacking else 200

    async def _munge_answers(self) -> bool | None:
        return None if self._munge is None else await self._munge.answers()

    async def _registry_writes(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._service.registry.write_nothing()
        except (BusyError, TimeoutError):
            return False
        return True
