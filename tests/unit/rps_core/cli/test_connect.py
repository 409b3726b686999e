"""`rps connect` before it connects: what cannot be meant."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from rps_core.cli.main import rps
from rps_core.connect import hosts, run
from rps_core.connect.destination import Destination
from rps_core.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["comet", "--list", "--stop"], "cannot be combined"),
        (["comet", "--url", "-t", "60"], "start no session"),
        (["comet", "gpu", "--list"], "start no session"),
        (["comet", "--new", "--session", "a-b-c"], "cannot be combined"),
        (["comet", "--session", "a-b-c", "-t", "60"], "names a running session"),
        (["comet", "--session", "a-b-c", "--", "x.py"], "names a running session"),
        (["comet", "--port", "80"], "not a port from 1024 to 65535"),
        (["comet", "--list", "--", "streamlit"], "start no session"),
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


ODD = ["a b", "'", '"', "$(touch x)", "é", "", "--", "-t", "--json", "*", "!!", "line\nbreak"]


@pytest.mark.parametrize(
    ("options", "given", "start"),
    [
        (None, ["-s", "command", "--", *ODD], ["--app=command", "--", *ODD]),
        (None, ["gpu", "-s", "dash", "--", "x.py"], ["--app=dash", "gpu", "--", "x.py"]),
        (None, ["--", "x.py"], ["--", "x.py"]),
        ("-s command -- my 'a b' -t 5", [], ["--app=command", "--", "my", "a b", "-t", "5"]),
        ("-s dash -- a.py", ["-t", "5", "--", "b.py"], ["--app=dash", "--time=5", "--", "b.py"]),
        ("-s dash -- a.py", ["-s", "lab"], ["--app=dash", "--app=lab"]),
    ],
)
def test_the_arguments_of_an_application_reach_the_start_there(
    monkeypatch: pytest.MonkeyPatch, options: str | None, given: list[str], start: list[str]
) -> None:
    if options is not None:
        hosts.file().parent.mkdir(parents=True)
        hosts.file().write_text(f"hosts:\n  comet:\n    options: {options}\n")
    wishes: list[run.Wish] = []

    def connect(_destination: Destination, wish: run.Wish) -> None:
        wishes.append(wish)

    monkeypatch.setattr(run, "connect", connect)
    done = CliRunner().invoke(rps, ["connect", "comet", *given])
    assert done.exception is None, done.exception
    [wish] = wishes
    assert list(wish.options) == start
    assert wish.new == bool(given)
