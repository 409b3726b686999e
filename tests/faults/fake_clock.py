"""A clock of the service's own, by libfaketime: what it takes for now can be moved as it runs. The machine's
clock is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest


class Clock:
    """The machine's clock, and what is put forward or back; services that start from now on have it.

    With `steady` that is so of the clock that nobody sets (CLOCK_MONOTONIC) as well: time has passed, then.
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
        """By so much against the machine's clock."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)
