"""The agent's limits for the job's log, and the notes where they are reached."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from rps_core.diagnosis import rules as why
from rps_core.node.agent import events, job_log
from rps_core.node.agent.events import Events
from rps_core.node.agent.job_log import JobLog

SERVER = b"[W 2026-11-28 23:12:48.123 ServerApp] "
REFUSED = SERVER + b"404 GET /%s (@192.0.2.7) 0.50ms referer=None\n"
OLD = b"[W 23:12:48.123 NotebookApp] 403 GET /%s (192.0.2.7): Forbidden\n"


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def strftime(self, form: str) -> str:
        return "2026-11-28 23:12:48"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    message = SimpleNamespace(monotonic=clock.monotonic, strftime=clock.strftime)
    monkeypatch.setattr(job_log, "time", message)
    return clock


@contextmanager
def written_to(path: Path, flags: int = os.O_APPEND) -> Iterator[JobLog]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600)
    try:
        yield JobLog(descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("line", [REFUSED, OLD])
def test_a_long_line_of_the_server_is_cut(line: bytes, tmp_path: Path, clock: Clock) -> None:
    with written_to(tmp_path / "log") as log:
        log.add(line % (b"x" * 30_000))
        log.add(line % b"short")
    first, second = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    assert len(first) < 1100
    assert re.search(rb"xxx \[29\d\d\d bytes left out\]\n$", first)
    assert second == line % b"short"


@pytest.mark.usefixtures("clock")
def test_a_line_of_several_pieces_is_one(tmp_path: Path) -> None:
    """The relay reads 64 KB at once."""
    with written_to(tmp_path / "log") as log:
        for piece in (b"y" * 65536, b"y" * 65536, b"end\n", b"next\n"):
            log.add(piece)
        for step in range(5):  # a progress bar
            log.add(b"\rdone %d" % step + b"." * 65000)
        log.add(b"\n")
    lines = (tmp_path / "log").read_bytes().split(b"\n")
    assert lines[0] == b"y" * 16384 + b" [49152 bytes left out]"
    assert lines[1] == b"next"
    assert [line[:7] for line in lines[2:7]] == [b"\rdone %d" % step for step in range(5)]


def test_many_requests_from_outside_fill_no_home(tmp_path: Path, clock: Clock) -> None:
    """A day of them, a thousand a second for some moments of each minute."""
    with written_to(tmp_path / "log") as log:
        for _ in range(24 * 60):
            for _ in range(200):
                log.add(REFUSED % (b"x" * 2000))
                log.add(SERVER + b"wrote error: " + b"x" * 2000 + b"\n")
            clock.now += 60
        assert (tmp_path / "log").stat().st_size < 25 << 20
        log.end()
    text = (tmp_path / "log").read_bytes()
    assert re.search(
        rb" rps: 160 lines \(\d+ KB\) were left out here: more than the log takes", text
    )
    assert re.search(rb" rps: \d+ KB were left out here: the log was too long\n", text)


@pytest.mark.usefixtures("clock")
def test_requests_push_no_other_output_out(tmp_path: Path) -> None:
    with written_to(tmp_path / "log") as log:
        for number in range(5000):
            log.add(REFUSED % b"x")
            if number % 1000 == 0:
                log.add(b"kernel says %d\n" % number)
                log.add(SERVER + b"kernel %d restarted\n" % number)
        log.add(b"MemoryError\n")
        for _ in range(5000):
            log.add(REFUSED % b"x")
        log.end()
    text = (tmp_path / "log").read_bytes()
    for number in range(0, 5000, 1000):
        assert b"kernel says %d\n" % number in text
        assert b"kernel %d restarted\n" % number in text
    assert text.count(b"404 GET") == job_log.SERVER_BURST
    # What `rps why` shows of it, where nothing is recognised.
    lines = text.decode().splitlines()
    shown = why.evidence("jupyter-crashed", why.Facts(log=lines))
    assert "MemoryError" in [one.line for one in shown]
    assert not any("404 GET" in one.line for one in shown)


def test_output_of_the_users_own_passes_whole_unless_it_is_endless(
    tmp_path: Path, clock: Clock
) -> None:
    line = b"step %07d " + b"." * 86 + b"\n"
    with written_to(tmp_path / "log") as log:
        for number in range(60_000):  # 6 MB at once
            log.add(line % number)
        assert (tmp_path / "log").read_bytes() == b"".join(line % n for n in range(60_000))
        for number in range(60_000, 200_000):  # 14 MB more
            log.add(line % number)
        for number in range(100):
            log.add(b"last %d\n" % number)
        log.end()
    text = (tmp_path / "log").read_bytes()
    assert len(text) < 9 << 20
    assert text.startswith(line % 0)
    last = b"".join(b"last %d\n" % number for number in range(80, 100))
    assert text.endswith(b" rps: the last of the lines left out:\n" + last)
    assert b"lines (" in text


@pytest.mark.parametrize("flags", [os.O_APPEND, os.O_TRUNC])
def test_a_log_that_is_too_long_keeps_its_beginning_and_its_end(
    flags: int, tmp_path: Path, clock: Clock
) -> None:
    """Slurm opens it without O_APPEND; others write to the same open file."""
    with written_to(tmp_path / "log", flags) as log:
        for number in range(400):
            clock.now += 3600
            log.add(b"%05d " % number + b"." * 10_000 + b"\n")
            for _ in range(20):
                log.add(b"." * 10_000 + b"\n")
        os.write(log._descriptor, b"the supervisor's\n")
    path = tmp_path / "log"
    text = path.read_bytes()
    assert path.stat().st_size <= job_log.MOST
    assert b"\0" not in text
    assert text.startswith(b"00000 ")
    assert text.endswith(b"the supervisor's\n")
    kept = [int(line[:5]) for line in text.splitlines() if line[:5].isdigit()]
    assert kept == sorted(set(kept))
    assert kept[-1] == 399
    assert re.search(rb"\.\n2026-11-28 23:12:48 rps: \d+ KB were left out here: the log was", text)


@pytest.mark.usefixtures("clock")
def test_a_full_disk_delays_no_request() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        log = JobLog(descriptor)
        log.add(b"one\n")
        log.end()
    finally:
        os.close(descriptor)


def test_what_is_no_file_gets_no_more_than_a_file_may_have(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test that a user's script may pass it to another program."""
    taken = 0

    def write(descriptor: int, content: bytes) -> int:
        nonlocal taken
        taken += len(content)
        return len(content)

    reader, writer = os.pipe()
    monkeypatch.setattr(os, "write", write)
    log = JobLog(writer)
    for _ in range(10_000):
        clock.now += 3600
        log.add(b"." * 10_000 + b"\n")
    os.close(reader)
    os.close(writer)
    assert taken < job_log.MOST + (4 << 20)


def test_events_of_days_fill_no_home_and_the_end_is_noted(tmp_path: Path) -> None:
    """A service that is made to come and go."""
    noted = Events(str(tmp_path))
    for _ in range(1200):
        noted.add("service-away", reason="x" * 1000)
    noted.add("ended", reason="over", cause="signal")
    path = tmp_path / "events.jsonl"
    assert path.stat().st_size < events.MOST + 4000
    assert json.loads(path.read_text().splitlines()[-1])["event"] == "ended"
