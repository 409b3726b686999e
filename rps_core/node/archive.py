"""Pack the agent into the zip archive that is copied into a session's directory."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

NAME = "agent.pyz"
_HERE = Path(__file__).parent


def build() -> bytes:
    """Return the archive of `agent/` and `builder/`; the same bytes for the same files.

    It is not compressed: the node's Python may have no zlib.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for package in ("rps_core", "rps_core/node"):
            archive.writestr(zipfile.ZipInfo(f"{package}/__init__.py"), b"")
        files = [*(_HERE / "agent").iterdir(), *(_HERE / "builder").iterdir()]
        for path in sorted(files):
            if path.suffix in (".py", ".js", ".json"):
                directory = f"rps_core/node/{path.parent.name}/"
                directory = "" if path.name == "__main__.py" else directory
                archive.writestr(zipfile.ZipInfo(directory + path.name), path.read_bytes())
    return content.getvalue()
