"""What systemd is told."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rps_core import log
from rps_proxy.systemd_notify import told_ready


@pytest.mark.parametrize("abstract", [False, True])
def test_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"{'@' if abstract else ''}{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0", 1) if abstract else name)
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        told_ready()
        assert systemd.recv(100) == b"READY=1"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What is logged."""
    text = io.StringIO()
    log.configure(stream=text)
    yield text
    log.configure()


def test_nobody_waits(monkeypatch: pytest.MonkeyPatch, logged: io.StringIO) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    told_ready()
    assert logged.getvalue() == ""


def test_systemd_cannot_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    told_ready()
    assert "systemd-not-told" in logged.getvalue()
