"""The choice of an environment, as it is recorded and shown."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from rps_core.system import paths
from rps_core.text import plain
from rps_core.values import dataclass


class Kind(StrEnum):
    """What an environment is."""

    VENV = "venv"
    CONDA = "conda"
    PIXI = "pixi"
    MODULES = "modules"
    IMAGE = "image"
    PATH = "path"  # the `jupyter` on the PATH
    SITE = "site"  # notebook.provided
    OWN = "own"  # rps's own Jupyter
    MADE = "made"  # to order, by rps


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An environment, and why it was chosen.

    Attributes:
        kind: what it is.
        name: its name for people; of its kernel too.
        chosen_by: why, in words that end a sentence: `--venv`, `the project in ~/proj`.
        prefix: its directory; None if only the job knows it.
        python_version: as 3.12.3; None if unknown, or it has no Python.
        made_by: the tool that made it (`uv`), empty if unknown.
        place: where it is, for people (`.venv`, `/opt/jupyter`).
        modules: the modules that the job loads for it.
    """

    kind: Kind
    name: str
    chosen_by: str
    prefix: Path | None = None
    python_version: str | None = None
    made_by: str = ""
    place: str = ""
    modules: tuple[str, ...] = ()

    def described(self) -> str:
        """Return it in a line: `proj (.venv, Python 3.12.3, made by uv), the project in ~/proj`."""
        known = [self.place] if self.place and self.place != self.name else []
        known += [f"Python {self.python_version}"] if self.python_version else []
        known += [f"made by {self.made_by}"] if self.made_by else []
        if self.modules and self.kind != Kind.MODULES:
            known += [f"with {_modules(self.modules)}"]
        within = f" ({', '.join(known)})" if known else ""
        return plain(f"{self.name}{within}, {self.chosen_by}")

    def as_json(self) -> dict[str, object]:
        """Return the documented fields (docs/environments.md)."""
        return {
            "kind": str(self.kind),
            "name": self.name,
            "prefix": None if self.prefix is None else str(self.prefix),
            "python": self.python_version,
            "made_by": self.made_by or None,
            "modules": list(self.modules),
            "chosen_by": self.chosen_by,
            "line": self.described(),
        }


def of_modules(
    modules: tuple[str, ...], chosen_by: str, python_version: str | None = None
) -> Environment:
    """Return the environment that these modules make."""
    return Environment(
        kind=Kind.MODULES, name=_modules(modules), chosen_by=chosen_by, python_version=python_version,
        modules=modules,
    )  # fmt: skip


def _modules(modules: tuple[str, ...]) -> str:
    return f"the module{'s' if len(modules) > 1 else ''} {', '.join(modules)}"


def short(path: Path) -> str:
    """Return a path with `~` for the home directory."""
    home = paths.home()
    if path == home:
        return "~"
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)
