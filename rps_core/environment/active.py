"""Find what is active in this shell: a venv, a conda or pixi environment, modules."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from rps_core.node.agent.files import interpreters
from rps_core.system import paths
from rps_core.system.programs import which

OWN_MARK = "rps-jupyter.pth"  # in a venv over rps's own Jupyter (`own`)
_SYSTEM = ("/usr/bin/", "/bin/")  # every node has these, without a module


def prefixes(environment: Mapping[str, str]) -> list[tuple[str, Path]]:
    """Return the active environments, each with its variable, the one that counts first.

    conda activates its environment `base` in every shell (`auto_activate`), so a venv may be active as well:
    the one that is first on the PATH counts.
    """
    places = environment.get("PATH", "").split(os.pathsep)
    found = [
        (name, Path(environment[name]))
        for name in ("VIRTUAL_ENV", "CONDA_PREFIX")
        if environment.get(name, "").startswith("/")
    ]

    def position(entry: tuple[str, Path]) -> int:
        own = str(entry[1] / "bin")
        return places.index(own) if own in places else len(places)

    return sorted(found, key=position)


def is_over_rps(prefix: Path) -> bool:
    """Return whether this is the venv of rps's own notebooks, active in a terminal of theirs."""
    return any(prefix.glob(f"lib/python*/site-packages/{OWN_MARK}"))


def modules(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the loaded modules; Environment Modules and Lmod set LOADEDMODULES."""
    return tuple(name for name in environment.get("LOADEDMODULES", "").split(":") if name)


def program_of_a_module(*names: str, path: str | None = None) -> str | None:
    """Return the first program of this shell's PATH that can be of a loaded module."""
    for name in names:
        found = which(name, path=path)
        if found is not None and is_of_a_module(found):
            return found
    return None


def is_of_a_module(program: str) -> bool:
    """Return whether a program, or the Python that runs it, can be of a loaded module.

    `pip install --user` and a venv put Jupyter into the home directory, with a module's Python.
    """
    named = interpreters(program)[-1:]
    used = [Path(program), *(Path(one).resolve() for one in named if one.startswith("/"))]
    home = paths.home()
    outside = [one for one in used if not one.is_relative_to(home)]
    return any(not str(one).startswith(_SYSTEM) for one in outside)
