"""Find the environment of the project that a directory is in.

It is `.venv`, the default environment of pixi, or another venv or conda environment in it. uv and pixi
look for a project in the directories above as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rps_core.environment.environment import short
from rps_core.environment.prefix import USUAL_NAMES, is_environment
from rps_core.node.agent.trusted_path import UntrustedPath, check_path
from rps_core.system import paths
from rps_core.values import dataclass

_NAMES = (USUAL_NAMES[0], ".pixi/envs/default", *USUAL_NAMES[1:], ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project, and its environment.

    Attributes:
        directory: the project's.
        prefix: its environment's directory; None: its tool has not made it yet.
        remedy: without a prefix: the command that makes it.
        untrusted: why it is not used unless the user names it: another user can change it. Else empty.
    """

    directory: Path
    prefix: Path | None
    remedy: str = ""
    untrusted: str = ""

    @property
    def chosen_by(self) -> str:
        """The project, in words."""
        return f"the project in {short(self.directory)}"


def find(start: Path, ignored: Path) -> Iterator[Project]:
    """Yield the projects with an environment in a directory and above it, nearest first.

    Args:
        start: the directory, absolute.
        ignored: rps's own environment, which is of no project.
    """
    home = paths.home()
    for directory in (start, *start.parents):
        # The home directory may hold any environments; of these only `.venv` is for all that is below.
        found = _in(directory, ignored, (".venv",) if home.is_relative_to(directory) else _NAMES)
        if found is not None:
            yield found


def _in(directory: Path, ignored: Path, names: Sequence[str]) -> Project | None:
    for name in names:
        prefix = directory / name
        if not os.path.isdir(prefix) or os.path.realpath(prefix) == os.path.realpath(ignored):  # noqa: PTH112
            continue
        # A `.venv` is an environment whatever is left of it; `env` may be any directory.
        if name == ".venv" or is_environment(prefix):
            return Project(directory=directory, prefix=prefix, untrusted=_untrusted(prefix))
    made_by = {"uv.lock": "uv sync", "pixi.toml": "pixi install", "pixi.lock": "pixi install"}
    for name, command in made_by.items():
        if os.path.isfile(directory / name):  # noqa: PTH113
            return Project(directory=directory, prefix=None, remedy=command)
    return None


def _untrusted(prefix: Path) -> str:
    """Return why another user could have put it there; else empty.

    Its programs run as the user: from /tmp, or where others can write, it is not taken unasked.
    """
    try:
        check_path(str(prefix / "bin"))
    except UntrustedPath as error:
        return str(error)
    except OSError as error:
        return f"{prefix}: {error.strerror}"
    return ""
