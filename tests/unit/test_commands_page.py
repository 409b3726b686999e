"""docs/commands.md names every command and no other, docs/operators.md every metric."""

from __future__ import annotations

import re
from pathlib import Path

import click

from rps_core.cli import rps
from rps_proxy.cli import proxy
from rps_proxy.metrics import EVENTS, HELP

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


def test_every_metric_is_on_the_operators_page() -> None:
    page = (Path(__file__).parents[2] / "docs/operators.md").read_text()
    told = set(re.findall(r"`(rps_[a-z_]+)", page[page.index("## Metrics") :]))
    assert told == set(HELP)
    for event in EVENTS:
        assert f"`{event}`" in page
