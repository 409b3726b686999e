"""Fixtures for everybody: isolation, an ordinary user, and rps installed as that user does it."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

pytest.register_assert_rewrite("rps_core.testing")

PROJECT = Path(__file__).resolve().parent.parent
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
_SCHEDULER_COMMANDS = ("sbatch", "qsub")


def pytest_configure() -> None:
    """A shell starts what it runs in the background (as .ci/run does) with SIGINT ignored, and who
    inherits that cannot be interrupted: our own handler gives children the default again."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class ByFixture(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Several processes run the tests, and what shares something expensive is run by one of them: the
    cluster, an installation, or what a file starts."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.split("/")[1]
        return {"cluster": "cluster", "browser": "installed", "e2e": "installed"}.get(folder, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFixture:
    """Asked by pytest-xdist where there are several (`--numprocesses`)."""
    return ByFixture(config, log)


def path_without_schedulers(directory: Path) -> str:
    """A PATH as on a bare machine: tests of clusters install Slurm here, and `local` is for machines
    without. Where there is one, `directory` is filled with links to everything else."""
    if not any(shutil.which(name, path=":".join(_SYSTEM_PATH)) for name in _SCHEDULER_COMMANDS):
        return ":".join(_SYSTEM_PATH)
    directory.mkdir(exist_ok=True)
    for place in map(Path, _SYSTEM_PATH):
        for program in place.iterdir():
            link = directory / program.name
            if program.name not in _SCHEDULER_COMMANDS and not link.is_symlink():
                link.symlink_to(program)
    return str(directory)


def environment_of(home: Path) -> dict[str, str]:
    """What an ordinary user's programs see: nothing of the developer's, and one home for all."""
    environment = {
        "HOME": str(home),
        "PATH": str(home / ".path") if (home / ".path").exists() else ":".join(_SYSTEM_PATH),
        "LANG": "C.UTF-8",
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
    }
    if "CI_RUN_MARK" in os.environ:  # by which .ci/run finds what is left over
        environment["CI_RUN_MARK"] = os.environ["CI_RUN_MARK"]
    return environment


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names each test that was left out: pytest's own list gives only the place that said so."""
    for report in terminalreporter.getreports("skipped"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"left out: {report.nodeid}: {reason}")


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps a test from the developer's own configuration, sessions and service."""
    for name in os.environ.copy():
        if name.startswith(("RPS_", "XDG_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    for name, value in environment_of(home).items():
        if name not in ("PATH", "LANG"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("RPS_LOCAL_SERVICE_DIR", str(tmp_path / "service"))


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """Gives the path of a program that a test cannot do without; in CI it must be there."""

    def path_of(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            message = f"{program} is not installed (`make system` does it)"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        return path

    return path_of


@dataclass(frozen=True)
class OrdinaryUser:
    """Somebody without privileges, with a home of their own that lasts as long as the test run."""

    name: str
    uid: int
    gid: int
    home: Path

    def run(
        self, command: list[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Like `subprocess.run`, as this user; `env` is added to the clean environment."""
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(command, **self._options(env) | options)

    def popen(
        self, command: list[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Like `subprocess.Popen`, as this user; `env` is added to the clean environment."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(command, **self._options(env) | options)

    def _options(self, env: Mapping[str, str] | None) -> dict[str, Any]:
        options: dict[str, Any] = {
            "env": environment_of(self.home) | dict(env or {}),
            "cwd": self.home,
            "text": True,
        }
        if os.getuid() == 0:
            options |= {"user": self.uid, "group": self.gid, "extra_groups": []}
        return options

    def make(self, directory: Path) -> Path:
        """Makes a directory that belongs to this user."""
        directory.mkdir()
        os.chown(directory, self.uid, self.gid)
        return directory

    def processes(self) -> list[int]:
        """What runs for this user: as root, all that has the uid; else what has this home."""
        home = f"HOME={self.home}".encode()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                fields = dict(
                    line.split(":\t", 1) for line in (process / "status").read_text().splitlines()
                )
                if fields["State"].startswith("Z") or int(fields["Uid"].split()[0]) != self.uid:
                    continue
                if os.getuid() == 0 or home in (process / "environ").read_bytes().split(b"\0"):
                    found.append(int(process.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it ended as we looked, or is not ours
        return found

    def end_processes(self) -> None:
        """Ends them: 5 s after a TERM with a KILL."""
        for number, grace in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            for pid in self.processes():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            deadline = time.monotonic() + grace
            while self.processes() and time.monotonic() < deadline:
                time.sleep(0.05)


def _lend_account() -> tuple[str, IO[str]]:
    """An account that no other test run on this machine uses as long as the file is open."""
    for name in ("rps-tester", *(f"rps-tester-{number}" for number in range(2, 20))):
        lock = (Path(tempfile.gettempdir()) / f"{name}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        try:
            pwd.getpwnam(name)
        except KeyError:
            subprocess.run(
                ["useradd", "--no-create-home", "--shell", "/bin/bash", name], check=True
            )
        return name, lock
    raise RuntimeError("nineteen test runs at once")


@pytest.fixture(scope="session")
def ordinary_user() -> Iterator[OrdinaryUser]:
    """As root an account made for it, else whoever runs the tests, with a home of their own."""
    home = Path(tempfile.mkdtemp(prefix="rps-tester-"))
    path_without_schedulers(home / ".path")
    if os.getuid() != 0:
        user = OrdinaryUser(pwd.getpwuid(os.getuid()).pw_name, os.getuid(), os.getgid(), home)
        yield user
        user.end_processes()
        shutil.rmtree(home)
        return
    name, lock = _lend_account()
    with lock:
        account = pwd.getpwnam(name)
        user = OrdinaryUser(name, account.pw_uid, account.pw_gid, home)
        served = Path(f"/var/tmp/rps-{user.uid}")  # there is one if it serves
        user.end_processes()  # of a run that was killed
        shutil.rmtree(served, ignore_errors=True)
        subprocess.run(["usermod", "--home", str(home), name], check=True)
        os.chown(home, user.uid, user.gid)
        yield user
        user.end_processes()
        shutil.rmtree(home)
        shutil.rmtree(served, ignore_errors=True)


@pytest.fixture(scope="session")
def clone_project(ordinary_user: OrdinaryUser) -> Callable[[Path], Path]:
    """Copies the working tree, uncommitted work included, to a new directory of the user's."""

    def clone(directory: Path) -> Path:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=PROJECT,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in listed.stdout.split("\0"):
            if name and (PROJECT / name).is_file():  # also listed once it is deleted
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / name, directory / name)
        for path in (directory, *directory.rglob("*")):
            os.chown(path, ordinary_user.uid, ordinary_user.gid)
        return directory

    return clone


@dataclass(frozen=True)
class Installed:
    """A clone of the project that was set up by its own `./rps`."""

    directory: Path
    user: OrdinaryUser

    def rps(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        timeout: float = 120,
        check: bool = True,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Runs `./rps` as the user; with `check`, an exit code but 0 fails the test."""
        done = self.user.run(
            [str(self.directory / "rps"), *arguments],
            env=env,
            timeout=timeout,
            capture_output=True,
            **options,
        )
        if check and done.returncode != 0:
            pytest.fail(f"rps {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done


@pytest.fixture(scope="session")
def installed(ordinary_user: OrdinaryUser, clone_project: Callable[[Path], Path]) -> Installed:
    """Rps as `git clone` and `./rps` give it to an ordinary user, JupyterLab included."""
    clone = Installed(clone_project(ordinary_user.home / "rps"), ordinary_user)
    done = clone.rps("--version", timeout=900)
    assert done.stdout.startswith("rps "), done.stdout + done.stderr
    return clone
