"""Find the versions of the Python packages that a program has, from what pip and conda leave.

No program is run, so that this finds a package where tools install it; the node asks that Python itself.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from rps_core.node.agent.files import interpreters


def python_of(program: str) -> str:
    """Return the interpreter of a script; its own path for another program."""
    return (interpreters(program) or [program])[-1]


def newest(program: str, name: str) -> tuple[int, ...] | None:
    """Return the newest version of a package that the Python of a script may import; None: none was found.

    Args:
        program: the script's path.
        name: the package's, with `_` between words.
    """
    # `jupyter_server`, and `jupyter-server` of setuptools before 69.
    pattern = re.compile(rf"{re.sub('_', '[-_]', name)}-(\d+(?:\.\d+)*)[^-]*", re.IGNORECASE)
    found = []
    for place in package_places(Path(python_of(program)).parent.parent):
        for entry in _names(place):
            if entry.endswith((".dist-info", ".egg-info")) and (match := pattern.match(entry)):
                found.append(tuple(map(int, match[1].split("."))))
    return max(found, default=None)


def package_places(prefix: Path) -> list[Path]:
    """Return the directories with the packages of a prefix's Python, the user's own included."""
    bases = [prefix / "lib", Path("~/.local/lib").expanduser()]
    if prefix == Path("/usr"):
        bases.append(Path("/usr/local/lib"))  # before those of /usr, on Debian as dist-packages
    found = [place for base in bases for place in base.glob("python3*/*-packages")]
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [*found, *(Path(one) for one in others if one)]


def _names(place: Path) -> list[str]:
    try:
        return os.listdir(place)  # noqa: PTH208 - at each start
    except OSError:
        return []
