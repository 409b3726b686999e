"""The node agent as one file: what is in it, and by which Python it is run."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import rps_core
from rps_core.node import archive

CORE = Path(rps_core.__file__).parent


def test_it_is_one_file_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    packed = archive.build()
    assert packed == archive.build()
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        held = {info.filename: info for info in opened.infolist()}
        main = (CORE / "node" / "agent" / "__main__.py").read_bytes()
        assert opened.read("__main__.py") == main
    for package in ("agent", "builder"):
        here = {path.name for path in (CORE / "node" / package).iterdir() if path.is_file()}
        prefix = f"rps_core/node/{package}/"
        packed_ones = {name[len(prefix) :] for name in held if name.startswith(prefix)}
        assert packed_ones == here - {"__main__.py"}
    # A node's Python may have no zlib.
    assert {info.compress_type for info in held.values()} == {zipfile.ZIP_STORED}
