"""The engines, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.stand import PROGRAMS, Carried, Stand, running


@pytest.fixture(params=PROGRAMS)
def stand(
    request: pytest.FixtureRequest, tmp_path: Path, need: Callable[[str], str]
) -> Iterator[Stand]:
    """Run a service with each engine."""
    with running(tmp_path, request.param, need) as stand:
        yield stand


@pytest.fixture(scope="module", params=PROGRAMS)
def carried(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    need: Callable[[str], str],
) -> Iterator[Carried]:
    """Run a notebook behind each engine, for tests that leave it as it was."""
    directory = tmp_path_factory.mktemp("carried")
    lasting: dict[str, Any] = {"lease.length": 3600}  # no agent renews it
    with (
        running(directory, request.param, need, **lasting) as stand,
        stand.notebook() as (session, notebook),
    ):
        yield Carried(stand, session, notebook)
