"""Draining: issue no new names, across restarts, until the operator ends it."""

from __future__ import annotations

from pathlib import Path

from rps_proxy.private_files import write_private

FILE = "draining"  # in the service's directory; its presence alone counts


def is_draining(directory: Path) -> bool:
    """Return whether the service in that directory issues no new names."""
    return (directory / FILE).exists()


def set_draining(directory: Path, *, on: bool) -> None:
    """Start or end draining for the service in that directory."""
    file = directory / FILE
    if on:
        write_private(file, b"")
    else:
        file.unlink(missing_ok=True)
