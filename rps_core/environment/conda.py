"""The user's conda environments, which conda and micromamba list in a file."""

from __future__ import annotations

from pathlib import Path

from rps_core.system import paths


def environments() -> list[Path]:
    """Return the paths in `~/.conda/environments.txt`."""
    try:
        text = (paths.home() / ".conda" / "environments.txt").read_text("utf-8", "replace")
    except OSError:
        return []
    return [Path(line) for line in text.splitlines() if line.startswith("/")]


def named(name: str) -> list[Path]:
    """Return the environments of this name that are there."""
    return [path for path in environments() if path.name == name and path.is_dir()]
