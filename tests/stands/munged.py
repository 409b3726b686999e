"""A real munged with a key of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stands.waiting import until


class Munged:
    """A munged with a key of its own; as in production, all users can connect to it."""

    def __init__(self, program: str) -> None:
        # munged requires that no other user can write to any directory above its files; a socket's path is
        # short.
        self.directory = Path(tempfile.mkdtemp(prefix="rps-munge-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.socket = str(self.directory / "socket")
        key = self.directory / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(64))
        files = [f"--{what}-file={self.directory / what}" for what in ("key", "log", "pid", "seed")]
        self._command = [program, "--foreground", "--force", f"--socket={self.socket}", *files]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: Path(self.socket).exists(), "munged listens")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def running_munged(program: str) -> Iterator[Munged]:
    munged = Munged(program)
    try:
        yield munged
    finally:
        munged.stop()
        shutil.rmtree(munged.directory)


def munged_program(need: Callable[[str], str]) -> str:
    """Return the path of munged; its client programs are installed with it."""
    need("munge")
    need("unmunge")
    return shutil.which("munged", path=f"{os.environ['PATH']}:/usr/sbin") or need("munged")
