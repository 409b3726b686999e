"""Start a module of rps in a Python process of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def module_command(module: str, *, with_plugins: bool = False) -> list[str]:
    """Return the command that runs a module with this Python.

    Environment modules set PYTHONHOME and PYTHONPATH for another Python. They are ignored, except for a
    PYTHONPATH on which rps itself is; the processes that the module starts inherit them.

    Args:
        module: its name.
        with_plugins: it loads the plugins that this process loads, which may be on PYTHONPATH too.
    """
    isolation = ["-P"]  # `-m` must not import from the working directory
    if sys.flags.isolated:  # by ./rps
        isolation = ["-I"]
    elif not (with_plugins or _is_on_pythonpath()):
        isolation = ["-E", "-P"]
    return [sys.executable, *isolation, "-m", module]


def _is_on_pythonpath() -> bool:
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return any(place and Path(place).resolve() == _ROOT.resolve() for place in places)
