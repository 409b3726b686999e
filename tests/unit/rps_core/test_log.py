"""The times of log lines."""

import io
import json
import time
from collections.abc import Iterator

import pytest

from rps_core import log


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Return the log's destination, in a time zone five hours behind UTC."""
    monkeypatch.setenv("TZ", "EST+5")
    time.tzset()
    yield io.StringIO()
    log.configure()
    monkeypatch.undo()
    time.tzset()


def test_a_user_reads_local_times_with_their_offset(stream: io.StringIO) -> None:
    before = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime())
    log.configure(stream=stream)
    log.get_logger("here").warning("seen")
    stamp = stream.getvalue().split()[0]
    assert stamp.endswith("-0500")
    assert before <= stamp.removesuffix("-0500") <= time.strftime("%Y-%m-%dT%H:%M:%S")


def test_json_has_times_in_utc(stream: io.StringIO) -> None:
    log.configure(stream=stream, log_format="json")
    log.get_logger("here").warning("seen")
    assert json.loads(stream.getvalue())["timestamp"].endswith("Z")
