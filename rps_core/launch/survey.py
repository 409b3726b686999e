"""List what `rps start` could take as the environment of a session: `rps env`."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rps_core.environment import conda, prefix
from rps_core.environment.environment import Environment, Kind
from rps_core.errors import UsageError
from rps_core.launch.choice import Choice
from rps_core.launch.environment import Chooser
from rps_core.launch.jupyters import OWN, PROVIDED
from rps_core.system import paths
from rps_core.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One place in which environments are looked for.

    Attributes:
        place: a word for it.
        choice: what was found; None: nothing, or an error.
        error: why what was found cannot be used.
        without: what is not there, in words, where nothing was found.
        chosen: `rps start` takes it, or ends with its error.
    """

    place: str
    choice: Choice | None = None
    error: UsageError | None = None
    without: str = ""
    chosen: bool = False

    @property
    def words(self) -> str:
        """What is there, for people."""
        if self.error is not None:
            return self.error.message
        return self.choice.environment.described() if self.choice else f"none: {self.without}"

    @property
    def option(self) -> str:
        """The option of `rps start` that takes it; empty: nothing is there, or there is none."""
        return option(self.choice.environment) if self.choice else ""

    def as_json(self) -> dict[str, Any]:
        """Return the documented fields (docs/environments.md)."""
        found = None if self.choice is None else self.choice.environment
        return {
            "place": self.place,
            "environment": None if found is None else found.as_json(),
            "option": self.option or None,
            "error": None if self.error is None else self.error.message,
            "chosen": self.chosen,
        }


def seen(chooser: Chooser) -> list[Seen]:
    """Return the places in their order."""
    steps: tuple[tuple[str, str, Callable[[], Choice | None]], ...] = (
        (
            "named",
            "--env, --with, --venv, --conda-env, --image, --jupyter, --modules, or a key",
            lambda: chooser.made() or chooser.said(),
        ),
        ("project", "no .venv, pixi or conda environment here or above", chooser.project),
        ("modules", "notebook.modules is empty", chooser.configured_modules),
        ("active", "nothing is active in this shell", chooser.active),
    )
    found = [_step(*step) for step in steps]
    programs = {choice.environment.kind: choice for choice in chooser.programs()}
    for kind, place, without in (
        (Kind.PATH, "PATH", "no `jupyter` of others on the PATH"),
        (Kind.SITE, "site", "notebook.provided is not set, or lacks this application"),
        (Kind.OWN, "rps", "rps was installed without Jupyter"),
    ):
        found.append(Seen(place=place, choice=programs.get(kind), without=without))
    first = next((one for one in found if one.choice or one.error), None)
    return [replace(one, chosen=one is first) for one in found]


def fields(chosen: Choice) -> tuple[tuple[str, str | None], ...]:
    """Return the choice as labels with values."""
    return (
        ("environment", chosen.environment.described()),
        ("served by", chosen.served_by or "itself"),
        ("kernel", chosen.kernel.display_name if chosen.kernel else None),
    )


def others(known: list[Seen], cache: Path) -> Iterator[Environment]:
    """Yield further environments of the user: those that conda lists, and those of virtualenvwrapper.

    Args:
        known: the places that were looked at.
        cache: the directory of those that rps makes to order, which micromamba lists too.
    """
    taken = {one.choice.environment.prefix for one in known if one.choice}
    home = Path(os.environ.get("WORKON_HOME") or paths.home() / ".virtualenvs")
    for path in (*conda.environments(), *(sorted(home.iterdir()) if home.is_dir() else ())):
        if path in taken or path.is_relative_to(cache) or not prefix.is_environment(path):
            continue
        try:
            there = prefix.read(path, str(path))
        except UsageError:
            continue
        yield Environment(
            kind=there.kind, name=there.name, chosen_by="", prefix=path,
            python_version=there.python_version, made_by=there.made_by, place=str(path),
        )  # fmt: skip


def option(found: Environment) -> str:
    """Return the option of `rps start` that takes an environment; empty: there is none."""
    words = {Kind.OWN: f"--jupyter {OWN}", Kind.SITE: f"--jupyter {PROVIDED}"}
    if found.kind in words:
        return words[found.kind]
    if found.kind == Kind.MADE:  # by what it is made from, which the settings name
        return ""
    if found.kind == Kind.MODULES:
        return f"--modules {shlex.quote(','.join(found.modules))}"
    if found.kind == Kind.PATH:
        return f"--jupyter {shlex.quote(str(Path(found.place).expanduser()))}"
    return f"--venv {shlex.quote(str(found.prefix))}" if found.prefix else ""


def _step(place: str, without: str, step: Callable[[], Choice | None]) -> Seen:
    try:
        return Seen(place=place, choice=step(), without=without)
    except UsageError as error:
        return Seen(place=place, error=error)
