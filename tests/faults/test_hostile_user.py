"""One user floods the service with requests beside another, on one address."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rps_core.errors import ServiceError
from rps_core.proxy_client.client import Client
from rps_core.proxy_client.rps import RpsClient
from rps_core.state.record import Endpoint
from tests.conftest import OrdinaryUser
from tests.stands.munged import Munged, munged_program, running_munged
from tests.stands.service import DOMAIN, Service, running_service
from tests.stands.waiting import until

SCRIPT = (Path(__file__).parents[1] / "stands/hostile_user.py").read_text()
# Small limits: very few names an address, a few more a user.
TIGHT = {
    "limits.issues_per_minute": 5,
    "limits.issues_per_minute_of_user": 4,
    "limits.pending_per_source": 4,
    "limits.pending_per_user": 3,
}


@pytest.fixture(scope="module")
def munged(need: Callable[[str], str]) -> Iterator[Munged]:
    with running_munged(munged_program(need)) as daemon:
        yield daemon


@pytest.fixture(scope="module", autouse=True)
def _two_users(ordinary_user: OrdinaryUser) -> None:
    if ordinary_user.uid == os.getuid():
        pytest.skip("two users need root")


@contextmanager
def attack(
    service: Service,
    user: OrdinaryUser,
    how: str,
    munged: Munged | None = None,
    connections: int = 8,
) -> Iterator[dict[str, int]]:
    """Let the other user ask as fast as it can; yield how often it had which answer.

    The counts are there once the block has ended.
    """
    command = ["/usr/bin/python3", "-c", SCRIPT, str(service.port), how, str(connections)]
    command += [munged.socket] if munged else []
    hostile = user.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    counts: dict[str, int] = {}
    try:
        assert hostile.stdout
        assert hostile.stdout.readline() == "on\n"
        yield counts
        output, _ = hostile.communicate("", 60)
        counts.update(json.loads(output))
    finally:
        hostile.kill()
        hostile.communicate()


def launcher(service: Service, munged: Munged | None = None) -> Client:
    """Return the victim's own client."""
    ca_file = str(service.directory / "ca" / "ca.pem")
    endpoint = Endpoint(
        host=f"manage.{DOMAIN}", port=service.port, connect="127.0.0.1", ca_file=ca_file
    )
    return RpsClient(endpoint, 30, munge_socket=munged.socket if munged else None)


def start(client: Client, number: int = 1) -> None:
    """Ask for a name and link its job, as `rps start` does."""
    issued = client.issue(cluster="comet", scheduler="slurm", user="alice")
    client.link(issued.name, issued.claim, f"1{number}")


def refused(service: Service, cause: str) -> bool:
    return f'"{cause}"' in (service.directory / "audit").read_text()


def grow_old(service: Service) -> None:
    """Two minutes pass for the names that are there."""
    with sqlite3.connect(service.directory / "service" / "registry.db", timeout=10) as db:
        db.execute("UPDATE sessions SET created = created - 121")


@pytest.mark.parametrize("how", ["own", "linked", "malformed", "garbage"])
def test_with_munge_a_user_costs_the_others_nothing(
    tmp_path: Path, ordinary_user: OrdinaryUser, munged: Munged, how: str
) -> None:
    settings = {"auth": "munge", "munge.socket": munged.socket, "audit.file": tmp_path / "audit"}
    with running_service(tmp_path, **TIGHT, **settings) as service:
        shown = munged if how in ("own", "linked") else None
        until_refused = {"malformed": "bad-request", "garbage": "munge-invalid"}
        with attack(service, ordinary_user, how, shown) as answers:
            until(lambda: refused(service, until_refused.get(how, "limit")), "it is refused")
            victim = launcher(service, munged)
            for number in range(3):  # all that the user's own limit lets it have
                start(victim, number)
            with pytest.raises(ServiceError) as own_limit:
                start(victim)
            assert own_limit.value.code == "limit"
        assert answers.get("201", 0) == (3 if shown else 0)
        assert '"defect"' not in service.log()


def test_a_flood_of_credentials_leaves_turns_to_others(
    tmp_path: Path, ordinary_user: OrdinaryUser, munged: Munged
) -> None:
    """Each credential costs a process.

    The flood comes from far more connections than there are at once.
    """
    settings = {"auth": "munge", "munge.socket": munged.socket, "audit.file": tmp_path / "audit"}
    with running_service(tmp_path, **settings) as service:
        with attack(service, ordinary_user, "garbage", connections=60) as answers:
            until(lambda: refused(service, "munge-invalid"), "it is under way")
            start(launcher(service, munged))  # at the same address
        assert set(answers) == {"403 munge-invalid"}


@pytest.mark.parametrize("how", ["malformed", "own", "invented"])
def test_without_munge(tmp_path: Path, ordinary_user: OrdinaryUser, how: str) -> None:
    """Test that refused requests use up nothing, and invented users keep no place.

    A user's own share is what one honest user can use up.
    """
    limits = {**TIGHT, "limits.issues_per_minute": 600}
    if how == "own":
        limits |= {"limits.pending_per_source": 10}
    with running_service(tmp_path, **limits, **{"audit.file": tmp_path / "audit"}) as service:
        with attack(service, ordinary_user, how) as answers:
            why = "bad-request" if how == "malformed" else "limit"
            until(lambda: refused(service, why), "it is refused")
        grow_old(service)
        victim = launcher(service)
        for number in range(3):
            start(victim, number)
        assert answers.get("201", 0) == {"malformed": 0, "own": 3, "invented": 4}[how]
        assert '"defect"' not in service.log()


def test_without_munge_a_launcher_waits_for_its_turn(tmp_path: Path) -> None:
    """Test a used-up rate: the service delays the launcher, or it asks again."""
    with running_service(tmp_path, **{"limits.issues_per_minute": 10}) as service:
        for _ in range(10):
            service.issue(user="mallory")
        # On a loaded machine the rate grants more meanwhile.
        until(
            lambda: service.call("POST", "sessions", body={})[1].get("error") == "too-fast",
            "a used-up rate",
        )
        start(launcher(service))
