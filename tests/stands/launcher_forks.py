"""Run the launcher's commands as forks of one process that has loaded `rps`.

Loading takes most of a command's time. What runs in each fork is the same as after an ordinary start.

    python -m tests.stands.launcher_forks

reads orders from stdin, one line of JSON each: arguments, environment and the files for the two outputs; and
answers each with the exit code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Done:
    """The result of a command: exit code (negative for a signal), stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Launcher:
    """The process that has loaded `rps`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.stands.launcher_forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def rps(self, environment: Mapping[str, str], *arguments: str) -> Done:
        """Run one command to its end; its output goes through files beside HOME."""
        assert self._process.stdin
        assert self._process.stdout
        files = [Path(environment["HOME"]).with_name(name) for name in ("out", "err")]
        order = [arguments, dict(environment), [str(file) for file in files]]
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Done(code, *(file.read_bytes().decode() for file in files))

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # it ends with its stdin
            pass


def _main() -> None:
    from rps_core.cli import main as cli

    for line in sys.stdin:
        arguments, environment, files = json.loads(line)
        pid = os.fork()
        if pid:
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            continue
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, file in enumerate(files, 1):
            os.dup2(os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_CREAT, 0o600), number)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["rps", *arguments]
        cli.main()


if __name__ == "__main__":
    _main()
