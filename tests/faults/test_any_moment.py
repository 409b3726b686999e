"""Kill service and engine before each system call that changes anything.

strace counts these calls. What was answered is stored; what was not is stored completely or not at all, and
can be repeated; each name leads to its own notebook or nowhere.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from tests.engines.stand import Stand, running
from tests.engines.test_killed import answers
from tests.stands.service import DOMAIN, Notebook, Session
from tests.stands.spawner import Spawned
from tests.stands.strike import struck
from tests.stands.waiting import until

# System calls that reach the registry, the engine, the log or the caller. (TLS also writes, so an engine's
# socket shows more with fewer steps.)
MARKS = {
    "embedded": ("fdatasync", "write", "pwrite64"),
    "haproxy": ("fdatasync", "write", "connect", "fsync", "rename"),
    "apache": ("fdatasync", "write", "ftruncate", "pwrite64"),
}
PARTS = "pwrite64"  # of one change in a file: SQLite's task, so stepped through for one call only
CALLS = ("issue", "link", "redeem", "renew", "revoke")  # the first two ask no engine
READY, GONE = 2, 3
HELD_BACK = 800_000  # microseconds


@pytest.fixture
def stand(kind: str, tmp_path: Path, need: Callable[[str], str]) -> Iterator[Stand]:
    """Yield a service with an engine of that kind."""
    need("strace")
    quick = {"advanced.sweep_every": 0.5}  # and with it the engine is looked at sooner
    with running(tmp_path, kind, need, **quick) as stand:
        yield stand


class Caller:
    """A connection for one call, opened before, so that only the call is traced."""

    def __init__(self, stand: Stand) -> None:
        self.host = f"manage.{DOMAIN}:{stand.port}"
        self.caller = stand.caller("127.0.0.1")
        if stand.kind == "embedded":
            self.client = http.client.HTTPConnection("service")
            self.client.sock = stand.connect(self.host)
        else:
            self.client = stand.behind(20)

    def ask(self, call: str, session: Session, port: int) -> int | None:
        """Return the answer's status; None where there was none."""
        headers = {"Host": self.host, **self.caller}
        path, body = "/api/v1/sessions", {}
        if call != "issue":
            headers["Authorization"] = f"Bearer {session.claim}"
            path += f"/{session.name}/{call}"
            body = {"port": port, "job_id": "1"}
        try:
            self.client.request("POST", path, json.dumps(body), headers)
            response = self.client.getresponse()
            response.read()
            return response.status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            self.client.close()


def rows(stand: Stand) -> dict[str, list[object]]:
    """Return the registry's sessions, by name."""
    with contextlib.closing(sqlite3.connect(stand.directory / "service" / "registry.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = db.execute(
            "SELECT name, phase, job_id, address, port, reason, lapsed, ended FROM sessions"
        )
        return {name: rest for name, *rest in found.fetchall()}


def as_lapsed(stand: Stand, session: Session) -> None:
    """Expire a lease by a restart: waiting for it would take too long at each step."""
    stand.kill()
    with contextlib.closing(sqlite3.connect(stand.directory / "service" / "registry.db")) as db:
        db.execute("UPDATE sessions SET lapsed = unixepoch() WHERE name = ?", (session.name,))
        db.commit()
    stand.start()


def before(stand: Stand, call: str, session: Session, port: int) -> None:
    """Bring a session to where the call comes next."""
    if call in ("renew", "revoke"):
        path = f"sessions/{session.name}/redeem"
        assert stand.past_the_engine(path, session.claim, {"port": port, "job_id": "1"})[0] == 200
    if call == "renew":
        as_lapsed(stand, session)
    if stand.kind == "haproxy":
        until(lambda: in_map(stand, session) == (call == "revoke"), "the map before the call")


def done(call: str, row: list[object]) -> bool:
    """Return whether the call's change is stored; a part of it is an error."""
    phase, job_id, address, port, reason, lapsed, ended = row
    assert (phase == GONE) == (reason is not None) == (ended is not None), row
    assert (address is None) == (port is None), row
    assert phase in (READY, GONE) or address is None, row
    return {
        "link": job_id == "1",
        "redeem": phase == READY and address is not None,
        "renew": phase == READY and lapsed is None,
        "revoke": phase == GONE,
    }[call]


def in_map(stand: Stand, session: Session) -> bool:
    """Return whether HAProxy's file has a route for it."""
    return session.name in (stand.meeting / "routes.map").read_text()


def ended_or_written(stand: Stand, call: str, session: Session) -> bool:
    return ends(stand, 0.05) or in_map(stand, session) == (call != "revoke")


def ends(stand: Stand, seconds: float) -> bool:
    """Return whether the service ends within that time."""
    assert isinstance(stand.process, Spawned)
    try:
        stand.process.wait(seconds)
    except TimeoutError:
        return False
    return True


def lives(stand: Stand) -> bool:
    """Return whether the service still answers."""
    try:
        return stand.past_the_engine("nothing", body={})[0] == 404
    except (OSError, http.client.HTTPException):
        return False


def own_page(stand: Stand, session: Session, notebook: Notebook) -> bool:
    """Return whether the name leads to its own notebook."""
    seen = len(notebook.requests)
    return answers(stand, session, 200) and len(notebook.requests) == seen + 1


def steps(
    stand: Stand, call: str, mark: str, after: Callable[[int], None]
) -> Iterator[tuple[Session, Notebook, int | None, set[str]]]:
    """Make the call once for each of its system calls `mark`, killed there.

    Yield a session, its notebook, the call's status, and the names that existed before. `after` runs once
    the signal arrived.
    """
    for number in count(1):
        session = stand.issue()
        with Notebook(stand.certificate(session), stand.directory) as notebook:
            before(stand, call, session, notebook.port)
            known = set(rows(stand))
            caller = Caller(stand)
            with (
                contextlib.closing(caller.client),
                struck(stand, mark, number, "signal=KILL"),
            ):
                status = caller.ask(call, session, notebook.port)
                assert stand.process
                if mark in (
                    "fsync",
                    "rename",
                ):  # by which HAProxy's map is written, after the answer
                    until(partial(ended_or_written, stand, call, session), "the map")
                hit = status is None or ends(stand, 0.05)
            # On a loaded machine a killed process may take longer to end.
            if hit or not lives(stand):
                hit = True
                after(number)
            yield session, notebook, status, known
        if not hit:
            assert number > 1, f"{call} leaves no mark by {mark}"
            return


def held(stand: Stand) -> set[str]:
    """Return the hosts that the engine has a route for."""
    if stand.kind == "apache":
        with contextlib.closing(sqlite3.connect(stand.meeting / "routes.db")) as db:
            return {host for (host,) in db.execute("SELECT host FROM routes").fetchall()}
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(stand.meeting / "run" / "haproxy.sock"))
        control.sendall(f"show map {stand.meeting / 'routes.map'}\n".encode())
        with control.makefile() as listing:
            return {line.split()[1] for line in listing if line.strip()}


