"""The agent as one file, as it is copied into a session's directory: a zip archive that Python runs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

NAME = "agent.pyz"
_HERE = Path(__file__).parent


def build() -> bytes:
    """All of `agent/`, under the names that it has here; the same bytes for the same files.

    It is not compressed: the node's Python may have no zlib.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for package in ("rps_core", "rps_core/node"):
            archive.writestr(zipfile.ZipInfo(f"{package}/__init__.py"), b"")
        for path in sorted((_HERE / "agent").iterdir()):
            if path.suffix in (".py", ".js"):
                directory = "" if path.name == "__main__.py" else "rps_core/node/agent/"
                archive.writestr(zipfile.ZipInfo(directory + path.name), path.read_bytes())
    return content.getvalue()
