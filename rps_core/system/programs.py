"""Look programs up on the PATH."""

from __future__ import annotations

import os


def which(name: str, path: str | None = None) -> str | None:
    """Return the program that a name stands for, as `shutil.which` does on POSIX.

    `shutil` imports every kind of compression, which takes longer than all lookups of a start.

    Args:
        name: the program's name, or a path to it.
        path: where to look in place of PATH.
    """
    if os.path.dirname(name):  # noqa: PTH120
        return name if _is_program(name) else None
    if path is None:
        path = os.environ.get("PATH", os.defpath)
    if not path:
        return None
    places = (f"{place}/{name}" if place else name for place in path.split(os.pathsep))
    return next(filter(_is_program, places), None)


def _is_program(path: str) -> bool:
    return os.access(path, os.X_OK) and not os.path.isdir(path)  # noqa: PTH112