def live(stand: Stand) -> set[str]:
    """Return the hosts that it should have one for."""
    return {
        f"{name}.{DOMAIN}"
        for name, row in rows(stand).items()
        if row[0] == READY and row[5] is None
    }


@pytest.mark.parametrize(
    ("kind", "call"),
    [(kind, call) for kind in MARKS for call in CALLS[0 if kind == "embedded" else 2 :]],
)
def test_killed_at_any_moment(stand: Stand, call: str) -> None:
    def after(number: int) -> None:
        """Restart what was killed; every other time kill the engine too."""
        assert stand.process
        stand.process.wait()
        if number % 2 == 0:
            stand.kill_engine()
        stand.start()
        if number % 2 == 0:
            stand.start_engine()

    with stand.notebook() as (bystander, its_own):
        for mark in MARKS[stand.kind]:
            if mark == PARTS and call != "redeem":
                continue
            for session, notebook, status, known in steps(stand, call, mark, after):
                found = rows(stand)
                if call == "issue":
                    new = set(found) - known
                    assert len(new) <= 1
                    assert new or status is None
                else:
                    assert status in (None, 200)
                    whole = done(call, found[session.name])
                    assert whole or status is None, "what was answered is lost"
                    path, body = (
                        f"sessions/{session.name}/{call}",
                        {"port": notebook.port, "job_id": "1"},
                    )
                    assert stand.past_the_engine(path, session.claim, body)[0] == 200
                    assert done(call, rows(stand)[session.name])
                if call in ("redeem", "renew"):
                    until(partial(own_page, stand, session, notebook), "its route")
                if call == "revoke":
                    until(partial(answers, stand, session, 410), "no route")
                until(lambda: own_page(stand, bystander, its_own), "the other's route")
    if stand.kind != "embedded":
        until(lambda: held(stand) == live(stand), "the engine has the registry's routes")
    assert '"defect"' not in stand.log()


@pytest.mark.parametrize("kind", ["haproxy"])
@pytest.mark.parametrize("call", ["redeem", "revoke"])
def test_the_engine_alone_is_killed_at_any_moment(stand: Stand, call: str) -> None:
    """Test each command for HAProxy: delay it, and kill HAProxy meanwhile."""
    with stand.notebook() as (bystander, its_own), ThreadPoolExecutor(1) as other_thread:
        for mark in ("connect", "write"):
            for number in count(1):
                session = stand.issue()
                with Notebook(stand.certificate(session), stand.directory) as notebook:
                    before(stand, call, session, notebook.port)
                    caller = Caller(stand)
                    with struck(stand, mark, number, f"delay_enter={HELD_BACK}"):
                        asked = other_thread.submit(caller.ask, call, session, notebook.port)
                        hit = not wait([asked], HELD_BACK / 1e6 / 2).done
                        if hit:
                            stand.kill_engine()
                        assert asked.result() == 200
                    if hit:
                        stand.start_engine()
                    if call == "redeem":
                        until(partial(own_page, stand, session, notebook), "its route")
                    else:
                        until(partial(answers, stand, session, 410), "no route")
                    until(lambda: own_page(stand, bystander, its_own), "the other's route")
                if not hit:
                    assert number > 1, f"no {mark}"
                    break
    until(lambda: held(stand) == live(stand), "the engine has the registry's routes")
