"""`./rps start` and `make test` of the README, in either order and as any user.

Relevant for `./rps start` is the first step of `make test`, which installs a scheduler's programs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import SYSTEM_PATH, environment_of, path_without_schedulers

if TYPE_CHECKING:
    from tests.conftest import Installed

BOTH = ("start, make test", "make test, start")


@dataclass(frozen=True)
class Newcomer:
    """A user of a clone, with a home directory without a trace of rps."""

    clone: Path
    home: Path
    is_root: bool
    installed: Installed

    def run(self, *command: str, path: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone; an exit code but 0 fails the test."""
        variables = {"PATH": path, "RPS_LOCAL_SERVICE_DIR": str(self.home / "service")}
        argv = ["/usr/bin/env", f"--chdir={self.clone}", *command]
        if self.is_root:
            done = subprocess.run(
                argv, env=environment_of(self.home) | variables, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
        else:
            environment = environment_of(self.home) | variables
            done = self.installed.user.run(
                argv, env=environment, capture_output=True, timeout=120, check=False
            )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def start(self, path: str) -> str:
        """Run the first command, without following the session; return its stderr.

        The session's job gets no further than the user's prologue: JupyterLab takes two seconds of processor
        time to start, and is of no use here.
        """
        prologue = self.home / "prologue.sh"
        prologue.write_text("sleep 600\n")
        settings = ("--set", f"notebook.prologue={prologue}")
        done = self.run("./rps", "start", "--no-wait", *settings, path=path)
        assert done.stdout.startswith("https://"), done.stdout
        assert ".rps.localhost" in done.stdout
        return done.stderr

    def make(self) -> None:
        """Do what `make test` does to the machine; nothing changes if all is installed."""
        self.run("make", "--silent", "system", path=SYSTEM_PATH)


@contextmanager
def newcomer(installed: Installed, directory: Path, *, is_root: bool) -> Iterator[Newcomer]:
    """Make a user whose sessions and service end with the test.

    As root, the directory is not below another user's.
    """
    if is_root:
        home = directory
    else:
        made = installed.user.run(
            ["mktemp", "--directory", str(installed.user.home / "newcomer-XXXXXX")],
            capture_output=True, check=True,
        )  # fmt: skip
        home = Path(made.stdout.strip())
    user = Newcomer(installed.directory, home, is_root, installed)
    try:
        yield user
    finally:
        try:
            user.run("./rps", "stop", "--all", path=SYSTEM_PATH)
        finally:
            running = home / "service" / "service.json"
            if running.exists():
                os.kill(json.loads(running.read_text())["pid"], signal.SIGTERM)


@pytest.mark.parametrize("order", BOTH)
@pytest.mark.parametrize("who", ["an ordinary user", "root"])
def test_both_commands_work_in_either_order(
    who: str, order: str, installed: Installed, need: Callable[[str], str], tmp_path: Path
) -> None:
    for program in ("sbatch", "qsub", "make"):
        need(program)
    if Path("/etc/slurm/slurm.conf").exists():
        pytest.skip("this machine has a Slurm")
    if who == "root" and os.geteuid() != 0:
        pytest.skip("only root can be root")
    with newcomer(installed, tmp_path, is_root=who == "root") as user:
        starts = 1
        if order == BOTH[0]:
            bare = path_without_schedulers(user.home / "bare")
            assert "This machine itself is used" not in user.start(bare)
            starts += 1
        user.make()
        said = user.start(SYSTEM_PATH)
        lines = [line for line in said.splitlines() if "This machine itself is used" in line]
        assert len(lines) == 1, said
        assert "Could not establish a configuration source" in lines[0]
        listed = json.loads(user.run("./rps", "list", "--json", path=SYSTEM_PATH).stdout)
        assert [session["cluster"] for session in listed] == ["local"] * starts
        explained = user.run("./rps", "cluster", path=SYSTEM_PATH).stdout
        assert "cluster:   local" in explained
        assert "because:   `sbatch` is there" in explained
