"""The cluster, once for all tests; people logged in on it; and a visitor from outside."""

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

from tests.cluster.daemons import wait_for
from tests.cluster.hosts import Account, Host
from tests.cluster.lab import ALICE, BOB, Cluster, missing
from tests.cluster.services import Service
from tests.cluster.visitor import OutsideVisitor


def leave_out(reason: str) -> NoReturn:
    """Skip; in CI, where nothing may be left out, fail."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def _possible() -> None:
    """Said before anything is installed for it."""
    reason = missing()
    if reason is not None:
        leave_out(f"no cluster: {reason}")


@pytest.fixture(scope="session")
def cluster(_possible: None, installed: Any) -> Iterator[Cluster]:
    """A running Slurm cluster; skips where there can be none, but fails in CI."""
    with Cluster(shared=[installed.directory]) as running:
        yield running


@pytest.fixture(scope="session")
def services(cluster: Cluster, installed: Any) -> dict[str, Service]:
    """The Reverse Proxy Services on the cluster's proxy host, by domain."""
    return cluster.start_services(installed.directory / "rps")


@dataclass(frozen=True)
class Login:
    """Somebody who is logged in on a host."""

    host: Host
    account: Account
    clone: Path  # the installation, on the file system that all hosts share
    sessions: Path  # where this test finds the user's sessions

    @classmethod
    def on(cls, cluster: Cluster, host: str, account: Account, clone: Path) -> Login:
        """The account's on a host."""
        sessions = cluster.home / account.name / ".local/state/rps/sessions"
        return cls(cluster.hosts[host], account, clone, sessions)

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
        """`rps start --wait --json`."""
        found: dict[str, Any] = json.loads(
            self.rps("start", "--wait", "--json", *options, **more).stdout
        )
        return found

    def status(self, name: str) -> dict[str, Any]:
        """`rps status --json`."""
        found: dict[str, Any] = json.loads(self.rps("status", name, "--json").stdout)
        return found

    def record(self, name: str) -> dict[str, Any]:
        """What rps has on disk of a session."""
        found: dict[str, Any] = json.loads((self.sessions / name / "session.json").read_text())
        return found


@pytest.fixture
def login(
    cluster: Cluster, services: dict[str, Service], installed: Any
) -> Iterator[Callable[[str, Account], Login]]:
    """Logs somebody in; what they started is ended with the test."""
    logins = []

    def log_in(host: str, account: Account = ALICE) -> Login:
        logins.append(Login.on(cluster, host, account, installed.directory))
        return logins[-1]

    yield log_in
    stopped = [one.rps("stop", "--all", check=False) for one in logins]
    # What a failed test left. Bob's may have others that go on.
    cluster.admin("scancel", f"--user={ALICE.name}")
    # The next test counts her jobs, those that are ending included.
    wait_for(
        "the end of alice's jobs",
        lambda: not cluster.admin("squeue", "--noheader", f"--user={ALICE.name}"),
        120,
    )
    assert [done.stderr for done in stopped if done.returncode != 0] == []


@pytest.fixture
def comet(login: Callable[..., Login]) -> Login:
    """Alice on Comet's login node."""
    return login("comet-ln2")


@pytest.fixture
def tscc(login: Callable[..., Login]) -> Login:
    """Alice on TSCC's login node."""
    return login("tscc-login1")


@pytest.fixture
def bob(login: Callable[..., Login]) -> Login:
    """Bob, there too."""
    return login("comet-ln2", BOB)


@pytest.fixture
def visit(cluster: Cluster, services: dict[str, Service]) -> Callable[[str], OutsideVisitor]:
    """A visitor, outside the cluster, for a URL."""

    def visitor(url: str) -> OutsideVisitor:
        domain = (urlsplit(url).hostname or "").partition(".")[2]
        service = services[domain]
        return OutsideVisitor(url, service.ca_file, cluster.hosts["outside"], service.address)

    return visitor
