"""What `rps proxy serve` sets in its process before the service begins."""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from rps_proxy.server.run import run
from rps_proxy.settings.loading import load


@pytest.fixture
def _as_before() -> Iterator[None]:
    threshold, mask = gc.get_threshold(), os.umask(0o022)
    yield
    gc.set_threshold(*threshold)
    os.umask(mask)


@pytest.mark.usefixtures("_as_before")
def test_the_service_collects_garbage_more_often_than_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The entry point of `rps` sets a threshold for short commands, at which the service would grow."""
    from rps_core.cli import entry

    seen: list[int] = []

    def begin(service: Coroutine[Any, Any, None]) -> None:
        seen.append(gc.get_threshold()[0])
        service.close()

    monkeypatch.setattr(uvloop, "run", begin)
    gc.set_threshold(entry._GARBAGE)
    run(replace(load(), directory=str(tmp_path)), log=io.StringIO())
    assert seen
    assert seen[0] * 50 < entry._GARBAGE
