"""docs/commands.md names every command and no other."""

from __future__ import annotations

import re
from pathlib import Path

import click

from rps_core.cli import rps
from rps_proxy.cli import proxy

PAGE = (Path(__file__).parents[2] / "docs/commands.md").read_text()


def test_every_command_is_on_the_page() -> None:
    told = set(re.findall(r"^\| `rps ([a-z]+)", PAGE, re.MULTILINE))
    assert told == set(rps.commands) | {"proxy"}


def test_every_command_of_the_service_is_on_the_page_with_its_options() -> None:
    rows = re.findall(r"^(\| `rps proxy ([a-z]+).*)$", PAGE, re.MULTILINE)
    assert {name for _, name in rows} == set(proxy.commands)
    for row, name in rows:
        command = proxy.commands[name]
        if isinstance(command, click.Group):
            continue
        options = {
            option
            for parameter in command.params
            if isinstance(parameter, click.Option)
            for option in parameter.opts
            if option.startswith("--")
        }
        for option in options - {"--config", "--set"}:
            assert option in row, (name, option)
