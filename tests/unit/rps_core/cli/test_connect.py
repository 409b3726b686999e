"""`rps connect` before it connects: what cannot be meant."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from rps_core.cli.main import rps
from rps_core.connect import hosts
from rps_core.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["comet", "--list", "--stop"], "cannot be combined"),
        (["comet", "--url", "-t", "60"], "start no session"),
        (["comet", "gpu", "--list"], "start no session"),
        (["comet", "--new", "--session", "a-b-c"], "cannot be combined"),
        (["comet", "--port", "80"], "not a port from 1024 to 65535"),
        (["--list", "--", "-oProxyCommand=x"], "Not a host"),
    ],
)
def test_what_is_refused(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(rps, ["connect", *arguments])
    assert isinstance(done.exception, UsageError)
    assert words in str(done.exception)


@pytest.mark.parametrize("options", ["--no-such-option", "-t", "--list", "a b", "--nodes= --json"])
def test_options_of_a_host_are_those_of_a_start(options: str) -> None:
    hosts.file().parent.mkdir(parents=True)
    hosts.file().write_text(f"hosts:\n  comet:\n    ssh: comet\n    options: {options}\n")
    done = CliRunner().invoke(rps, ["connect", "comet"])
    assert isinstance(done.exception, UsageError), done.exception
    assert f"{hosts.file()}:4: `options`: " in str(done.exception)
