"""The registry on a real SQLite file: phases, names, group commit."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rps_core.errors import ServiceError
from rps_proxy import registry as registry_module
from rps_proxy.group_commit import RefusedError
from rps_proxy.names import is_name, new_name, words
from rps_proxy.registry import Registry
from rps_proxy.session import JobReport, JobState, Phase, Request, Session, digest

ALICE = Request(source="10.0.0.1", user="alice")
DAY = 86400


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry(tmp_path / "registry.db")
    yield registry
    registry.close()


def found(registry: Registry, name: str) -> Session:
    session = registry.find(name)
    assert session
    return session


async def step(registry: Registry, name: str, what: str) -> Session:
    if what == "link":
        return await registry.link(name, "17")
    if what == "redeem":
        return await registry.redeem(name, "10.1.0.1", 5000, "17")
    if what == "revive":
        return await registry.revive(name)
    return await registry.revoke(name, "ended")


@pytest.mark.parametrize(
    ("steps", "phase"),
    [
        ([], Phase.ISSUED),
        (["link"], Phase.LINKED),
        (["link", "link"], Phase.LINKED),
        (["redeem"], Phase.READY),
        (["redeem", "link"], Phase.READY),
        (["link", "redeem", "link", "redeem", "revive"], Phase.READY),
        (["revoke"], Phase.GONE),
        (["redeem", "revoke", "revoke"], Phase.GONE),
    ],
)
async def test_phases(registry: Registry, steps: list[str], phase: Phase) -> None:
    name = await registry.issue(ALICE, "claim")
    for what in steps:
        await step(registry, name, what)
    assert found(registry, name).phase is phase
    assert registry.counts()[phase.name.lower()] == 1


@pytest.mark.parametrize("what", ["link", "redeem", "revive"])
async def test_nothing_leaves_gone(registry: Registry, what: str) -> None:
    name = await registry.issue(ALICE, "claim")
    await registry.revoke(name, "first")
    with pytest.raises(RefusedError, match="gone"):
        await step(registry, name, what)
    await registry.revoke(name, "second")
    assert (found(registry, name).phase, found(registry, name).reason) == (Phase.GONE, "first")


async def test_the_database_itself_lets_no_phase_go_back(
    registry: Registry, tmp_path: Path
) -> None:
    name = await registry.issue(ALICE, "claim")
    await registry.redeem(name, "10.1.0.1", 5000, None)
    db = sqlite3.connect(tmp_path / "registry.db")
    with pytest.raises(sqlite3.IntegrityError, match="never goes back"):
        db.execute("UPDATE sessions SET phase = 0 WHERE name = ?", (name,))
    db.close()


async def test_one_refusal_does_not_touch_its_neighbours(registry: Registry) -> None:
    """Changes that come together are one transaction; each still has its own answer."""
    name = await registry.issue(ALICE, "claim")
    results = await asyncio.gather(
        registry.link(name, "1"),
        registry.link(name, "2"),
        registry.issue(ALICE, "claim"),
        registry.redeem("no-such-name", "10.1.0.1", 5000, None),
        registry.revoke(name, "over"),
        return_exceptions=True,
    )
    assert [getattr(result, "code", None) for result in results] == [
        None, "already-linked", None, "unknown-name", None,
    ]  # fmt: skip
    assert found(registry, name).job_id == "1"
    assert found(registry, str(results[2])).phase is Phase.ISSUED


async def test_of_two_redemptions_one_counts(registry: Registry) -> None:
    name = await registry.issue(ALICE, "claim")
    results = await asyncio.gather(
        *(registry.redeem(name, f"10.1.0.{n}", 5000, str(n)) for n in range(5)),
        return_exceptions=True,
    )
    assert sum(isinstance(result, Session) for result in results) == 1
    assert found(registry, name).address == "10.1.0.0"


async def test_names_are_unique_even_when_chance_is_not(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolls = iter(["one-two-three", "one-two-three", "one-two-three", "four-five-six"])
    monkeypatch.setattr(registry_module, "new_name", lambda: next(rolls))
    assert await registry.issue(ALICE, "a") == "one-two-three"
    assert await registry.issue(ALICE, "b") == "four-five-six"
    assert found(registry, "one-two-three").opens_with("a")
    assert not found(registry, "one-two-three").opens_with("b")


async def test_limits_count_what_waits(registry: Registry) -> None:
    names = [await registry.issue(ALICE, "c", most_per_user=2) for _ in range(2)]
    with pytest.raises(RefusedError, match="limit"):
        await registry.issue(ALICE, "c", most_per_user=2)
    with pytest.raises(RefusedError, match="limit"):
        await registry.issue(Request(source="10.0.0.1"), "c", most_per_source=2)
    await registry.issue(Request(source="10.0.0.2", user="bob"), "c", most_per_source=2)
    await registry.link(names[0], "17")
    with pytest.raises(RefusedError, match="limit"):
        await registry.issue(ALICE, "c", most_per_user=2)
    await registry.redeem(names[0], "10.1.0.1", 5000, None)
    await registry.issue(ALICE, "c", most_per_user=2)


async def test_saying_that_one_is_alice_locks_her_out_nowhere_else(registry: Registry) -> None:
    for _ in range(2):
        await registry.issue(Request(source="10.0.0.9", user="alice"), "c", most_per_user=2)
    await registry.issue(ALICE, "c", most_per_user=2)


async def test_what_is_not_used_expires(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    pending = await registry.issue(ALICE, "c")
    lapsed = await registry.issue(ALICE, "c")
    living = await registry.issue(ALICE, "c")
    for name in (lapsed, living):
        await registry.redeem(name, "10.1.0.1", 5000, None)
    await registry.lapse([lapsed])

    async def expire() -> dict[str, int]:
        await registry.expire(now, 14 * DAY, 7 * DAY, 90 * DAY)
        return registry.counts()

    now += 6 * DAY
    assert (await expire())["gone"] == 0
    now += 2 * DAY
    assert (await expire())["gone"] == 1
    assert found(registry, lapsed).reason == "not heard of for too long"
    now += 7 * DAY
    assert (await expire())["gone"] == 2
    assert found(registry, pending).reason == "never used"
    now += 91 * DAY
    assert await expire() == {"issued": 0, "linked": 0, "ready": 1, "gone": 0}
    assert registry.find(pending) is None
    assert [session.name for session in registry.ready()] == [living]


async def test_a_lapsed_session_is_remembered_as_such(registry: Registry, tmp_path: Path) -> None:
    name = await registry.issue(ALICE, "c")
    await registry.redeem(name, "10.1.0.1", 5000, "1")
    await registry.lapse([name])
    registry.close()
    again = Registry(tmp_path / "registry.db")
    assert found(again, name).lapsed is not None
    assert (await again.redeem(name, "10.1.0.1", 5000, "1")).lapsed is None
    again.close()


def test_a_registry_of_a_newer_rps_is_left_alone(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "registry.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ServiceError, match="later version"):
        Registry(tmp_path / "registry.db")


def test_a_registry_of_another_account_is_not_to_be_thrown_away() -> None:
    """As root leaves a copy that it put back."""
    with tempfile.TemporaryDirectory() as directory:  # pytest's are closed to other accounts
        path = Path(directory) / "registry.db"
        Registry(path).close()
        Path(directory).chmod(0o777)
        path.chmod(0o400)
        before = os.geteuid()
        if before == 0:
            os.seteuid(12345)
        try:
            with pytest.raises(ServiceError, match="cannot be opened") as error:
                Registry(path)
        finally:
            os.seteuid(before)
    assert "chown" in error.value.hint
    assert "move it away" not in error.value.hint


# As rps 0.1 made it, before sessions of the old dialect and reports of jobs.
_VERSION_1 = """
CREATE TABLE sessions (
    name      TEXT PRIMARY KEY,
    claim     BLOB NOT NULL,               -- SHA-256 of the claim
    phase     INTEGER NOT NULL DEFAULT 0,
    cluster   TEXT,
    scheduler TEXT,
    user      TEXT,
    source    TEXT NOT NULL,               -- address that asked for the name
    job_id    TEXT,                        -- as linked by the launcher
    run_id    TEXT,                        -- job id as given by the agent with its redemption
    address   TEXT,
    port      INTEGER,
    reason    TEXT,                        -- why it is gone
    created   REAL NOT NULL,               -- this and those below: seconds since 1970
    lapsed    REAL,                        -- when the lease ran out; null while it holds
    ended     REAL
) WITHOUT ROWID;
CREATE INDEX pending ON sessions (source, user) WHERE phase < 2;
CREATE INDEX by_phase ON sessions (phase);
CREATE TRIGGER phases_never_go_back BEFORE UPDATE OF phase ON sessions WHEN NEW.phase < OLD.phase
BEGIN SELECT RAISE(ABORT, 'a phase never goes back'); END;
PRAGMA user_version = 1;
"""


async def test_a_registry_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "registry.db")
    db.executescript(_VERSION_1)
    db.execute(
        "INSERT INTO sessions (name, claim, phase, source, user, job_id, address, port, created)"
        " VALUES ('a-b-c', ?, 2, '10.0.0.1', 'alice', '17', '10.1.0.1', 5000, 1000)",
        (digest("secret"),),
    )
    db.commit()
    db.close()
    for _ in range(2):  # taken over once, and again as it is now
        registry = Registry(tmp_path / "registry.db")
        session = found(registry, "a-b-c")
        assert session.opens_with("secret")
        assert (session.phase, session.user, session.job_state) == (Phase.READY, "alice", None)
        await registry.note_jobs({"a-b-c": JobReport(JobState.RUNNING)})
        assert found(registry, "a-b-c").job_state is JobState.RUNNING
        registry.close()
        with contextlib.closing(sqlite3.connect(tmp_path / "registry.db")) as db:
            db.execute("UPDATE sessions SET job_state = NULL")
            db.commit()


async def test_what_is_said_of_jobs(registry: Registry) -> None:
    name, gone = await registry.issue(ALICE, "c"), await registry.issue(ALICE, "d")
    await registry.revoke(gone, "ended")
    report = JobReport(JobState.QUEUED, "waits for resources", 2000.0)
    assert await registry.note_jobs({name: report, gone: report, "no-such-name": report}) == 1
    session = found(registry, name)
    assert (session.job_reason, session.job_estimate) == ("waits for resources", 2000.0)
    assert session.job_seen is not None
    assert [s.name for s in registry.every([Phase.GONE])] == [gone]


def test_words() -> None:
    assert len(words()) == 7772
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words())
    assert is_name(new_name())
    assert len({new_name() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "text", ["", "a", "a-b", "a-b-c-d", "A-b-c", "a-b-1", "a--c", "a-b-c\n", "ä-b-c", "-a-b-c"]
)
def test_what_is_no_name(text: str) -> None:
    assert not is_name(text)


async def test_a_name_that_nobody_waits_for_any_more_is_not_given(registry: Registry) -> None:
    """The disk hangs, and the caller leaves before it is its turn."""
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_db: sqlite3.Connection) -> None:
        hangs.set()
        goes_on.wait(20)

    hanging = registry._writer.write(hang)
    await asyncio.to_thread(hangs.wait, 20)
    left = asyncio.create_task(registry.issue(ALICE, "c"))
    stays = asyncio.create_task(registry.issue(ALICE, "d"))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    await hanging
    name = await stays
    assert [session.name for session in registry.every(Phase)] == [name]
