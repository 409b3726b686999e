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
from typing import Any

import pytest

from rps_core.errors import ServiceError
from rps_core.node.agent.call_files import claim_digest
from rps_proxy.refusals import RefusedError
from rps_proxy.registry import registry as registry_module
from rps_proxy.registry.expiry import Kept
from rps_proxy.registry.names import is_name, new_name, words
from rps_proxy.registry.pools import MADE_ROOM
from rps_proxy.registry.registry import Registry
from rps_proxy.registry.session import JobReport, JobState, Phase, Request, Session

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


async def issue(registry: Registry, request: Request, claim: str = "c", **limits: int) -> str:
    return (await registry.issue(request, claim, **limits)).name


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
    name = await issue(registry, ALICE, "claim")
    for what in steps:
        await step(registry, name, what)
    assert found(registry, name).phase is phase
    assert registry.counts()[phase.name.lower()] == 1


@pytest.mark.parametrize("what", ["link", "redeem", "revive"])
async def test_nothing_leaves_gone(registry: Registry, what: str) -> None:
    name = await issue(registry, ALICE, "claim")
    await registry.revoke(name, "first")
    with pytest.raises(RefusedError, match="gone"):
        await step(registry, name, what)
    await registry.revoke(name, "second")
    assert (found(registry, name).phase, found(registry, name).reason) == (Phase.GONE, "first")


async def test_the_database_itself_lets_no_phase_go_back(
    registry: Registry, tmp_path: Path
) -> None:
    name = await issue(registry, ALICE, "claim")
    await registry.redeem(name, "10.1.0.1", 5000, None)
    db = sqlite3.connect(tmp_path / "registry.db")
    with pytest.raises(sqlite3.IntegrityError, match="never goes back"):
        db.execute("UPDATE sessions SET phase = 0 WHERE name = ?", (name,))
    db.close()


