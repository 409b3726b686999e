"""The log of a personal service."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from rps_proxy.personal import daemon
from rps_proxy.personal.daemon import RotatingLog


def test_the_log_keeps_two_files_of_limited_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "MOST_LOG", 1000)
    file = tmp_path / "service.log"
    file.write_text("of the process before\n")
    log = RotatingLog(file)
    lines = [f"{number:3} 100 % ä {'x' * 60}\n" for number in range(100)]
    with contextlib.closing(log):
        for line in lines:
            assert log.write(line) == len(line)
            log.flush()
    older = tmp_path / "service.log.1"
    assert sorted(path.name for path in tmp_path.glob("service.*")) == [
        "service.log",
        "service.log.1",
    ]
    kept = older.read_text() + file.read_text()
    assert "".join(lines).endswith(kept)
    assert all(0 < path.stat().st_size <= 1100 for path in (file, older))


def test_a_line_that_cannot_be_written_is_an_error() -> None:
    """Test that `rps_core.log` can count it among the lost lines."""
    log = RotatingLog(Path("/dev/full"))
    with pytest.raises(OSError, match="No space left"):
        log.write("a line\n")
    with contextlib.suppress(OSError):  # what is still in its buffer
        log.close()
