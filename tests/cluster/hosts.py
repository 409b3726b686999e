"""Hosts on one machine: namespaces for network, host name, mounts and processes.

Nothing on the machine is changed. A host ends with its first process, and that (by unshare --kill-child)
with the process that started it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.cluster.cgroups import Cgroups

Answer = TypeVar("Answer")
_INIT = Path(__file__).parent / "host.sh"
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Account:
    """A user who exists on the hosts, and nowhere else on this machine."""

    name: str
    uid: int

    @property
    def home(self) -> str:
        return f"/home/{self.name}"

    @property
    def passwd(self) -> str:
        """Return the line of /etc/passwd; `*` as password needs no /etc/shadow."""
        return f"{self.name}:*:{self.uid}:{self.uid}::{self.home}:/bin/bash\n"

    @property
    def group(self) -> str:
        return f"{self.name}:*:{self.uid}:\n"


@dataclass
class Host:
    """One host; `directory` is its disk (/srv), `mounts` are (source, target)."""

    name: str
    directory: Path
    mounts: Sequence[tuple[Path, str]] = ()
    cgroups: Cgroups | None = None
    pid: int = field(default=0, init=False)  # of its first process, on the machine
    _unshare: subprocess.Popen[str] | None = field(default=None, init=False)

    def start(self, shared: Iterable[Path] = ()) -> None:
        """Begin to start it; /tmp and /var/tmp are its own, except for `shared` directories."""
        machine_tmp = Path(tempfile.gettempdir())
        own_tmp = self.directory / "tmp"
        own_tmp.mkdir(parents=True, exist_ok=True)
        own_tmp.chmod(0o1777)
        kept_tmp = self.directory / "var-tmp"  # on the host's disk, kept when it is started again
        kept_tmp.mkdir(exist_ok=True)
        kept_tmp.chmod(0o1777)
        mounts = [(self.directory, "/srv"), (kept_tmp, "/var/tmp"), *self.mounts]
        for path in shared:
            if path.is_relative_to(machine_tmp):
                seen = own_tmp / path.relative_to(machine_tmp)
                seen.mkdir(parents=True, exist_ok=True)
                mounts.append((path, str(seen)))
        table = self.directory / "mounts"
        table.write_text("".join(f"{source}\t{target}\n" for source, target in mounts))
        kinds = ["--net", "--uts", "--mount", "--pid", *(["--cgroup"] if self.cgroups else [])]
        self._unshare = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", "unshare", *kinds, "--fork", "--kill-child=KILL",
             str(_INIT), self.name, str(table), str(own_tmp)],
            env={"PATH": PATH, "TMPDIR": str(machine_tmp), **_mark(),
                 "CGROUPS": " ".join(self.cgroups.controllers if self.cgroups else ())},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=self.cgroups.join if self.cgroups else None,
        )  # fmt: skip

    def await_start(self) -> None:
        """Wait until it has started, except for its network."""
        assert self._unshare is not None
        assert self._unshare.stdout is not None
        with self._unshare.stdout as output:
            line = output.readline()
        if not line:
            raise RuntimeError(f"the host {self.name} did not start: {self._unshare.wait()}")
        self.pid = int(line)

    def end(self) -> None:
        """Kill every process on it at once, as a loss of power does."""
        if self._unshare is None:
            return
        if self.pid and self._unshare.poll() is None:
            # `unshare` then ends too, once the kernel has ended all processes of the host.
            os.kill(self.pid, signal.SIGTERM)
        else:
            self._unshare.kill()
        self._unshare.wait()
        self._unshare, self.pid = None, 0
        if self.cgroups:
            self.cgroups.remove()

    def run(
        self, argv: Sequence[str], user: Account | None = None, *,
        env: Mapping[str, str] | None = None, **options: Any,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run like `subprocess.run`, on this host, in the user's home, or as root."""
        if "input" not in options:
            options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self._enter(argv, user), **self._options(user, env), **options)

    def popen(
        self, argv: Sequence[str], user: Account | None = None, *,
        env: Mapping[str, str] | None = None, **options: Any,
    ) -> subprocess.Popen[str]:  # fmt: skip
        """Start like `subprocess.Popen`, on this host."""
        options.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self._enter(argv, user), **self._options(user, env), **options)

    def in_its_network(self, call: Callable[[], Answer]) -> Answer:
        """Return the result of `call`, in a thread whose sockets are this host's."""

        def enter_and_call() -> Answer:
            libc = ctypes.CDLL(None, use_errno=True)
            with Path(f"/proc/{self.pid}/ns/net").open() as network:
                if libc.setns(network.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            return call()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(enter_and_call).result()

    def _enter(self, argv: Sequence[str], user: Account | None) -> list[str]:
        assert self.pid, f"the host {self.name} is down"
        enter = ["nsenter", f"--target={self.pid}", "--net", "--uts", "--mount", "--pid"]
        enter += ["--cgroup"] if self.cgroups else []
        become = ["--init-groups", f"--reuid={user.uid}", f"--regid={user.uid}"] if user else []
        # When nsenter is killed (by a timeout), what it started must not be left behind.
        become.append("--pdeathsig=KILL")
        return [*enter, f"--wdns={user.home if user else '/'}", "--", "setpriv", *become, *argv]

    def _options(self, user: Account | None, env: Mapping[str, str] | None) -> dict[str, Any]:
        own = {"HOME": user.home, "USER": user.name, "LOGNAME": user.name} if user else {}
        base = {"PATH": PATH, "LANG": "C.UTF-8", "SHELL": "/bin/bash"}
        options: dict[str, Any] = {"env": base | own | _mark() | dict(env or {}), "text": True}
        if self.cgroups:
            options["preexec_fn"] = self.cgroups.join
        return options


def _mark() -> dict[str, str]:
    """Set the variable by which .ci/run finds leftover processes."""
    return {key: os.environ[key] for key in ("CI_RUN_MARK",) if key in os.environ}
