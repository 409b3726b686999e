"""The service with an engine that may lose routes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path

import pytest

from rps_proxy.control import live_routes as module
from rps_proxy.control.counters import Counters
from rps_proxy.control.service import Service
from rps_proxy.engine import Target
from rps_proxy.engines.embedded.routes import Routes
from rps_proxy.hostnames import Hosts
from rps_proxy.pages.catalogue import Catalogue
from rps_proxy.settings.loading import load


class Compared(Routes):
    """Counts how often it was compared with the registry."""

    times = 0

    async def reconcile(self, targets: Mapping[str, Target]) -> None:
        self.times += 1


async def test_the_engine_is_compared_with_the_registry_every_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test without a change or an error: the engine may have been restarted."""
    monkeypatch.setattr(module, "RECONCILE_EVERY", 0.01)
    hosts = Hosts("rps.localhost", 443)
    engine = Compared(hosts, ssl.create_default_context(), 1.0)
    service = Service(
        load(None, ["engine=embedded"]), tmp_path, hosts, engine, Counters(), Catalogue()
    )
    await service.start()
    tasks = [asyncio.create_task(task) for task in service.tasks()]
    try:
        async with asyncio.timeout(30):
            while engine.times < 3:
                await asyncio.sleep(0.01)
        assert service.routes.in_step
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await service.end()
