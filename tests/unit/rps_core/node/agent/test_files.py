"""The files that the agent reads and makes, and the kernels' sockets."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rps_core.node.agent import sockets as kernel_sockets
from rps_core.node.agent.files import UnsafeFile, check_directory, read_file, write_secret


def test_a_secret_is_read_where_it_is_ours_alone(tmp_path: Path) -> None:
    write_secret(str(tmp_path / "claim.json"), b"secret")
    assert (tmp_path / "claim.json").stat().st_mode & 0o777 == 0o600
    assert read_file(str(tmp_path / "claim.json"), secret=True) == b"secret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_secret_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "claim.json"
    path.write_bytes(b"secret")
    path.chmod(mode)
    with pytest.raises(UnsafeFile, match="others"):
        read_file(str(path), secret=True)


def test_a_link_is_refused(tmp_path: Path) -> None:
    write_secret(str(tmp_path / "elsewhere"), b"secret")
    (tmp_path / "claim.json").symlink_to("elsewhere")
    with pytest.raises(UnsafeFile, match="link"):
        read_file(str(tmp_path / "claim.json"), secret=True)


def test_a_pipe_does_not_hang_the_agent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "claim.json", 0o600)
    with pytest.raises(UnsafeFile):
        read_file(str(tmp_path / "claim.json"), secret=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    write_secret(str(tmp_path / "claim.json"), b"secret")
    os.chown(tmp_path / "claim.json", 12345, -1)
    with pytest.raises(UnsafeFile, match="12345"):
        read_file(str(tmp_path / "claim.json"), secret=True)


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    check_directory(str(tmp_path))
    tmp_path.chmod(0o777)
    with pytest.raises(UnsafeFile):
        check_directory(str(tmp_path))


def test_a_directory_below_one_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    session = tmp_path / "rps" / "session"
    session.mkdir(parents=True, mode=0o700)
    check_directory(str(session))
    tmp_path.chmod(0o777)
    message = f"{tmp_path} is writable for everyone .mode 0777.. chmod go-w {tmp_path}"
    with pytest.raises(UnsafeFile, match=message):
        check_directory(str(session))


# The kernels' sockets


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Path]:
    path = Path(kernel_sockets.make_sockets_directory(str(tmp_path)))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_the_sockets_have_a_short_private_directory(sockets: Path, tmp_path: Path) -> None:
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert len(f"ipc://{sockets}/9999-5\0") <= 32  # xeus-zmq, get_socket_port
    assert (tmp_path / "sockets").stat().st_mode & 0o777 == 0o600
    kernel_sockets.remove_sockets_directory(str(tmp_path))
    assert not sockets.exists()
    kernel_sockets.remove_sockets_directory(str(tmp_path))


def test_a_place_where_others_could_replace_it_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "mine").mkdir(0o700)
    places = (str(tmp_path / "nowhere"), str(tmp_path / "open"), str(tmp_path / "mine"))
    monkeypatch.setattr(kernel_sockets, "SOCKET_BASES", places)
    assert kernel_sockets.make_sockets_directory(str(tmp_path)).startswith(places[2])
    monkeypatch.setattr(kernel_sockets, "SOCKET_BASES", places[:2])
    with pytest.raises(OSError, match="is a place for the kernels"):
        kernel_sockets.make_sockets_directory(str(tmp_path))


def test_the_directory_of_an_agent_that_was_killed_is_removed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_sockets, "SOCKET_BASES", (str(tmp_path / "gone"), str(tmp_path)))
    monkeypatch.setattr(
        kernel_sockets,
        "_SOCKETS_DIRECTORY",
        re.compile(f"{tmp_path}/{kernel_sockets.SOCKETS_NAME}").fullmatch,
    )
    opened: list[int] = []
    real = os.open

    def noted(path: str, *arguments: Any, **options: Any) -> int:
        descriptor = real(path, *arguments, **options)
        if str(path).endswith(".new"):
            opened.append(descriptor)
        return descriptor

    monkeypatch.setattr(os, "open", noted)
    living, killed = (Path(kernel_sockets.make_sockets_directory(str(tmp_path))) for _ in "ab")
    older = tmp_path / "rps-0123456789abcdef"  # has no lock: its agent may live
    older.mkdir(0o700)
    kernel_sockets.remove_abandoned()
    assert living.is_dir()
    assert killed.is_dir()
    os.close(opened[1])  # as the kernel does when a process ends
    assert kernel_sockets.is_abandoned(str(killed))
    killed.chmod(0o770)
    assert not kernel_sockets.is_abandoned(str(killed))
    killed.chmod(0o700)
    kernel_sockets.remove_abandoned()
    assert not killed.exists()
    assert living.is_dir()
    assert older.is_dir()
    os.close(opened[0])


def test_nothing_but_sockets_is_removed(sockets: Path, tmp_path: Path) -> None:
    note = tmp_path / "sockets"
    (tmp_path / "kept").mkdir()
    for planted in (str(tmp_path / "kept"), f"{sockets}/../{tmp_path.name}", "", "\udcff"):
        note.write_bytes(os.fsencode(planted))
        kernel_sockets.remove_sockets_directory(str(tmp_path))
    note.write_text(str(sockets))
    note.chmod(0o666)
    kernel_sockets.remove_sockets_directory(str(tmp_path))
    assert (tmp_path / "kept").exists()
    assert sockets.exists()
