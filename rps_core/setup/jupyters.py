"""The Jupyter installations that `rps init` offers."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from rps_core.environment import conda
from rps_core.environment.active import is_of_a_module
from rps_core.environment.active import modules as loaded_modules
from rps_core.system import paths
from rps_core.values import dataclass


@dataclass(frozen=True, slots=True)
class Environment:
    """A Jupyter installation: its description, and its keys of `notebook`."""

    description: str
    settings: Mapping[str, object]


def found(app: str = "lab") -> list[Environment]:
    """Return the installations found, most likely first.

    A job starts without the modules of this shell, so they become settings.
    """
    program = f"jupyter-{app}"
    on_path = shutil.which(program)
    beside = shutil.which(program, path=str(Path(sys.executable).parent))
    modules = list(loaded_modules(os.environ))
    offered = []
    if on_path and modules and is_of_a_module(on_path):
        text = f"the currently loaded modules, with {on_path}: {', '.join(modules)}"
        own = Path(on_path).is_relative_to(paths.home())
        named = {"jupyter": str(Path(on_path).with_name("jupyter"))} if own else {}
        offered.append(Environment(text, {"modules": modules, **named}))
    if on_path:
        offered.append(Environment(f"the Jupyter on your PATH, {on_path}", {}))
    elif beside:
        offered.append(Environment(f"the Jupyter installed with rps, {beside}", {}))
    for place in conda.environments():
        if (place / "bin" / program).exists():
            text = f"the conda environment {place.name}, {place}"
            offered.append(Environment(text, {"conda_env": str(place)}))
    return offered
