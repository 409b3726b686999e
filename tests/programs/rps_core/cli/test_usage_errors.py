"""Errors of the command line's parser, as a terminal and a file get them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

RED = "\033[1;31mError:\033[0m"


def run(*arguments: str, terminal: bool, **environment: str) -> str:
    """Return what a command writes to standard error."""
    command = [sys.executable, "-m", "rps_core.cli.main", *arguments]
    env = {**os.environ, "TERM": "xterm", **environment}
    if not terminal:
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        return done.stderr
    reader, writer = pty.openpty()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=writer)
    os.close(writer)
    written = b""
    try:
        while chunk := os.read(reader, 4096):
            written += chunk
    except OSError:  # Linux's end of a terminal
        pass
    finally:
        os.close(reader)
        assert process.wait(60) == 2
    return written.decode()


@pytest.mark.parametrize(
    "arguments", [["list", "--nonsense"], ["nonsense"], ["start", "--time"], ["completion", "tcsh"]]
)
def test_an_error_of_the_parser_is_coloured_on_a_terminal(arguments: list[str]) -> None:
    plain = run(*arguments, terminal=False)
    assert plain.count("Error:") == 1
    assert "\033" not in plain
    coloured = run(*arguments, terminal=True)
    assert RED in coloured
    assert coloured.replace(RED, "Error:").replace("\r\n", "\n") == plain


def test_without_colours_it_is_plain() -> None:
    assert "\033" not in run("list", "--nonsense", terminal=True, NO_COLOR="1")
    assert "\033" not in run("list", "--nonsense", terminal=True, TERM="dumb")
