"""Slurm on the hosts: Debian's packages, with the configuration in etc/."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from string import Template

from tests.cluster import cgroups
from tests.cluster.daemons import Daemon
from tests.cluster.hosts import Host
from tests.cluster.network import LOGINS, NODES
from tests.stands.waiting import until

ETC = Path(__file__).parent / "etc"
MANAGER = "comet-mgr"
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd", "mariadb-install-db", "qsub")

_MUNGED = (
    "munged", "--foreground", "--force", "--key-file=/srv/munge/key",
    "--seed-file=/srv/munge/seed", "--log-file=/srv/munge/log",
)  # fmt: skip
_MARIADBD = (
    "mariadbd", "--no-defaults", "--datadir=/srv/database", "--socket=/run/mysqld/mysqld.sock",
    "--bind-address=127.0.0.1", "--skip-name-resolve", "--init-file=/srv/database.sql",
    # Small and fast to start; the database need not survive a crash.
    "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-doublewrite=0",
    "--innodb-lock-wait-timeout=900", "--performance-schema=OFF",
)  # fmt: skip

_ASK_DATABASE = (
    "mariadb-admin", "--no-defaults", "--host=127.0.0.1", "--user=slurm", "--password=slurm", "ping",
)  # fmt: skip


def configure(directory: Path, *, node_timeout: int = 300) -> None:
    """Write /etc/slurm; after `node_timeout` seconds of silence a node is DOWN."""
    values = {"NODE_TIMEOUT": str(node_timeout)}
    if cgroups.usable():
        values |= {"PROCTRACK": "proctrack/cgroup", "TASK": "task/cgroup", "CONSTRAIN": "yes"}
        values |= {"GATHER": "jobacct_gather/cgroup", "GATHER_PARAMS": "NoShared"}
    else:
        values |= {"PROCTRACK": "proctrack/linuxproc", "TASK": "task/none", "CONSTRAIN": "no"}
        values |= {"GATHER": "jobacct_gather/linux", "GATHER_PARAMS": "OverMemoryKill"}
    for name in ("slurm.conf", "cgroup.conf", "gres.conf"):
        (directory / name).write_text(Template((ETC / name).read_text()).substitute(values))
    shutil.copyfile(ETC / "job_submit.lua", directory / "job_submit.lua")
    secret = directory / "slurmdbd.conf"
    shutil.copyfile(ETC / secret.name, secret)
    secret.chmod(0o600)
    shutil.chown(secret, "slurm")


class Slurm:
    """The daemons, by name and host."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        self.hosts = hosts
        self._munge_key = os.urandom(1024)
        manager = hosts[MANAGER]
        self.database = Daemon(manager, "mariadbd", _MARIADBD, "mysql", question=_ASK_DATABASE)
        self.accounting = Daemon(
            manager, "slurmdbd", ("slurmdbd", "-D"), question=("sacctmgr", "show", "cluster")
        )
        self.controller = Daemon(
            manager, "slurmctld", ("slurmctld", "-D"), question=("scontrol", "ping")
        )
        self.nodes = {name: Daemon(hosts[name], "slurmd", ("slurmd", "-D")) for name in NODES}
        self.munge = {
            name: Daemon(hosts[name], "munged", _MUNGED, "munge", question=("munge", "--no-input"))
            for name in (MANAGER, *LOGINS, *NODES)
        }

    def make_database(self) -> subprocess.Popen[str]:
        """Begin to create an empty database."""
        manager = self.hosts[MANAGER]
        for name, account in (("database", "mysql"), ("slurmctld", "slurm")):
            (manager.directory / name).mkdir()
            shutil.chown(manager.directory / name, account)
        shutil.copyfile(ETC / "database.sql", manager.directory / "database.sql")
        return manager.popen(
            ["mariadb-install-db", "--no-defaults", "--datadir=/srv/database", "--user=mysql",
             "--skip-test-db", "--skip-name-resolve",
             "--auth-root-authentication-method=normal"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self, making: subprocess.Popen[str]) -> None:
        """Start all daemons, in their order of dependence; `making` creates the database."""
        for name in self.munge:
            self.start_munge(name)
        if making.wait() != 0:
            raise RuntimeError("mariadb-install-db failed")
        for daemon in (self.database, self.accounting):
            daemon.start()
            daemon.await_answer()
        accounts = self.hosts[MANAGER].directory / "accounts"
        shutil.copyfile(ETC / "accounts.sacctmgr", accounts)
        loaded = self.hosts[MANAGER].run(
            ["sacctmgr", "--immediate", "load", "file=/srv/accounts"], capture_output=True
        )
        if loaded.returncode != 0:
            raise RuntimeError(f"sacctmgr: {loaded.stdout}{loaded.stderr}")
        self.controller.start()
        for name in self.nodes:
            self.start_node(name)
        self.controller.await_answer()
        until(lambda: self.idle_nodes() == set(NODES), "idle nodes")

    def start_munge(self, name: str) -> None:
        """Start munged on a host, with the key that all hosts share."""
        disk = self.hosts[name].directory / "munge"
        disk.mkdir(exist_ok=True)
        (disk / "key").write_bytes(self._munge_key)
        (disk / "key").chmod(0o400)
        account = pwd.getpwnam("munge")
        for path in (disk, disk / "key"):
            os.chown(path, account.pw_uid, account.pw_gid)
        self.munge[name].start()

    def start_node(self, name: str) -> None:
        """Start slurmd on a node, with a spool directory and device files for its GPUs."""
        disk = self.hosts[name].directory
        (disk / "slurmd").mkdir(exist_ok=True)
        for gpu in (0, 1):
            (disk / f"gpu{gpu}").touch()
        self.nodes[name].start()

    def idle_nodes(self) -> set[str]:
        """Return the idle nodes, from the controller's view."""
        done = self.hosts[MANAGER].run(
            ["sinfo", "--noheader", "--Node", "--states=idle", "--format=%n"], capture_output=True
        )
        return set(done.stdout.split())
