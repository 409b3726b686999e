"""docs/commands.md lists exactly the commands, docs/operators.md the metrics."""

from __future__ import annotations

import re
from pathlib import Path

import click

from rps_core.cli.main import rps
from rps_core.help import Group
from rps_proxy.cli.main import proxy
from rps_proxy.control.metrics import EVENTS, HELP

PAGE = (Path(__file__).parents[4] / "docs/commands.md").read_text()


def test_every_command_is_on_the_page_in_its_section_of_the_help() -> None:
    assert isinstance(rps, Group)
    documented = {
        title: set(re.findall(r"^\| `rps ([a-z]+)", text, re.MULTILINE))
        for title, _, text in (part.partition("\n") for part in PAGE.split("\n## "))
        if "\n| `rps " in text
    }
    assert documented == {title: set(names) for title, names in rps.sections.items()}


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
    page = (Path(__file__).parents[4] / "docs/operators.md").read_text()
    message = set(re.findall(r"`(rps_[a-z_]+)", page[page.index("## Metrics") :]))
    assert message == set(HELP)
    for event in EVENTS:
        assert f"`{event}`" in page
