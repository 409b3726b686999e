"""A clock for one service (libfaketime) that tests move while the service runs.

The machine's clock does not change.
"""

from __future__ import annotations

from pathlib import Path

import pytest


class Clock:
    """The machine's clock plus an offset, for services that start from now on.

    With `steady` the offset also applies to CLOCK_MONOTONIC, which cannot be set: time has really passed.
    """

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch, *, steady: bool) -> None:
        self._file = file
        self.put(0)
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        for name, value in {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "0" if steady else "1",
        }.items():
            monkeypatch.setenv(name, value)

    def put(self, seconds: int) -> None:
        """Set the offset against the machine's clock."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)
