"""A machine that systemd runs, as it runs a Debian.

Pid 1, control groups, units, journal.

It has namespaces of its own for everything, a root directory of its own with the host's /usr to read, and
none of the host's services. Of the host it changes nothing. It ends, by the kernel's doing, with its first
process, and that with the process that started it. For root alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SYSTEMD = Path("/lib/systemd/systemd")
PATH = "/opt/rps/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INIT = Path(__file__).with_name("machine.sh")
_GROUPS = "rps-machine-"  # and the pid of the process that made it
_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
# Of the host's /etc: what it starts, mounts and is called.
_NOT_OURS = (
    "systemd/system",
    "fstab",
    "hostname",
    "machine-id",
    "rps",
    "slurm",
    "init.d",
    "cron.d",
)
# No logins, and nothing that asks at a terminal.
_MASKED = ("systemd-logind.service", "getty.target", "systemd-ask-password-wall.path")


def missing() -> str | None:
    """Return what this host lacks; None: machines can run here."""
    if os.geteuid() != 0:
        return "only root can start systemd"
    if not SYSTEMD.exists():
        return "systemd is not installed (`make system` does it)"
    if _own_group() is None:
        return "there is no cgroup2 file system in which groups can be made"
    return None


def _own_group() -> Path | None:
    """Return the directory of the control group (version 2) that this process is in."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    paths = [
        line.removeprefix("0::/")
        for line in Path("/proc/self/cgroup").read_text().splitlines()
        if line.startswith("0::/")
    ]
    if not roots or not paths or not os.access(roots[0] / paths[0], os.W_OK):
        return None
    return roots[0] / paths[0]


class Machine:
    """One machine; `disk` is its root directory, which outlives its reboots."""

    def __init__(self, directory: Path) -> None:
        self.disk = directory / "disk"
        self._log = directory / "console"
        self._unshare: subprocess.Popen[str] | None = None
        self._pid = 0  # of its first process, as the host numbers it
        own = _own_group()
        assert own is not None
        _remove_left(own)
        self._group = own / f"{_GROUPS}{os.getpid()}"
        self._make_disk()

    def _make_disk(self) -> None:
        for name in ("usr", "proc", "sys", "dev", "run", "tmp", "mnt", "opt", "srv", "home"):
            (self.disk / name).mkdir(parents=True)
        (self.disk / "root").mkdir(mode=0o700)
        for name in ("cache", "lib", "log/journal", "tmp"):
            (self.disk / "var" / name).mkdir(parents=True)
        (self.disk / "var/tmp").chmod(0o1777)
        for link in ("bin", "lib", "lib64", "sbin"):
            (self.disk / link).symlink_to(f"usr/{link}")
        etc = self.disk / "etc"
        subprocess.run(["cp", "--archive", "/etc", etc], check=True)
        for name in _NOT_OURS:
            path = etc / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for runlevel in etc.glob("rc?.d"):
            shutil.rmtree(runlevel)
        units = etc / "systemd/system"
        units.mkdir()
        for name in _MASKED:
            (units / name).symlink_to("/dev/null")
        (units / "default.target").symlink_to("/lib/systemd/system/multi-user.target")
        (etc / "hostname").write_text("proxy\n")
        (etc / "machine-id").write_text("")  # made at the first boot

    def boot(self) -> None:
        """Start it, and wait until all that is enabled has been started."""
        self._group.mkdir(exist_ok=True)
        with self._log.open("a") as log:
            self._unshare = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", "unshare", *_NAMESPACES, "--fork",
                 "--kill-child=KILL", str(_INIT), str(self.disk)],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
                start_new_session=True, preexec_fn=lambda: self._join("."),
            )  # fmt: skip
        assert self._unshare.stdout
        line = self._unshare.stdout.readline()
        assert line, f"the machine did not start: {self._log.read_text()}"
        self._pid = int(line)
        (self._group / "operator").mkdir(exist_ok=True)
        deadline = time.monotonic() + 60
        while True:
            done = self.run("systemctl", "is-system-running", "--wait", check=False)
            state = done.stdout.strip()
            if state in ("running", "degraded"):
                break
            assert self._unshare.poll() is None, "systemd ended: " + self._log.read_text()
            assert time.monotonic() < deadline, f"systemd is {state}: {done.stderr}"
            time.sleep(0.1)

    def pull_the_plug(self) -> None:
        """Every process on it is killed at once; its disk stays."""
        if self._unshare is None:
            return
        if self._pid:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.kill(self._pid, signal.SIGKILL)
        else:
            self._unshare.kill()
        self._unshare.wait()  # ends once the kernel has cleared it of all processes
        if self._unshare.stdout:
            self._unshare.stdout.close()
        self._unshare, self._pid = None, 0
        _remove_group(self._group)

    def run(
        self, *argv: str, user: str | None = None, check: bool = True, timeout: float = 120,
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command on it, as root or `user`.

        With `check`, an exit code other than 0 is an error that contains the output.
        """
        options.setdefault("stdin", subprocess.DEVNULL)
        done = subprocess.run(
            self._enter(argv, user), capture_output=True, text=True, timeout=timeout,
            env=_environment(), preexec_fn=lambda: self._join("operator"), **options,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen(self, *argv: str, user: str | None = None, **options: Any) -> subprocess.Popen[str]:
        """Like `subprocess.Popen`, on the machine."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(
            self._enter(argv, user), text=True, env=_environment(),
            preexec_fn=lambda: self._join("operator"), **options,
        )  # fmt: skip

    def _enter(self, argv: Sequence[str], user: str | None) -> list[str]:
        become = ["setpriv", "--pdeathsig=KILL"]
        if user is not None:
            become += ["--init-groups", f"--reuid={user}", f"--regid={user}"]
        return [
            "nsenter", f"--target={self._pid}", *_NAMESPACES, "--wdns=/", "--", *become, *argv,
        ]  # fmt: skip

    def _join(self, name: str) -> None:
        (self._group / name / "cgroup.procs").write_text("0")


def _environment() -> Mapping[str, str]:
    mark = {key: os.environ[key] for key in ("CI_RUN_MARK",) if key in os.environ}
    return {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/root", **mark}


def _remove_left(own: Path) -> None:
    """Remove the groups of test runs that were killed; their processes died with them."""
    for group in own.glob(f"{_GROUPS}*"):
        if not Path("/proc", group.name.removeprefix(_GROUPS)).exists():
            _remove_group(group)


def _remove_group(group: Path) -> None:
    """Remove the group and its children, once the last process has ended."""
    deadline = time.monotonic() + 30
    children = sorted((each for each in group.rglob("*") if each.is_dir()), reverse=True)
    for path in (*children, group):
        # The kernel counts a process in its group for a moment after its end was reported.
        while path.exists():
            try:
                path.rmdir()
            except FileNotFoundError:
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