async def test_one_refusal_does_not_touch_its_neighbours(registry: Registry) -> None:
    """Changes that come together are one transaction; each still has its own answer."""
    name = await issue(registry, ALICE, "claim")
    results = await asyncio.gather(
        registry.link(name, "1"),
        registry.link(name, "2"),
        issue(registry, ALICE, "claim"),
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
    name = await issue(registry, ALICE, "claim")
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
    assert await issue(registry, ALICE, "a") == "one-two-three"
    assert await issue(registry, ALICE, "b") == "four-five-six"
    assert found(registry, "one-two-three").opens_with("a")
    assert not found(registry, "one-two-three").opens_with("b")


async def test_limits_count_what_waits(registry: Registry) -> None:
    names = [await issue(registry, ALICE, "c", most_per_user=2) for _ in range(2)]
    with pytest.raises(RefusedError, match="limit"):
        await issue(registry, ALICE, "c", most_per_user=2)
    with pytest.raises(RefusedError, match="limit"):
        await issue(registry, Request(source="10.0.0.1"), "c", most_per_source=2)
    await issue(registry, Request(source="10.0.0.2", user="bob"), "c", most_per_source=2)
    await registry.link(names[0], "17")
    with pytest.raises(RefusedError, match="limit"):
        await issue(registry, ALICE, "c", most_per_user=2)
    await registry.redeem(names[0], "10.1.0.1", 5000, None)
    await issue(registry, ALICE, "c", most_per_user=2)


MOST = {"most_per_source": 20, "most_per_user": 10}
MINUTE = 60


class Source:
    """An address whose users share one pool; `ask` is for a name of one of them."""

    def __init__(self, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000_000.0
        self._registry = registry
        monkeypatch.setattr(time, "time", lambda: self.now)

    async def ask(self, user: str | None, **more: Any) -> str:
        limits = {**MOST, **more.pop("limits", {})}
        request = Request(**{"source": "10.0.0.1", "user": user, **more})
        return await issue(self._registry, request, **limits)

    async def fill(self, **more: Any) -> list[str]:
        """Fill the pool with names of invented users."""
        return [
            await self.ask(f"invented-{number}", **more)
            for number in range(MOST["most_per_source"])
        ]


@pytest.fixture
def source(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(registry, monkeypatch)


async def test_invented_users_keep_no_place(registry: Registry, source: Source) -> None:
    invented = await source.fill()
    with pytest.raises(RefusedError, match="limit"):  # a launcher may be about to link them
        await source.ask("alice")
    source.now += 3 * MINUTE
    name = await source.ask("alice")
    ended = [found(registry, one) for one in invented if found(registry, one).phase is Phase.GONE]
    assert [(one.name, one.reason) for one in ended] == [(invented[0], MADE_ROOM)]
    assert found(registry, name).phase is Phase.ISSUED


async def test_no_user_takes_another_users_limit_by_its_name(
    registry: Registry, source: Source
) -> None:
    for _ in range(10):
        await source.ask("alice")
    source.now += 3 * MINUTE
    for _ in range(10):
        assert found(registry, await source.ask("alice")).user == "alice"


async def test_the_user_with_the_most_names_makes_room(registry: Registry, source: Source) -> None:
    bob = await source.ask("bob")
    source.now += 1
    greedy = [await source.ask("greedy") for _ in range(10)]
    rest = [await source.ask(f"user-{number}") for number in range(9)]
    source.now += 3 * MINUTE
    await source.ask("alice")
    gone = {session.name for session in registry.every([Phase.GONE])}
    assert len(gone) == 1
    assert gone < set(greedy), (bob, rest)


async def test_a_name_whose_job_is_known_makes_no_room(registry: Registry, source: Source) -> None:
    names = await source.fill()
    await registry.note_jobs({names[0]: JobReport(JobState.RUNNING)})  # its agent was heard of
    for name in names[1:]:
        await registry.link(name, "17")
    source.now += 13 * DAY
    with pytest.raises(RefusedError, match="limit"):
        await source.ask("alice")
    assert registry.counts()["gone"] == 0


async def test_a_refusal_ends_no_name(registry: Registry, source: Source) -> None:
    """Test a user's full limit with room at the address, and the reverse."""
    for _ in range(10):
        await registry.link(await source.ask("greedy"), "17")
    others = [await source.ask(f"user-{number}") for number in range(10)]
    source.now += 3 * MINUTE
    with pytest.raises(RefusedError, match="limit"):
        await source.ask("greedy")
    assert all(found(registry, name).phase is Phase.ISSUED for name in others)


async def test_names_of_satellite_sessions_wait_for_a_day_and_by_themselves(
    registry: Registry, source: Source
) -> None:
    old = await source.ask(None, satellite=True)
    await source.fill()
    source.now += 3 * MINUTE
    await source.ask("alice")
    for _ in range(19):
        await source.ask(None, satellite=True)
    with pytest.raises(RefusedError, match="limit"):
        await source.ask(None, satellite=True)
    await source.ask("alice")
    assert found(registry, old).phase is Phase.ISSUED
    source.now += DAY
    await source.ask(None, satellite=True)
    assert found(registry, old).phase is Phase.GONE


async def test_proved_users_count_each_by_itself(registry: Registry, source: Source) -> None:
    for user in ("a", "b", "c", "d"):
        for _ in range(10):  # more than the address may have
            await registry.link(await source.ask(user, authenticated=True), "17")
        with pytest.raises(RefusedError, match="limit"):
            await source.ask(user, authenticated=True, source="10.0.0.2")
    await source.fill()  # not proved: these count apart


async def test_a_flooder_fills_no_disk(registry: Registry, source: Source) -> None:
    """The records of what ended or lapsed are bounded; those that ran are kept longer."""

    async def expire(**limits: int) -> None:
        await registry.expire(
            source.now, Kept(pending=14 * DAY, lapsed=7 * DAY, ended=90 * DAY, **limits)
        )

    ran = await source.ask("alice")
    await registry.redeem(ran, "10.1.0.1", 5000, None)
    await registry.revoke(ran, "ended")
    no_limit = {"most_per_source": 0, "most_per_user": 0}
    for number in range(30):
        source.now += 1
        await registry.revoke(await source.ask(f"x-{number}", limits=no_limit), "ended")
    await expire(most_ended=10)
    gone = registry.every([Phase.GONE])
    assert len(gone) == 10
    assert {one.user for one in gone} == {"alice", *(f"x-{number}" for number in range(21, 30))}
    lapsed = []
    for user in ["alice", *["flooder"] * 12]:
        source.now += 1
        name = await source.ask(user, authenticated=True, limits=no_limit)
        await registry.redeem(name, "10.1.0.1", 5000, None)
        await registry.lapse([name])
        lapsed.append(name)
    await expire(most_lapsed_per_user=5, most_lapsed_per_source=1)
    left = [name for name in lapsed if found(registry, name).phase is Phase.READY]
    assert left == [lapsed[0], *lapsed[-5:]]


async def test_saying_that_one_is_alice_locks_her_out_nowhere_else(registry: Registry) -> None:
    for _ in range(2):
        await issue(registry, Request(source="10.0.0.9", user="alice"), "c", most_per_user=2)
    await issue(registry, ALICE, "c", most_per_user=2)


async def test_what_is_not_used_expires(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    pending = await issue(registry, ALICE, "c")
    lapsed = await issue(registry, ALICE, "c")
    living = await issue(registry, ALICE, "c")
    for name in (lapsed, living):
        await registry.redeem(name, "10.1.0.1", 5000, None)
    await registry.lapse([lapsed])

    async def expire() -> dict[str, int]:
        await registry.expire(now, Kept(pending=14 * DAY, lapsed=7 * DAY, ended=90 * DAY))
        return registry.counts()

    now += 6 * DAY
    assert (await expire())["gone"] == 0
    now += 2 * DAY
    assert (await expire())["gone"] == 1
    assert found(registry, lapsed).reason == "not renewed for too long"
    now += 7 * DAY
    assert (await expire())["gone"] == 2
    assert found(registry, pending).reason == "never used"
    now += 91 * DAY
    assert await expire() == {"issued": 0, "linked": 0, "ready": 1, "gone": 0}
    assert registry.find(pending) is None
    assert [session.name for session in registry.ready()] == [living]


async def test_a_lapsed_session_is_remembered_as_such(registry: Registry, tmp_path: Path) -> None:
    name = await issue(registry, ALICE, "c")
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
    """Test a copy that root restored: the file's owner is root."""
    with tempfile.TemporaryDirectory() as directory:  # pytest's are closed to other accounts
        path = Path(directory) / "registry.db"
        Registry(path).close()
        Path(directory).chmod(0o777)
        path.chmod(0o400)
        before = os.geteuid()
        if before == 0:
            os.seteuid(12345)
        try:
            with pytest.raises(ServiceError, match="Cannot open the registry") as error:
                Registry(path)
        finally:
            os.seteuid(before)
    assert "chown" in error.value.hint
    assert "remove it" not in error.value.hint


# As rps 0.1 made it, before satellite sessions and reports of jobs.
_VERSION_1 = Path(__file__).parents[3] / "service/registries/1.sql"


async def test_a_registry_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "registry.db")
    db.executescript(_VERSION_1.read_text("utf-8"))
    db.execute(
        "INSERT INTO sessions (name, claim, phase, source, user, job_id, address, port, created)"
        " VALUES ('a-b-c', ?, 2, '10.0.0.1', 'alice', '17', '10.1.0.1', 5000, 1000)",
        (claim_digest("secret"),),
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
    name, gone = await issue(registry, ALICE, "c"), await issue(registry, ALICE, "d")
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


async def test_a_name_that_no_client_waits_for_is_not_issued(registry: Registry) -> None:
    """The disk hangs, and the caller leaves before it is its turn."""
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(_db: sqlite3.Connection) -> None:
        hangs.set()
        goes_on.wait(20)

    hanging = registry._writer.write(hang)
    await asyncio.to_thread(hangs.wait, 20)
    left = asyncio.create_task(issue(registry, ALICE, "c"))
    stays = asyncio.create_task(issue(registry, ALICE, "d"))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    goes_on.set()
    await hanging
    name = await stays
    assert [session.name for session in registry.every(Phase)] == [name]
