"""Mounts and a network of a test's own: the thread that runs the test, and with it all that it starts, leaves
the machine's for as long as the test runs. For root alone.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_FS = 0x200
_CLONE_NEWNS = 0x20000
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_mounts() -> Iterator[None]:
    """What is mounted within is seen by nobody else, and gone afterwards."""
    with _own("mnt", _CLONE_NEWNS):
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        yield


@contextmanager
def own_network() -> Iterator[None]:
    """A network with loopback and nothing else."""
    with _own("net", _CLONE_NEWNET):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield


@contextmanager
def within(pid: int) -> Iterator[None]:
    """In the network of that process: sockets that are made here are there."""
    with _returning("net"):
        other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(other, 0))
        finally:
            os.close(other)
        yield


def small_disk(path: Path, size: str) -> None:
    """A file system in memory, of that size; within `own_mounts`."""
    options = f"--options=size={size},mode=700"
    subprocess.run(["mount", "--types=tmpfs", options, "tmpfs", str(path)], check=True)


@contextmanager
def _own(kind: str, flag: int) -> Iterator[None]:
    with _returning(kind):
        _check(_libc.unshare(flag))
        yield


@contextmanager
def _returning(kind: str) -> Iterator[None]:
    here = Path.cwd()
    before = os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        # A server's thread that was started within, and has not ended yet, shares our root and directory;
        # mounts cannot be changed by one that shares them (setns(2), EINVAL).
        _check(_libc.unshare(_CLONE_FS))
        _check(_libc.setns(before, 0))
        os.close(before)
        os.chdir(here)  # a change of mounts leads to the root


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
