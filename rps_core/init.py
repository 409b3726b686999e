"""`rps init`: the few questions of a new user, and the file that the answers make.

What it writes goes below `sites: {<cluster>: …}`, since accounts and partitions differ between clusters that
share a home directory; a run on a second cluster adds that one's section. What is in the file stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import click

from rps_core import choices, config, environments, paths, yaml_text
from rps_core.cluster import Here
from rps_core.errors import UsageError
from rps_core.session_files import SessionFiles
from rps_core.shell import Shell

HEADER = """\
# Your settings for rps, begun by `rps init`. Edit them as you like: `rps config --check` looks them over,
# `rps config --origins` shows what is in force. What holds on every cluster goes to the top level.
"""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.@+-]*")
_AS_NOW = "as it is configured now"


@dataclass(frozen=True, slots=True)
class Question:
    """One of `choices`, the default among them; with fewer than two there is nothing to ask."""

    text: str
    choices: tuple[str, ...]
    default: str | None


def run(here: Here, shell: Shell, *, yes: bool) -> None:
    """Ask, write, and say what to do next. Where nobody can answer and `yes` is not given: print all that
    would be asked and written.

    Raises:
        UsageError: the file has other settings for this cluster, and nobody says that it may be replaced.
    """
    asks = sys.stdin.isatty() and not yes
    cluster = here.site.cluster
    click.echo(f"This is {cluster.name} ({cluster.scheduler}).", err=True)
    values, section = _answers(here, shell, ask=asks)
    path = paths.config_file()
    before = config.file_text("user", path)
    old = before.text if before else ""
    new = joined(old, cluster.name, section)
    if _in_force(here, values) or (new is not None and new == old):
        click.echo(f"{path} says so already; nothing is written.", err=True)
        return
    if not asks and not yes:
        click.echo(section if new is None else new, nl=False)
        click.echo(f"Nothing is written: --yes takes these answers, for {path}.", err=True)
        return
    if new is None:
        new = _in_its_place(path, cluster.name, section, ask=asks)
    _write(path, new)
    click.echo(f"Written: {path}. `rps start` is next.", err=True)


def joined(old: str, cluster: str, section: str) -> str | None:
    """The file with the cluster's section; None where it has another one, or is laid out so that a section
    cannot be added below."""
    wanted = yaml_text.parse(f"sites:\n{section}", "init").values["sites"]
    before = yaml_text.parse(old, "the configuration").values
    sites = before.get("sites") or {}
    if cluster in sites:
        return old if sites[cluster] == wanted[cluster] else None
    start = f"{old.rstrip()}\n\n" if old.strip() else HEADER
    new = start + ("" if sites else "sites:\n") + section
    try:
        after = yaml_text.parse(new, "init").values
    except UsageError:
        return None
    return new if after == {**before, "sites": {**sites, **wanted}} else None


def _answers(here: Here, shell: Shell, *, ask: bool) -> tuple[dict[str, Any], str]:
    """The keys that the answers set, and the section that they make."""
    loaded = here.loaded.settings
    offered = choices.ask(here, shell)
    account = loaded.job.account
    if account is None and offered.allocations:
        account = here.site.default_allocation(shell)
    found = environments.found(loaded.notebook.app)
    notebook = loaded.notebook
    configured = notebook.modules or notebook.conda_env or notebook.jupyter or notebook.image
    sources = [_AS_NOW] if configured else []
    sources += [one.told for one in found]
    told = [
        _answer(question, ask=ask)
        for question in (
            Question("The allocation to charge", offered.allocations, account),
            Question("The partition", offered.partitions, loaded.job.partition),
            Question("Jupyter comes from", tuple(sources), None),
        )
    ]
    if not sources:
        click.echo(f"There is no Jupyter that rps can see. {notebook.install_hint}", err=True)
    environment = next((one.settings for one in found if one.told == told[2]), {})
    job = {"job.account": told[0], "job.partition": told[1]}
    values: dict[str, Any] = {key: value for key, value in job.items() if value}
    values |= {f"notebook.{key}": value for key, value in environment.items()}
    return values, _section(here.site.cluster.name, values, offered)


def _answer(question: Question, *, ask: bool) -> str | None:
    """By its number or in full; Enter takes the default."""
    listed = question.choices
    default = question.default or next(iter(listed), None)
    if len(listed) < 2 or default is None:
        if default is not None:
            click.echo(f"{question.text}: {default}", err=True)
        return default
    click.echo(f"{question.text}:", err=True)
    for number, choice in enumerate(listed, 1):
        click.echo(f"  {number}) {choice}{' (default)' if choice == default else ''}", err=True)
    if not ask:
        return default

    def chosen(text: str) -> str:
        if text == default or text in listed:
            return text
        if text.isdecimal() and 1 <= int(text) <= len(listed):
            return listed[int(text) - 1]
        raise click.BadParameter(f"give a number from 1 to {len(listed)}, or the name")

    shown = str(listed.index(default) + 1) if default in listed else default
    answer: str = click.prompt("Which", default=shown, value_proc=chosen, err=True)
    return answer


def _in_force(here: Here, values: Mapping[str, Any]) -> bool:
    """The user's own file says all of it."""
    settings, origins = here.loaded.settings, here.loaded.origins
    for key, value in values.items():
        section, _, name = key.partition(".")
        now = getattr(getattr(settings, section), name)
        if (list(now) if isinstance(now, tuple) else now) != value:
            return False
        if origins[key].layer.partition(",")[0] != "user":
            return False
    return bool(values)


