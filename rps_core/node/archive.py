"""Pack the agent into the zip archive that is copied into a session's directory."""

from __future__ import annotations

import os

NAME = "agent.pyz"
_HERE = os.path.dirname(__file__)  # noqa: PTH120 - at each start, and os.path is loaded
_PACKAGES = ("agent", "builder")
_KINDS = (".py", ".js", ".json")


def made_of() -> str:
    """Return in one line what the archive is made of: its files, their times and sizes."""
    states = sorted(
        (entry.path, entry.stat().st_mtime_ns, entry.stat().st_size)
        for package in _PACKAGES
        for entry in os.scandir(f"{_HERE}/{package}")
        if entry.name.endswith(_KINDS)
    )
    return repr(states)


def build() -> bytes:
    """Return the archive of `agent/` and `builder/`; the same bytes for the same files.

    It is not compressed: the node's Python may have no zlib.
    """
    import io
    import zipfile
    from pathlib import Path

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for package in ("rps_core", "rps_core/node"):
            archive.writestr(zipfile.ZipInfo(f"{package}/__init__.py"), b"")
        files = [path for package in _PACKAGES for path in Path(_HERE, package).iterdir()]
        for path in sorted(files):
            if path.suffix in _KINDS:
                directory = f"rps_core/node/{path.parent.name}/"
                directory = "" if path.name == "__main__.py" else directory
                archive.writestr(zipfile.ZipInfo(directory + path.name), path.read_bytes())
    return content.getvalue()
