"""The system's ssh, as far as it needs no server: those with one are in tests/cluster/test_connect.py."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rps_core.connect import ssh
from rps_core.connect.destination import Destination
from rps_core.errors import ConnectError


@pytest.mark.parametrize("directory", ["short", "a-directory-of-macos" * 5])
def test_the_control_socket_has_a_path_that_macos_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: str
) -> None:
    """ssh binds the path with a suffix of 17 characters; macOS takes 103 bytes and a final zero."""
    place = tmp_path / directory
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    made = ssh._private_directory()
    try:
        assert len(os.fsencode(made / "s")) + 17 <= 103
        assert made.stat().st_mode & 0o777 == 0o700
    finally:
        made.rmdir()
    assert list(place.iterdir()) == []


def test_nothing_stays_of_a_connection_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need: Callable[[str], str]
) -> None:
    need("ssh")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = set(Path("/tmp").glob("rps-*"))
    with pytest.raises(ConnectError, match="no ssh server answers") as caught:
        ssh.Connection(Destination(name="here", ssh="ssh://127.0.0.1:1"), again=True)
    assert caught.value.transient
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("rps-")]
    assert not {path for path in set(Path("/tmp").glob("rps-*")) - before if (path / "s").exists()}


def test_the_configuration_for_a_host_is_that_of_the_users_ssh(
    tmp_path: Path, need: Callable[[str], str]
) -> None:
    need("ssh")
    effective = Destination(name="x", ssh="alice@login.invalid").effective()
    assert (effective["user"], effective["hostname"]) == ("alice", "login.invalid")
