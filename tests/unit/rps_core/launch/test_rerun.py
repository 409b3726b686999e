"""`rps again` and `rps start --last`: what an earlier session leaves to the next one beside its settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner

from rps_core.cli.commands import start
from rps_core.cli.main import rps
from rps_core.state.record import Secrets
from rps_core.state.store import Store
from rps_core.system import paths
from tests.stands.record import RECORD


@pytest.fixture
def store() -> Store:
    found = Store(paths.sessions_dir())
    found.probe()
    return found


def add(store: Store, name: str, label: str | None, *, living: bool = False) -> None:
    record = replace(
        RECORD, name=name, label=label, url=f"https://{name}.example.org/", cluster="generic",
        settings={"notebook.app": "lab"},
    )  # fmt: skip
    if not living:
        record = replace(record, ended=RECORD.created + 1, outcome="ended", reason="stopped")
    store.create(record, Secrets(claim="c" * 43, token="0" * 32))


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["again"], "mine"),
        (["again", "one-two-three"], "mine"),
        (["again", "--name", "other"], "other"),
        (["start", "--last"], "mine"),
        (["start"], None),
    ],
)
@pytest.mark.parametrize("running", [None, "mine", "MINE", "other"])
def test_the_label_is_kept_if_it_is_free(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    expected: str | None,
    running: str | None,
) -> None:
    add(store, "one-two-three", "mine")
    if running:
        # Of another cluster: the last session of this one stays the last.
        add(store, "four-five-six", running, living=True)
        store.save(replace(store.load("four-five-six"), cluster="elsewhere"))
    found: list[str | None] = []

    def started(*_: object, label: str | None, **__: Any) -> None:
        found.append(label)

    monkeypatch.setattr(start, "_start", started)
    words = [*command, "--cluster=generic", "--set", "proxy.domain=example.org"]
    done = CliRunner().invoke(rps, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    taken = expected == "mine" and (running or "").lower() == "mine"
    assert found == [None if taken else expected]
