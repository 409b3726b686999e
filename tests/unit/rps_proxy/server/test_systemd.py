"""Notifications to systemd."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rps_core import log
from rps_proxy.server.systemd import notify_ready


@pytest.mark.parametrize("abstract", [False, True])
def test_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"{'@' if abstract else ''}{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0", 1) if abstract else name)
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify_ready()
        assert systemd.recv(100) == b"READY=1"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Return the log."""
    text = io.StringIO()
    log.configure(stream=text)
    yield text
    log.configure()


def test_without_a_notify_socket_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_ready()
    assert logged.getvalue() == ""


def test_systemd_cannot_be_notified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    notify_ready()
    assert "systemd-not-notified" in logged.getvalue()
