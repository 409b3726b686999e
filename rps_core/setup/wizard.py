"""`rps init`: ask a new user a few questions and write the configuration file.

The settings go below `sites: {<cluster>: …}`: accounts and partitions differ between clusters that share a
home directory. A run on a second cluster adds a section; existing settings are kept.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import click

from rps_core.cluster import ClusterContext
from rps_core.config import layers as config
from rps_core.config import yaml_text
from rps_core.errors import UsageError
from rps_core.setup import choices
from rps_core.setup import jupyters as environments
from rps_core.state.session_dir import SessionFiles
from rps_core.system import paths
from rps_core.system.files import remove_unfinished, write_new
from rps_core.values import dataclass

HEADER = """\
# Your settings for rps, created by `rps init`. Edit them as you like: `rps config --check` validates them,
# `rps config --origins` shows the effective values. Settings for all clusters go to the top level.
"""
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.@+-]*")
_AS_NOW = "unchanged, as configured now"


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its choices; asked only if there are at least two."""

    text: str
    choices: tuple[str, ...]
    default: str | None


def run(here: ClusterContext, *, yes: bool) -> None:
    """Ask, write the configuration, and print what to do next.

    Without a terminal and `yes`, print the questions and the file instead.

    Raises:
        UsageError: the file has other settings for this cluster, and the user does not replace it.
    """
    asks = sys.stdin.isatty() and not yes
    cluster = here.site.cluster
    click.echo(f"Cluster: {cluster.name} ({cluster.scheduler})", err=True)
    values, section = _answers(here, ask=asks)
    path = paths.config_file()
    before = config.file_text("user", path)
    old = before.text if before else ""
    new = joined(old, cluster.name, section)
    if _in_force(here, values) or (new is not None and new == old):
        click.echo(f"{path} has these settings already; nothing written.", err=True)
        return
    if not asks and not yes:
        click.echo(section if new is None else new, nl=False)
        click.echo(f"Nothing written. Use --yes to write these settings to {path}.", err=True)
        return
    if new is None:
        new = _in_its_place(path, cluster.name, section, ask=asks)
    _write(path, new)
    click.echo(f"Wrote {path}. Next: `rps start`.", err=True)


def joined(old: str, cluster: str, section: str) -> str | None:
    """Return the file's text with the cluster's section added.

    None if the file has another section for the cluster, or its layout allows no section at its end.
    """
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


def _answers(here: ClusterContext, *, ask: bool) -> tuple[dict[str, Any], str]:
    """Return the keys that the answers set, and the section of the file."""
    loaded = here.loaded.settings
    offered = choices.ask(here)
    account = loaded.job.account
    if account is None and offered.allocations:
        account = here.site.default_allocation(here.shell)
    found = environments.found(loaded.notebook.app)
    notebook = loaded.notebook
    configured = notebook.modules or notebook.conda_env or notebook.jupyter or notebook.image
    sources = [_AS_NOW] if configured else []
    sources += [one.description for one in found]
    answers = [
        _answer(question, ask=ask)
        for question in (
            Question("Allocation to charge", offered.allocations, account),
            Question("Partition", offered.partitions, loaded.job.partition),
            Question("Jupyter installation", tuple(sources), None),
        )
    ]
    if not sources:
        from rps_core.installation import jupyter_advice

        advice = jupyter_advice(notebook.install_hint, notebook.app)
        click.echo(f"No Jupyter found. {advice}", err=True)
    environment = next((one.settings for one in found if one.description == answers[2]), {})
    job = {"job.account": answers[0], "job.partition": answers[1]}
    values: dict[str, Any] = {key: value for key, value in job.items() if value}
    values |= {f"notebook.{key}": value for key, value in environment.items()}
    return values, _section(here.site.cluster.name, values, offered)


def _answer(question: Question, *, ask: bool) -> str | None:
    """Return the answer, given by its number or in full; Enter accepts the default."""
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
        raise click.BadParameter(
            f"Enter a number from 1 to {len(listed)}, or a name from the list."
        )

    shown = str(listed.index(default) + 1) if default in listed else default
    answer: str = click.prompt("Choice", default=shown, value_proc=chosen, err=True)
    return answer


def _in_force(here: ClusterContext, values: Mapping[str, Any]) -> bool:
    """Return whether the user's file sets all these values already."""
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
    """Return the cluster's section of `sites`, indented by two blanks."""

    def line(key: str) -> str:
        name = key.partition(".")[2]
        return f"{name}: {_scalar(values[key])}" if key in values else f"#{name}:"

    lines = [
        f"  {_scalar(cluster)}:",
        "    job:",
        f"      # Allocation to charge{_among(offered.allocations)}.",
        f"      {line('job.account')}",
        f"      # Partition or queue{_among(offered.partitions)}.",
        f"      {line('job.partition')}",
        "      # Walltime limit without -t: minutes, HH:MM:SS or D-HH:MM:SS.",
        "      #walltime: 02:00:00",
        "    notebook:",
        "      # Modules and conda environment to load before the notebook starts.",
        f"      {line('notebook.modules')}",
        f"      {line('notebook.conda_env')}",
        *([f"      {line('notebook.jupyter')}"] if "notebook.jupyter" in values else []),
        "      # Top directory of the notebook; default: your home directory.",
        "      #directory: ~/notebooks",
        "    # Named sets of settings, for `rps start gpu`.",
        "    #profiles:",
        "    #  gpu: {job: {partition: gpu, gpus: 1}}",
    ]
    return "".join(f"{text}\n" for text in lines)


def _among(names: Sequence[str]) -> str:
    """Format names for a comment, without those that would break its line."""
    plain = [name for name in names if name.isprintable()]
    return f"; available: {', '.join(plain[:12])}{' …' if len(plain) > 12 else ''}" if plain else ""


def _scalar(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_scalar(one) for one in value)}]"
    plain = _PLAIN.fullmatch(value) and value.lower() != "null"
    return value if plain else json.dumps(value, ensure_ascii=False)


def _in_its_place(path: Path, cluster: str, section: str, *, ask: bool) -> str:
    """Return a new file, if the user confirms; the old one is kept as a copy."""
    question = f"{path} has other settings for {cluster}. Replace it (a copy is kept)?"
    if not ask or not click.confirm(question, default=False, err=True):
        raise UsageError(
            f"{path} has other settings for {cluster}: not changed",
            f"To use these settings, add them there:\nsites:\n{section}",
        )
    click.echo(f"The old file is kept as {_copy_of(path)}.", err=True)
    return f"{HEADER}sites:\n{section}"


def _copy_of(path: Path) -> Path:
    """Copy the file to the first free name: `.old`, `.old.2`, `.old.3`."""
    content = path.read_bytes()
    for number in count(1):
        kept = path.with_name(f"{path.name}.old" + (f".{number}" if number > 1 else ""))
        with contextlib.suppress(FileExistsError):
            write_new(kept, content)
            return kept
    raise AssertionError("unreachable")


def _write(path: Path, text: str) -> None:
    """Write the file atomically, mode 0600; a symbolic link to it is kept."""
    target = path.resolve()
    paths.make_directory(target.parent)
    remove_unfinished(target)
    SessionFiles(target.parent).write(target.name, text)