def _section(cluster: str, values: Mapping[str, Any], offered: choices.Choices) -> str:
    """The cluster's part of `sites`, two blanks in."""

    def line(key: str) -> str:
        name = key.partition(".")[2]
        return f"{name}: {_scalar(values[key])}" if key in values else f"#{name}:"

    lines = [
        f"  {_scalar(cluster)}:",
        "    job:",
        f"      # The allocation to charge{_among(offered.allocations)}.",
        f"      {line('job.account')}",
        f"      # The partition or queue{_among(offered.partitions)}.",
        f"      {line('job.partition')}",
        "      # Time until the job ends, where -t does not say: minutes, HH:MM:SS or D-HH:MM:SS.",
        "      #walltime: 02:00:00",
        "    notebook:",
        "      # What the job loads before the notebook.",
        f"      {line('notebook.modules')}",
        f"      {line('notebook.conda_env')}",
        "      # Its top directory; otherwise your home directory.",
        "      #directory: ~/notebooks",
        "    # Other settings under a name, for `rps start gpu`.",
        "    #profiles:",
        "    #  gpu: {job: {partition: gpu, gpus: 1}}",
    ]
    return "".join(f"{text}\n" for text in lines)


def _among(names: Sequence[str]) -> str:
    """A comment stays one line whatever a scheduler's names hold."""
    plain = [name for name in names if name.isprintable()]
    return f"; there are {', '.join(plain[:12])}{' …' if len(plain) > 12 else ''}" if plain else ""


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_scalar(one) for one in value)}]"
    plain = _PLAIN.fullmatch(value) and value.lower() != "null"
    return value if plain else json.dumps(value, ensure_ascii=False)


def _in_its_place(path: Path, cluster: str, section: str, *, ask: bool) -> str:
    """The whole file anew, if the user says so; the old one is kept beside it, as are those before it."""
    question = f"{path} has other settings for {cluster}. Replace it? A copy of it is kept"
    if not ask or not click.confirm(question, default=False, err=True):
        raise UsageError(
            f"{path} has other settings for {cluster}, and stays as it is",
            f"To have these, put them there:\nsites:\n{section}",
        )
    click.echo(f"The old one is kept: {_copy_of(path)}", err=True)
    return f"{HEADER}sites:\n{section}"


def _copy_of(path: Path) -> Path:
    """A copy as the file is now, on disk, under the first name that is free: `.old`, `.old.2`, `.old.3`."""
    content = path.read_bytes()
    for number in count(1):
        kept = path.with_name(f"{path.name}.old" + (f".{number}" if number > 1 else ""))
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            return kept
    raise AssertionError("numbers do not end")


def _write(path: Path, text: str) -> None:
    """Whole and for its owner alone; a link to it stays one."""
    target = path.resolve()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    SessionFiles(target.parent).write(target.name, text)
