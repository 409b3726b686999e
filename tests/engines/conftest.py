"""The engines, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.engines.stand import PROGRAMS, Stand, running


@pytest.fixture(params=PROGRAMS)
def stand(
    request: pytest.FixtureRequest, tmp_path: Path, need: Callable[[str], str]
) -> Iterator[Stand]:
    """A service with each engine."""
    with running(tmp_path, request.param, need) as stand:
        yield stand
