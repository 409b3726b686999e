"""A real sshd on login nodes, and alice's ssh on her laptop, outside of the cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.daemons import Daemon
from tests.cluster.hosts import PATH, Account, Host

PROGRAMS = ("ssh", "sshd", "ssh-keygen")
# The first value of a keyword counts: those of a test come first. Without PAM: the hosts have no /etc/shadow.
_CONFIGURATION = """\
{first}
Port 22
HostKey /srv/ssh_host_key
PidFile none
UsePAM no
PasswordAuthentication no
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
"""


def missing() -> str | None:
    """Return which programs are not installed; None: all are."""
    absent = [program for program in PROGRAMS if not shutil.which(program, path=PATH)]
    return f"not installed (`make system` does it): {', '.join(absent)}" if absent else None


@dataclass(frozen=True)
class Sshd:
    """The sshd of one login node, on port 22."""

    daemon: Daemon

    @classmethod
    def start(cls, host: Host) -> Sshd:
        """Start it, with a host key of its own."""
        key = host.directory / "ssh_host_key"
        _make_key(key)
        # By its whole path: it starts itself again for each connection.
        argv = ("/usr/sbin/sshd", "-D", "-e", "-f", "/srv/sshd_config")
        question = ("bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/22")
        sshd = cls(Daemon(host, "sshd", argv, question=question))
        sshd.configure("")
        sshd.boot()
        return sshd

    def boot(self) -> None:
        """Start it on a host that was started, or started again."""
        self.daemon.host.run(["mkdir", "-p", "/run/sshd"], check=True)
        self.daemon.start()
        self.daemon.await_answer()

    @property
    def public_key(self) -> str:
        """Return its host key, as in `known_hosts`."""
        kind, key, _ = (self.daemon.host.directory / "ssh_host_key.pub").read_text().split(" ", 2)
        return f"{kind} {key}"

    def configure(self, first: str) -> None:
        """Write its configuration, which begins with `first`."""
        path = self.daemon.host.directory / "sshd_config"
        path.write_text(_CONFIGURATION.format(first=first))

    @contextmanager
    def configured(self, first: str) -> Iterator[None]:
        """Run it with other lines for the length of the block; connections continue."""
        self._restart(first)
        try:
            yield
        finally:
            self._restart("")

    @contextmanager
    def with_another_key(self) -> Iterator[None]:
        """Run it with another host key for the length of the block."""
        key = self.daemon.host.directory / "ssh_host_key"
        kept = key.read_bytes(), key.with_suffix(".pub").read_bytes()
        key.unlink()
        _make_key(key)
        self._restart("")
        try:
            yield
        finally:
            for path, content in zip((key, key.with_suffix(".pub")), kept, strict=True):
                path.write_bytes(content)
            self._restart("")

    def _restart(self, first: str) -> None:
        self.daemon.end()
        self.configure(first)
        self.boot()


def let_in(account: Account, home: Path, laptop_home: Path, servers: list[Sshd]) -> None:
    """Make the user's key on the laptop; authorize it on the cluster; note the host keys there."""
    own, there = laptop_home / account.name / ".ssh", home / account.name / ".ssh"
    for directory in (own, there):
        directory.mkdir(mode=0o700)
    _make_key(own / "id_ed25519")
    shutil.copyfile(own / "id_ed25519.pub", there / "authorized_keys")
    keys = [(one.daemon.host.name, one.public_key) for one in servers]
    # A login node that only another one reaches goes by its full name. (That of the first one is not known.)
    lines = [f"{name} {key}\n" for name, key in keys]
    lines += [f"{name}.local {key}\n" for name, key in keys[1:]]
    (own / "known_hosts").write_text("".join(lines))
    # Soon, so that a test need not wait for a lost connection: ssh's own default is never.
    (own / "config").write_text("ServerAliveInterval 1\nServerAliveCountMax 2\n")
    for path in (own, there, *own.iterdir(), *there.iterdir()):
        os.chown(path, account.uid, account.uid)


def _make_key(path: Path) -> None:
    path.with_suffix(".pub").unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True
    )
