"""Mount and network namespaces for a test's thread and all that it starts.

Root only.
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
    """Enter a mount namespace: other processes do not see what is mounted within."""
    with _own("mnt", _CLONE_NEWNS):
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        yield


@contextmanager
def own_network() -> Iterator[None]:
    """Enter a network namespace that has loopback alone."""
    with _own("net", _CLONE_NEWNET):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield


@contextmanager
def within(pid: int) -> Iterator[None]:
    """Enter the network namespace of that process: sockets opened here belong to it."""
    with _returning("net"):
        other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            enter(other)
        finally:
            os.close(other)
        yield


def enter(namespace: int) -> None:
    """Enter the namespace of this descriptor, for good."""
    _check(_libc.setns(namespace, 0))


def small_disk(path: Path, size: str) -> None:
    """Mount a tmpfs of that size; within `own_mounts`."""
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
        # A server thread that was started in the block, and has not ended yet, shares our root and working
        # directory;
        # a thread that shares them cannot change its mount namespace (setns(2), EINVAL).
        _check(_libc.unshare(_CLONE_FS))
        _check(_libc.setns(before, 0))
        os.close(before)
        os.chdir(here)  # setns(2) to a mount namespace changes the working directory to its root


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
