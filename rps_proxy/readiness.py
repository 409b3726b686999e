"""Whether the service can do what it is for, which is more than that it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rps_proxy.group_commit import BusyError

if TYPE_CHECKING:
    from rps_proxy.service import Service

PATIENCE = 5.0  # seconds for the registry to write
_HOLDS = (
    1.0  # seconds that an answer holds: who asks often does not have the disk written each time
)

CAUSES = {
    "registry": "the registry cannot be written",
    "engine": "the engine does not have all routes, or does not answer",
    "certificate": "the certificate has ended",
}


class Readiness:
    """Looks at the registry, the engine and the certificate; `expires` says when that ends."""

    def __init__(self, service: Service, expires: Callable[[], datetime]) -> None:
        self._service = service
        self._expires = expires
        self._lock = asyncio.Lock()
        self._looked = float("-inf")
        self._lacking: list[str] = []

    async def lacking(self) -> list[str]:
        """What is not as it must be: keys of CAUSES."""
        async with self._lock:
            if time.monotonic() - self._looked >= _HOLDS:
                held = {
                    "registry": await self._registry_writes(),
                    "engine": self._service.in_step,
                    "certificate": self._expires() > datetime.now(UTC),
                }
                self._lacking = [what for what, good in held.items() if not good]
                self._looked = time.monotonic()
            return list(self._lacking)

    async def answer(self) -> tuple[dict[str, object], int]:
        """What is said to who asks, and the status that it is said with."""
        lacking = await self.lacking()
        return {"ready": not lacking, "lacking": lacking}, 503 if lacking else 200

    async def _registry_writes(self) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._service.registry.write_nothing()
        except (BusyError, TimeoutError):
            return False
        return True
