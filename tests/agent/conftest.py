"""Programs as a compute node has them."""

from __future__ import annotations

import os

import pytest

from tests.conftest import path_of_a_node


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", path_of_a_node(os.environ["PATH"]))
