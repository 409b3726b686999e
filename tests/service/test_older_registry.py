"""Convert a registry of an earlier version, completely or not at all.

`registries/N.sql` are dumps of what that version's own code wrote. The conversion is killed at any moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from rps_proxy.pages.state import standing
from rps_proxy.registry.registry import Registry
from rps_proxy.registry.schema import SCHEMA_VERSION
from rps_proxy.registry.session import Phase

REGISTRIES = Path(__file__).with_name("registries")
MARKS = ("pwrite64", "fdatasync", "ftruncate", "unlink")
OPEN = """
import sys
from pathlib import Path
from rps_proxy.registry.registry import Registry

Registry(Path(sys.argv[1])).close()
"""


def made(version: int, directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    file = directory / "registry.db"
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("PRAGMA journal_mode = WAL")  # as the service has it
        db.executescript((REGISTRIES / f"{version}.sql").read_text())
    return file


def shape(file: Path) -> tuple[int, set[str]]:
    """Return the format's version, and all that its schema has."""
    with contextlib.closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        (version,) = db.execute("PRAGMA user_version").fetchone()
        parts = db.execute("SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'")
        columns = db.execute("SELECT name FROM pragma_table_info('sessions')")
        return version, {name for (name,) in [*parts.fetchall(), *columns.fetchall()]}


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_what_it_holds_is_kept(version: int, tmp_path: Path) -> None:
    file = made(version, tmp_path)

    async def use() -> None:
        registry = Registry(file)
        every = {session.reason or session.job_id or session.run_id or "issued": session
                 for session in registry.every(Phase)}  # fmt: skip
        if version >= 6:
            satellite = every.pop("20")
            assert satellite.satellite
            assert not satellite.opens_with("claim-satellite")
            assert registry.satellite_routes(satellite.created + 1) == [satellite.name]
        claims = {
            "issued": "issued",
            "17": "linked",
            "18": "ready",
            "19": "lapsed",
            "stopped": "gone",
        }
        assert every.keys() == claims.keys()
        for key, session in every.items():
            assert session.opens_with(f"claim-{claims[key]}")
            assert (session.cluster, session.user, session.satellite) == ("comet", "alice", False)
        ready = every["18"]
        assert (ready.phase, ready.address, ready.port) == (Phase.READY, "192.0.2.77", 40001)
        assert every["19"].lapsed is not None
        assert every["stopped"].phase is Phase.GONE
        # Version 5 has a reason with any text.
        assert standing(every["stopped"], live=False).cause is None
        await registry.redeem(every["17"].name, "192.0.2.80", 40003, "17")
        registry.close()

    asyncio.run(use())
    new = Registry(tmp_path / "new.db")
    new.close()
    assert shape(file) == shape(tmp_path / "new.db")


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION - 1])
def test_killed_as_it_is_taken_over(
    version: int, tmp_path: Path, need: Callable[[str], str]
) -> None:
    """Test the first version, which goes through every step, and the last, which goes through one."""
    old = shape(made(version, tmp_path / "old"))
    file = made(version, tmp_path / "new")
    with contextlib.closing(Registry(file)):
        pass
    new = shape(file)
    for mark in MARKS:
        for number in count(1):
            file = made(version, tmp_path / f"{mark}{number}")
            strace = [need("strace"), "--follow-forks", "--quiet=all", "--output=/dev/null"]
            strike = [f"--trace={mark}", f"--inject={mark}:signal=KILL:when={number}"]
            command = [*strace, *strike, sys.executable, "-c", OPEN, str(file)]
            code = subprocess.run(command, check=False).returncode
            assert shape(file) in (old, new), (mark, number)
            with contextlib.closing(Registry(file)):
                pass
            assert shape(file) == new
            if code == 0:
                assert number > 1 or mark in ("ftruncate", "unlink"), f"no {mark}"
                break
