"""Fixtures for all tests: isolation, an ordinary user, an installed rps."""

from __future__ import annotations

import copy
import fcntl
import functools
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
from typing import IO, TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from selenium.webdriver import Remote

pytest.register_assert_rewrite("rps_core.testing")

PROJECT = Path(__file__).resolve().parent.parent
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
_SCHEDULER_COMMANDS = ("sbatch", "qsub")
_made_here: list[Path] = []  # removed at the end
_NOT_ON_A_NODE = ("node", "nodejs", "npm", "R", "Rscript")
# The order in which several processes take up the tests. The longest go first: no process then has one of
# them left when the others have nothing to do.
_LONGEST_FIRST = (
    "e2e", "browser", "applications", "cluster", "agent", "systemd", "kernels", "engines", "faults",
    "bootstrap", "service", "programs", "contract", "unit",
)  # fmt: skip


def pytest_configure() -> None:
    """Have the tests' children start with signals that a shell's background job or nohup ignores.

    Children inherit an ignored signal: they could not be interrupted (`.ci/run &`), or not be ended by a
    hangup (`nohup .ci/run`). With a handler of ours they get the default.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


def pytest_unconfigure() -> None:
    """Remove what `path_of_a_node` made."""
    while _made_here:
        shutil.rmtree(_made_here.pop())


class ByFixture(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    """Give tests that share something expensive to one process of pytest-xdist.

    That is the cluster, an installation, or what a file starts.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.split("/")[1]
        if file == "tests/bootstrap/test_both_commands.py":
            return "installed"
        return {
            "cluster": "cluster",
            "browser": "installed",
            "e2e": "installed",
            "applications": "installed",
        }.get(folder, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFixture:
    """Return pytest-xdist's scheduler, with several processes (`--numprocesses`)."""
    config.option.loadscopereorder = (
        False  # by the number of tests, which says nothing of their time
    )
    return ByFixture(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest tests first where a process of pytest-xdist collects."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: _LONGEST_FIRST.index(item.nodeid.split("/")[1]))


def path_without_schedulers(directory: Path) -> str:
    """Return a PATH without sbatch and qsub, as before `make test` installed Slurm.

    `directory` is filled with links to all other programs. Needed only where these programs would be found:
    without a cluster, both PATHs lead to `local`.
    """
    if not any(shutil.which(name, path=SYSTEM_PATH) for name in _SCHEDULER_COMMANDS):
        return SYSTEM_PATH
    directory.mkdir(exist_ok=True)
    for place in SYSTEM_PATH.split(":"):
        _link_programs(Path(place), directory, _SCHEDULER_COMMANDS)
    return str(directory)


def _link_programs(place: Path, directory: Path, hidden: tuple[str, ...]) -> None:
    """Fill a directory with links to the programs of another, but for the hidden ones."""
    for program in place.iterdir():
        link = directory / program.name
        if program.name not in hidden and not link.is_symlink():
            link.symlink_to(program)


@functools.cache
def path_of_a_node(path: str) -> str:
    """Return this PATH without Node.js and R, as a compute node has it.

    JupyterLab and jupyter-lsp would run both at each start (0.5 s of CPU). A directory that has one
    of them is replaced by links to its other programs.
    """
    places = []
    for place in path.split(":"):
        if any(shutil.which(name, path=place) for name in _NOT_ON_A_NODE):
            links = Path(tempfile.mkdtemp(prefix="rps-programs-"))
            _made_here.append(links)
            links.chmod(0o755)  # also for the tests' other users
            _link_programs(Path(place), links, _NOT_ON_A_NODE)
            places.append(str(links))
        else:
            places.append(place)
    return ":".join(places)


def environment_of(home: Path) -> dict[str, str]:
    """Return an ordinary user's environment, without the developer's variables."""
    environment = {
        "HOME": str(home),
        "PATH": path_of_a_node(SYSTEM_PATH),
        "LANG": "C.UTF-8",
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_DATA_HOME": str(home / ".local" / "share"),
        "XDG_STATE_HOME": str(home / ".local" / "state"),
        # What is imported is compiled then, in a third of the time; `./rps` says `--compile`.
        "PIP_NO_COMPILE": "1",
    }
    if "CI_RUN_MARK" in os.environ:  # .ci/run finds leftover processes by it
        environment["CI_RUN_MARK"] = os.environ["CI_RUN_MARK"]
    return environment


class PrintsFailures:
    """Prints a failure as soon as it is known, so that a run that is ended early has printed it."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self._terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print the end of a failure's report, beside its time."""
        if report.failed:
            at = time.strftime("%H:%M:%S")
            self._terminal.ensure_newline()
            self._terminal.write_line(f"{at} {report.nodeid} failed ({report.when}):", red=True)
            for line in report.longreprtext.splitlines()[-40:]:
                self._terminal.write_line(f"  {line}")


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Print failures as they come in CI, where a run may be ended before its summary."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and terminal and not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(PrintsFailures(terminal))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the name of each skipped test.

    Pytest's own list shows only the place of the call to `skip`.
    """
    for report in terminalreporter.getreports("skipped"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"left out: {report.nodeid}: {reason}")


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate a test from the developer's own configuration, sessions and service."""
    for name in os.environ.copy():
        if name.startswith(("RPS_", "XDG_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    for name, value in environment_of(home).items():
        if name not in ("PATH", "LANG"):
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("RPS_LOCAL_SERVICE_DIR", str(tmp_path / "service"))


@pytest.fixture(scope="session", autouse=True)
def _packaged_files_are_parsed_once() -> Iterator[None]:
    """Keep what a process's tests parse of rps's own YAML files: they load them some thousand times."""
    from rps_core.config import yaml_text
    from rps_core.config.mistakes import Mistakes

    parse = yaml_text.parse
    kept: dict[tuple[str, str], yaml_text.Document] = {}

    def parsed(text: str, source: str, mistakes: Mistakes | None = None) -> yaml_text.Document:
        if not source.startswith(f"{PROJECT}/"):
            return parse(text, source, mistakes)
        if (text, source) not in kept:
            kept[text, source] = parse(text, source)  # without mistakes
        return copy.deepcopy(kept[text, source])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_text, "parse", parsed)
        yield


@pytest.fixture(scope="session")
def need() -> Callable[[str], str]:
    """Return a function that finds a required program.

    Without the program the test is skipped; in CI it fails.
    """

    def path_of(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            message = f"{program} is not installed (`make system` does it)"
            if os.environ.get("CI"):
                pytest.fail(message)
            pytest.skip(message)
        return path

    return path_of


@pytest.fixture
def ground() -> Iterator[Path]:
    """Make a directory that every user can enter; pytest's own are private."""
    place = Path("/tmp") / f"rps-test-{os.urandom(8).hex()}"
    place.mkdir()
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@dataclass(frozen=True)
class OrdinaryUser:
    """A user without privileges, with a home directory for this test run."""

    name: str
    uid: int
    gid: int
    home: Path

    def run(
        self, command: list[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run like `subprocess.run`, as this user; `env` extends the clean environment."""
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(command, **self._options(env) | options)

    def popen(
        self, command: list[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start like `subprocess.Popen`, as this user, with `env` in the environment."""
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
        """Make a directory that belongs to this user."""
        directory.mkdir()
        os.chown(directory, self.uid, self.gid)
        return directory

    def processes(self) -> list[int]:
        """Return the pids of this user: as root by uid, else by HOME."""
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
                continue  # it has ended since, or belongs to another user
        return found

    def end_processes(self) -> None:
        """End the user's processes: TERM, and KILL after 5 s."""
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
    """Return an account that no other test run uses while the returned file is open."""
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
    """Provide the tests' user: as root a separate account, else the current user."""
    home = Path(tempfile.mkdtemp(prefix="rps-tester-"))
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
        served = Path(f"/var/tmp/rps-{user.uid}")  # the runtime directory of a personal service
        user.end_processes()  # of a run that was killed
        shutil.rmtree(served, ignore_errors=True)
        subprocess.run(["usermod", "--home", str(home), name], check=True)
        os.chown(home, user.uid, user.gid)
        yield user
        user.end_processes()
        shutil.rmtree(home)
        shutil.rmtree(served, ignore_errors=True)


@pytest.fixture(scope="session")
def stranger(ordinary_user: OrdinaryUser) -> Iterator[OrdinaryUser]:
    """Provide another ordinary user of the same machine."""
    if os.getuid() != 0:
        pytest.skip("only root can run programs as two users")
    name, lock = _lend_account()
    with lock:
        account = pwd.getpwnam(name)
        assert account.pw_uid != ordinary_user.uid
        home = Path(tempfile.mkdtemp(prefix="rps-stranger-"))
        user = OrdinaryUser(name, account.pw_uid, account.pw_gid, home)
        os.chown(home, user.uid, user.gid)
        yield user
        user.end_processes()
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def clone_project(ordinary_user: OrdinaryUser) -> Callable[..., Path]:
    """Return a function that copies the working tree, uncommitted changes included.

    What is compiled comes along, unless `compiled` is False: an installation then has 2 s of CPU less to do.
    """

    def clone(directory: Path, *, compiled: bool = True) -> Path:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=PROJECT,
            check=True,
            capture_output=True,
            text=True,
        )
        for name in listed.stdout.split("\0"):
            if name and (PROJECT / name).is_file():  # git also lists deleted files
                (directory / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / name, directory / name)
        for package in ("rps_core", "rps_proxy", "conf", "sites") if compiled else ():
            for place in (PROJECT / package).rglob("__pycache__"):
                copy = directory / place.relative_to(PROJECT)
                if copy.parent.exists():
                    shutil.copytree(place, copy)
        for path in (directory, *directory.rglob("*")):
            os.chown(path, ordinary_user.uid, ordinary_user.gid)
        return directory

    return clone


@dataclass(frozen=True)
class Installed:
    """A clone of the project that its own `./rps` has set up."""

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
        """Run `./rps` as the user; with `check`, an exit code other than 0 fails the test."""
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
def installed(
    ordinary_user: OrdinaryUser,
    clone_project: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Installed:
    """Install rps as the ordinary user with `./rps`, JupyterLab included.

    Each test process has its own, because tests change it and others would meet its update. pip takes half a
    minute for it: what `./rps` made for the first process that asks is copied for the others.
    """
    directory = ordinary_user.home / "rps"
    clone = Installed(clone_project(directory, compiled=False), ordinary_user)
    configuration = ordinary_user.home / ".config"
    if not configuration.exists():  # tests write there as root, and programs as the user
        ordinary_user.make(configuration)
    if "PYTEST_XDIST_WORKER" not in os.environ:
        _install(clone)
        return clone
    kept = tmp_path_factory.getbasetemp().parent / "installed"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if kept.exists():
            _copy_installation(kept, clone)
        else:
            _install(clone)
            subprocess.run(["cp", "-al", directory, kept], check=True)
            for name in ("rps-stamp", "rps-stamp.toml"):  # `./rps` writes over them
                stamp = kept / ".venv" / name
                content = stamp.read_bytes()
                stamp.unlink()
                stamp.write_bytes(content)
    return clone


@pytest.fixture(scope="session")
def trusting_chromium(installed: Installed, need: Callable[[str], str]) -> Iterator[Remote]:
    """Start a Chromium that trusts the CA whose path `rps proxy ca` prints."""
    from selenium.webdriver.remote.file_detector import UselessFileDetector

    from tests.browser.chromium import chromium, trust

    user, home = installed.user, installed.user.home
    trust(user, home, installed.rps("proxy", "ca").stdout.strip(), need)
    with chromium(user, home, need) as remote:
        # Chromium is on this machine, and its driver takes no uploads: file fields get paths.
        remote.file_detector = UselessFileDetector()
        yield remote


@pytest.fixture
def chromium_of_rps(trusting_chromium: Remote) -> Iterator[Remote]:
    """Lend the Chromium with one empty tab; every session is another host, with cookies of its own."""
    yield trusting_chromium
    first, *others = trusting_chromium.window_handles
    for tab in others:
        trusting_chromium.switch_to.window(tab)
        trusting_chromium.close()
    trusting_chromium.switch_to.window(first)
    trusting_chromium.get("about:blank")


def _install(clone: Installed) -> None:
    done = clone.rps("--version", timeout=900)
    assert done.stdout.startswith("rps "), done.stdout + done.stderr
    assert list(clone.directory.glob("rps_core/launch/__pycache__/*.pyc")), "compiled"


def _copy_installation(kept: Path, clone: Installed) -> None:
    """Give a clone the .venv of another, and what is compiled, as if its own `./rps` had made it."""
    venv = clone.directory / ".venv"
    subprocess.run(["cp", "-a", kept / ".venv", venv], check=True)
    former = (venv / "rps-stamp").read_text().splitlines()[0].removesuffix("/.venv").encode()
    for pattern in (
        "rps-stamp", "pyvenv.cfg", "bin/*", "share/jupyter/kernels/*/kernel.json",
        "lib/python3*/site-packages/*.pth", "lib/python3*/site-packages/__editable__*.py",
        "lib/python3*/site-packages/*.dist-info/direct_url.json",
    ):  # fmt: skip
        for file in venv.glob(pattern):
            if not file.is_symlink() and former in (content := file.read_bytes()):
                file.write_bytes(content.replace(former, str(clone.directory).encode()))
    for package in ("rps_core", "rps_proxy", "conf", "sites"):
        for place in (kept / package).rglob("__pycache__"):
            shutil.copytree(place, clone.directory / place.relative_to(kept))
    user = clone.user
    subprocess.run(["chown", "-R", f"{user.uid}:{user.gid}", clone.directory], check=True)
    done = clone.rps("--version")
    assert done.stdout.startswith("rps "), done.stdout
    assert not done.stderr, done.stderr  # `./rps` takes it for its own, and installs nothing
