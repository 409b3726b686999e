"""`--help`: sections, examples, and one form for the help of every option."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import rps_conf
import yaml
from click.testing import CliRunner

from rps_core.cli import start_jupyter
from rps_core.cli.main import EXAMPLES, rps
from rps_core.cli.options import _SETTINGS
from rps_core.help import Group

METAVARS = {"APP", "DIR", "FEATURES", "FILE", "GPUS", "ID", "IMAGE", "KEY", "KEY=VALUE", "N", "NAME",
            "OPTION", "PATH", "SIZE", "TEXT", "TIME", "[text|json]"}  # fmt: skip


def commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        for word, sub in command.commands.items():
            yield from commands(sub, f"{name} {word}")


EVERY = {**dict(commands(rps, "rps")), "start-jupyter": start_jupyter.command}


def shown(command: click.Command, name: str) -> str:
    done = CliRunner().invoke(command, ["--help"], prog_name=name, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def titles(text: str) -> list[str]:
    return re.findall(r"^([A-Z].*):$", text, re.MULTILINE)


def test_rps_lists_every_command_in_one_section() -> None:
    assert isinstance(rps, Group)
    listed = [name for section in rps.sections.values() for name in section]
    assert sorted(listed) == sorted(rps.commands)
    assert {name: command.name for name, command in rps.commands.items()} == {
        name: name for name in listed
    }
    assert titles(shown(rps, "rps")) == [
        "Examples", "Options", "Start a session", "Look at sessions", "Change a session", "Set up",
        "For operators",
    ]  # fmt: skip


def test_the_two_examples_are_valid_command_lines() -> None:
    text = shown(rps, "rps")
    assert len(EXAMPLES) == 2
    for line, meaning in EXAMPLES:
        assert f"  {line}  " in text
        assert meaning in text
        _, name, *arguments = line.split()
        rps.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("name", ["rps start", "rps again", "start-jupyter"])
def test_start_lists_its_options_by_section(name: str) -> None:
    expected = [
        "Job", "Notebook", "Environment", "Container", "Session", "Output", "Common options",
    ]  # fmt: skip
    assert titles(shown(EVERY[name], name)) == expected


@pytest.mark.parametrize("name", EVERY)
def test_the_help_of_a_command_has_the_common_form(name: str) -> None:
    """Test 80 columns, whole sentences, like metavars, and a default for each value."""
    command = EVERY[name]
    text = shown(command, name.rpartition(" ")[2])
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"^  .*\.\.\.$", text, re.MULTILINE)
    context = click.Context(command, info_name=name)
    for option in command.params:
        record = option.get_help_record(context)
        if not isinstance(option, click.Option) or record is None:
            continue
        meaning = record[1]
        assert re.fullmatch(r"[A-Z].*\.", meaning), meaning
        if not (option.is_flag or option.count):
            assert option.make_metavar(context) in METAVARS, option.opts
            assert "default: " in meaning, meaning


def test_the_defaults_in_the_help_are_those_of_the_configuration() -> None:
    defaults = yaml.safe_load(Path(rps_conf.__file__).with_name("defaults.yaml").read_text())
    none = {
        "none", "never", "packaged", "your home directory", "the environment's", "the project's",
    }  # fmt: skip
    for _, key, _, meaning in (entry for entries in _SETTINGS.values() for entry in entries):
        section, _, name = key.partition(".")
        value = defaults[section][name]
        said = re.search(r"\(default: ([^)]*)\)", meaning)
        assert said, key
        default = said[1].removesuffix(" minutes")
        if value in (None, []):
            assert default in none or "scheduler's" in default, key
        else:
            assert default == str(value), key


@pytest.mark.parametrize("name", EVERY)
def test_the_help_of_a_command_fits_a_narrow_terminal(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    words = shown(EVERY[name], name.rpartition(" ")[2]).splitlines()
    assert max(map(len, words)) <= 40
