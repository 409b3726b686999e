"""Debian's slurm-client without a configuration, with all kinds of name servers."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stands.namespaces import own_mounts, own_network

_SRV = 33
_ADDRESS = 1


@contextmanager
def name_server(answer: Callable[[int], bytes | None]) -> Iterator[None]:
    """Run a name server on 127.0.0.1 whose answers are `answer(TYPE)`.

    b"" means that there is no such name; None that it does not answer.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        server.settimeout(0.1)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    asked, client = server.recvfrom(512)
                except TimeoutError:
                    continue
                end = asked.index(b"\0", 12) + 5
                kind = int.from_bytes(asked[end - 4 : end - 2])
                data = answer(kind)
                if data is None:
                    continue
                flags, count = (0x8580, 1) if data else (0x8583, 0)
                reply = asked[:2] + struct.pack("!5H", flags, 1, count, 0, 0) + asked[12:end]
                if data:
                    reply += struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(data)) + data
                server.sendto(reply, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def names_a_controller(kind: int) -> bytes:
    """_slurmctld._tcp is mgr.example, which is this machine, where nothing listens."""
    if kind == _SRV:
        return struct.pack("!3H", 0, 0, 6817) + b"\3mgr\7example\0"
    return socket.inet_aton("127.0.0.1") if kind == _ADDRESS else b""


@pytest.mark.parametrize(
    ("answer", "code", "said"),
    [
        (lambda _kind: b"", 0, "local"),
        (lambda _kind: None, 0, "local"),
        (names_a_controller, 3, "looks like part of a cluster whose scheduler does not answer"),
    ],
    ids=["no record", "silent", "a record"],
)
def test_slurms_programs_without_a_configuration(
    answer: Callable[[int], bytes | None],
    code: int,
    said: str,
    tmp_path: Path,
    need: Callable[[str], str],
) -> None:
    need("sbatch")
    if os.geteuid() != 0:
        pytest.skip("only root can make a network")
    if Path("/etc/slurm/slurm.conf").exists():
        pytest.skip("this machine has a Slurm")
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    with own_network(), own_mounts():
        # getaddrinfo looks no address up where there is none but loopback's (AI_ADDRCONFIG).
        subprocess.run(["ip", "address", "add", "192.0.2.5/32", "dev", "lo"], check=True)
        subprocess.run(["mount", "--bind", resolver, "/etc/resolv.conf"], check=True)
        with name_server(answer):
            done = subprocess.run(
                [Path(sys.executable).with_name("rps"), "cluster"],
                env={**os.environ, "PATH": "/usr/bin:/bin"},
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert ("Could not establish a configuration source" in done.stdout) == (code == 0)


@pytest.mark.parametrize(
    ("variables", "hostname", "seen"),
    [
        ({"LSF_ENVDIR": "/opt/lsf/conf"}, "", "LSF_ENVDIR, of LSF, is /opt/lsf/conf"),
        ({"SLURM_CONF": "/opt/slurm/slurm.conf"}, "", "SLURM_CONF is /opt/slurm/slurm.conf"),
        ({}, "tscc-login1", "tscc-login1 is a login node of TSCC, but `qsub` is not on the PATH"),
    ],
    ids=["LSF", "Slurm's module is not loaded", "TSCC"],
)
def test_no_notebook_runs_on_a_login_node(
    variables: dict[str, str],
    hostname: str,
    seen: str,
    tmp_path: Path,
) -> None:
    """`rps start` says what it saw and what to do.

    By name, the machine itself is used all the same.
    """
    command: list[str | Path] = [Path(sys.executable).with_name("rps"), "start"]
    if hostname:
        if os.geteuid() != 0:
            pytest.skip("only root can change the host's name")
        command = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', hostname, *command]
    (tmp_path / "bin").mkdir()
    for name in ("unshare", "sh", "hostname"):
        (tmp_path / "bin" / name).symlink_to(next(
            path for path in (Path("/usr/bin") / name, Path("/bin") / name) if path.exists()
        ))  # fmt: skip
    here = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), **variables}
    done = subprocess.run(
        command, env=here, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert seen in done.stderr
    assert "--cluster local" in done.stderr
    assert not (tmp_path / ".local").exists(), "nothing was started"
    by_name = subprocess.run(
        [*command, "--cluster", "local", "--dry-run"],
        env=here, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert seen not in by_name.stderr
    assert by_name.returncode != 3
