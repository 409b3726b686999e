"""What commands work on is looked up only when needed, and once."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from rps_core import cluster
from rps_core.cli.main import rps
from rps_core.cli.options import common
from rps_core.sessions.application import Application


def test_the_cluster_is_detected_once_and_with_the_common_options(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        cluster, "find", lambda name, given, *, inside: asked.append((name, given, inside))
    )
    seen: list[Application] = []

    @click.command()
    @common
    def command(app: Application) -> None:
        assert click.get_current_context().obj is app
        assert not asked
        seen.append(app)
        assert app.here is app.here

    done = CliRunner().invoke(command, ["--cluster", "comet", "--set", "job.nodes=2"])
    assert done.exception is None
    ((name, given, inside),) = asked
    assert (name, given.assignments, inside) == ("comet", ("job.nodes=2",), True)
    assert seen[0].store is seen[0].store


def test_every_command_of_the_launcher_has_the_common_options() -> None:
    without = {"man", "proxy", "site"}
    for name, command in rps.commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert ({"--cluster", "--set", "--verbose", "--log-format"} <= options) == (
            name not in without
        ), name
