"""The cluster, started once for all tests; its users; a visitor outside."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

from tests.cluster import sshd
from tests.cluster.hosts import Account, Host
from tests.cluster.lab import ALICE, BOB, Cluster, missing
from tests.cluster.laptop import Stand
from tests.cluster.services import Service
from tests.cluster.sshd import Sshd
from tests.cluster.visitor import OutsideVisitor
from tests.stands.waiting import until


def leave_out(reason: str) -> NoReturn:
    """Skip; in CI, where nothing may be left out, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def _possible() -> None:
    """Skip early, before anything is installed for the cluster."""
    reason = missing()
    if reason is not None:
        leave_out(f"no cluster: {reason}")


@pytest.fixture(scope="session")
def cluster(_possible: None, installed: Any) -> Iterator[Cluster]:
    """Run a Slurm cluster; skip where that is impossible, but fail in CI."""
    with Cluster(shared=[installed.directory]) as running:
        yield running


@pytest.fixture(scope="session")
def services(cluster: Cluster, installed: Any) -> dict[str, Service]:
    """Run the Reverse Proxy Services on the cluster's proxy host, by domain."""
    return cluster.start_services(installed.directory / "rps")


@dataclass(frozen=True)
class Login:
    """A user who is logged in on a host."""

    cluster: Cluster
    host: Host
    account: Account
    clone: Path  # the installation, on the file system that all hosts share
    sessions: Path  # where this test reads the user's sessions

    @classmethod
    def new(cls, cluster: Cluster, host: str, account: Account, clone: Path) -> Login:
        """Log an account in on a host."""
        sessions = cluster.home / account.name / ".local/state/rps/sessions"
        return cls(cluster, cluster.hosts[host], account, clone, sessions)

    def on(self, host: str) -> Login:
        """Return this account's login on another host."""
        return self.new(self.cluster, host, self.account, self.clone)

    def run(
        self, *argv: str, env: Mapping[str, str] | None = None, check: bool = True,
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run a command; with `check`, an exit code but 0 fails the test."""
        done = self.host.run(argv, self.account, env=env, capture_output=True, timeout=timeout)
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def rps(
        self, *arguments: str, env: Mapping[str, str] | None = None, check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run rps; the site's /etc/rps names the CA of the test's service."""
        command = [str(self.clone / "rps"), *arguments]
        return self.run(*command, env=env, check=check, timeout=timeout)

    def started(self, *options: str, **more: Any) -> dict[str, Any]:
        """Return the output of `rps start --wait --json`."""
        found: dict[str, Any] = json.loads(
            self.rps("start", "--wait", "--json", *options, **more).stdout
        )
        return found

    def status(self, name: str) -> dict[str, Any]:
        """Return the output of `rps status --json`."""
        found: dict[str, Any] = json.loads(self.rps("status", name, "--json").stdout)
        return found

    def record(self, name: str) -> dict[str, Any]:
        """Return a session's record."""
        found: dict[str, Any] = json.loads((self.sessions / name / "session.json").read_text())
        return found


@pytest.fixture
def login(
    cluster: Cluster, services: dict[str, Service], installed: Any
) -> Iterator[Callable[[str, Account], Login]]:
    """Return a function that logs a user in; what the user started ends with the test."""
    logins = []

    def log_in(host: str, account: Account = ALICE) -> Login:
        logins.append(Login.new(cluster, host, account, installed.directory))
        return logins[-1]

    yield log_in
    stopped = [one.rps("stop", "--all", check=False) for one in logins]
    # What a failed test left. Bob may have other jobs, which go on.
    cluster.admin("scancel", f"--user={ALICE.name}")
    # The next test counts her jobs, including those that are ending.
    until(
        lambda: not cluster.admin("squeue", "--noheader", f"--user={ALICE.name}"),
        "the end of alice's jobs",
        120,
    )
    cluster.resume_drained_nodes()
    assert [done.stderr for done in stopped if done.returncode != 0] == []


@pytest.fixture(scope="session")
def machines(cluster: Cluster, installed: Any) -> Stand:
    """Run sshd on Comet's login nodes; let alice in from her laptop by a key."""
    reason = sshd.missing()
    if reason is not None:
        leave_out(reason)
    servers = [Sshd.start(cluster.hosts[name]) for name in ("comet-ln2", "comet-ln3")]
    sshd.let_in(ALICE, cluster.home, cluster.laptop_home, servers)
    stand = Stand(cluster, installed.directory, *servers)
    stand.write(".local/bin/.keep", "")
    link = stand.home / ".local" / "bin" / "rps"
    link.symlink_to(installed.directory / "rps")
    return stand  # with the cluster's hosts, their daemons and homes end


@pytest.fixture
def stand(machines: Stand, comet: Login) -> Stand:
    """Return the machines; alice's sessions end with the test."""
    del comet
    return machines


@pytest.fixture
def comet(login: Callable[..., Login]) -> Login:
    """Log alice in on Comet's login node."""
    return login("comet-ln2")


@pytest.fixture
def tscc(login: Callable[..., Login]) -> Login:
    """Log alice in on TSCC's login node."""
    return login("tscc-login1")


@pytest.fixture
def bob(login: Callable[..., Login]) -> Login:
    """Log bob in on TSCC's login node."""
    return login("comet-ln2", BOB)


@pytest.fixture
def visit(cluster: Cluster, services: dict[str, Service]) -> Callable[[str], OutsideVisitor]:
    """Return a function that makes a visitor, outside the cluster, for a URL."""

    def visitor(url: str) -> OutsideVisitor:
        domain = (urlsplit(url).hostname or "").partition(".")[2]
        service = services[domain]
        return OutsideVisitor(url, service.ca_file, cluster.hosts["outside"], service.address)

    return visitor
