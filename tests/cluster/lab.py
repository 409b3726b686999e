"""The test cluster as a whole.

    python -m tests.cluster.lab

starts it, keeps it until Ctrl-C, and prints how to log in on its hosts.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from tests.cluster import cgroups, network, services, slurm
from tests.cluster.cgroups import Cgroups
from tests.cluster.hosts import PATH, Account, Host
from tests.cluster.network import ADDRESSES, LAPTOP, NODES, SITES
from tests.cluster.services import Service
from tests.cluster.slurm import Slurm

ALICE = Account("alice", 47101)
BOB = Account("bob", 47102)
PROXY = Account("rpsproxy", 47103)
_PREFIX = "rps-cluster-"
_LOCK = "in-use"  # held while the cluster is in use
_NEEDED = (*slurm.PROGRAMS, "unshare", "nsenter", "setpriv", "ip", "nft", "tmux")


def missing() -> str | None:
    """Return why no cluster can run here; None: one can."""
    if os.getuid() != 0:
        return "only root can make hosts of namespaces"
    absent = [program for program in _NEEDED if not shutil.which(program, path=PATH)]
    if absent:
        return f"not installed (`make system` does it): {', '.join(absent)}"
    kinds = ["--net", "--uts", "--mount", "--pid", "--fork"]
    tried = subprocess.run(
        ["unshare", *kinds, "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, text=True
    )
    return f"no namespaces: {tried.stderr.strip()}" if tried.returncode != 0 else None


class Cluster:
    """Hosts, network and Slurm; a context manager, so that all of it ends."""

    def __init__(self, shared: Iterable[Path] = ()) -> None:
        """Show `shared` directories (an installation) of /tmp on all hosts."""
        _sweep()
        self.shared = tuple(shared)
        self.state = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = (self.state / _LOCK).open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.state.chmod(0o755)
        self.home = self.state / "home"
        self.laptop_home = self.state / "laptop-home"
        # A copy as a whole: a mount over a single file of /etc is lost when the machine replaces that
        # file (as useradd does).
        self.etc = self.state / "etc"
        self.router = self._host("router")
        self.hosts = {name: self._host(name) for name in ADDRESSES}
        self.slurm = Slurm(self.hosts)

    def __enter__(self) -> Cluster:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End all its processes and remove its files; a second call does nothing."""
        for host in (*self.hosts.values(), self.router):
            host.end()
        if self.state.exists():
            shutil.rmtree(self.state)
        self._lock.close()

    def admin(self, *argv: str) -> str:
        """Return the output of a command of Slurm's administrator.

        Raises:
            RuntimeError: the command failed.
        """
        done = self.hosts[slurm.MANAGER].run(argv, capture_output=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
        return done.stdout

    def resume_drained_nodes(self) -> None:
        """Resume nodes that slurmd drained: it gave up on a job that was cancelled while it started."""
        drained = self.admin("sinfo", "--noheader", "--Node", "--states=drain", "--format=%N")
        for node in set(drained.split()):
            self.admin("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def reaches(self, host: str, address: str, port: int) -> bool:
        """Return whether a TCP connection from the host is accepted there."""

        def connect() -> bool:
            try:
                socket.create_connection((address, port), timeout=5).close()
            except OSError:
                return False
            return True

        return self.hosts[host].in_its_network(connect)

    @contextmanager
    def node_timeout(self, seconds: int) -> Iterator[None]:
        """Set Slurm's SlurmdTimeout, in seconds, for the length of the block."""
        slurm.configure(self.etc / "slurm", node_timeout=seconds)
        self.admin("scontrol", "reconfigure")
        try:
            yield
        finally:
            slurm.configure(self.etc / "slurm")
            self.admin("scontrol", "reconfigure")

    def revive(self, name: str) -> None:
        """Restart a login node or a compute node that was ended."""
        host = self.hosts[name]
        self._switch_on(host)
        host.await_start()
        network.connect(host, self.router)
        self.slurm.start_munge(name)
        if name in NODES:
            self.slurm.start_node(name)

    def start_services(self, rps: Path) -> dict[str, Service]:
        """Start the Reverse Proxy Services; configure their CAs for rps as a site does."""
        found = services.start(self.hosts["proxy"], PROXY, rps)
        directory = self.etc / "rps"
        lines = ["sites:"]
        for cluster, domain in SITES.items():
            shutil.copyfile(found[domain].ca_file, directory / f"{domain}.pem")
            lines.append(f"  {cluster}: {{proxy: {{ca_file: /etc/rps/{domain}.pem}}}}")
        (directory / "config.yaml").write_text("".join(f"{line}\n" for line in lines))
        return found

    def _host(self, name: str) -> Host:
        home = self.laptop_home if name == LAPTOP else self.home
        return Host(name, self.state / name, [(home, "/home"), (self.etc, "/etc")])

    def _start(self) -> None:
        self._write_files()
        for host in (self.router, *self.hosts.values()):
            self._switch_on(host)
        for host in (self.router, *self.hosts.values()):
            host.await_start()
        making = self.slurm.make_database()
        network.set_up_router(self.router, slurm.ETC / "firewall.nft")
        for host in self.hosts.values():
            network.connect(host, self.router)
        self.slurm.start(making)

    def _switch_on(self, host: Host) -> None:
        if host.name in NODES and cgroups.usable():
            host.cgroups = Cgroups.make(f"{self.state.name}-{host.name}")
        host.start(self.shared)

    def _write_files(self) -> None:
        shutil.copytree("/etc", self.etc, symlinks=True, ignore=_private)
        accounts = (ALICE, BOB, PROXY)
        for file in ("passwd", "group"):
            ours = "".join(getattr(one, file) for one in accounts)
            # Before the machine's own accounts: it may have an alice too.
            (self.etc / file).write_text(ours + Path(f"/etc/{file}").read_text())
        for file, text in (("hosts", network.hosts_file()), ("resolv.conf", "")):
            (self.etc / file).unlink(missing_ok=True)  # may be a link
            (self.etc / file).write_text(text)
        for directory in ("slurm", "rps"):
            shutil.rmtree(self.etc / directory, ignore_errors=True)
            (self.etc / directory).mkdir()
        slurm.configure(self.etc / "slurm")
        for one in accounts:
            for home in (self.home / one.name, self.laptop_home / one.name):
                home.mkdir(parents=True, mode=0o700)
                os.chown(home, one.uid, one.uid)


def _sweep() -> None:
    """Remove the files of clusters whose test run was killed."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with lock.open() as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # in use
            for name in NODES if cgroups.usable() else ():
                Cgroups.make(f"{lock.parent.name}-{name}").remove()
            shutil.rmtree(lock.parent)


def _private(directory: str, names: list[str]) -> list[str]:
    """Return a directory's entries that not all users may read: no host needs them."""
    return [name for name in names if not (Path(directory) / name).lstat().st_mode & stat.S_IROTH]


def main() -> None:
    reason = missing()
    if reason:
        sys.exit(f"no cluster: {reason}")
    began = time.monotonic()
    with Cluster() as cluster:
        print(
            f"up after {time.monotonic() - began:.1f} s; state in {cluster.state}; Ctrl-C ends it"
        )
        for host in cluster.hosts.values():
            print(f"  {host.name:14} nsenter -t {host.pid} -n -u -m -p --wdns=/ bash")
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            print("ending")


if __name__ == "__main__":
    main()
