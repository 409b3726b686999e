"""Where this account can take a Jupyter from: what `rps init` offers."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rps_core import paths


@dataclass(frozen=True, slots=True)
class Environment:
    """In words, and as keys of `notebook`."""

    told: str
    settings: Mapping[str, object]


def found(app: str = "lab") -> list[Environment]:
    """What was found, the likeliest first. A job begins without the modules of this shell."""
    program = f"jupyter-{app}"
    on_path = shutil.which(program)
    beside = shutil.which(program, path=str(Path(sys.executable).parent))
    modules = [name for name in os.environ.get("LOADEDMODULES", "").split(":") if name]
    offered = []
    if on_path and modules and not Path(on_path).is_relative_to(paths.home()):
        told = f"the modules loaded now, with {on_path}: {', '.join(modules)}"
        offered.append(Environment(told, {"modules": modules}))
    if on_path:
        offered.append(Environment(f"the Jupyter of your PATH, {on_path}", {}))
    elif beside:
        offered.append(Environment(f"the Jupyter that came with rps, {beside}", {}))
    for place in conda_environments():
        if (place / "bin" / program).exists():
            told = f"the conda environment {place.name}, {place}"
            offered.append(Environment(told, {"conda_env": str(place)}))
    return offered


def conda_environments() -> list[Path]:
    """Those that conda has made for this user: it lists them, a path a line."""
    try:
        text = (paths.home() / ".conda" / "environments.txt").read_text("utf-8", "replace")
    except OSError:
        return []
    return [Path(line) for line in text.splitlines() if line.startswith("/")]
