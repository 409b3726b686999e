"""The registry: every session's name, phase and address, in one SQLite table.

Writes go through `GroupCommit`, and are answered only when they are on disk. Reads are plain look-ups
on a second connection; with a write-ahead log neither waits for the other.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rps_core.errors import ServiceError
from rps_proxy.group_commit import BusyError, GroupCommit, RefusedError
from rps_proxy.names import new_name
from rps_proxy.registry_file import SCHEMA_VERSION, bring_up_to_date, connect
from rps_proxy.session import JobReport, JobState, Phase, Request, Session, digest

OVER_FOR_GOOD = (
    3600.0  # seconds after which a job that was said to be over will not redeem any more
)


_COLUMNS = (
    "name, claim, phase, job_id, run_id, address, port, reason, created, lapsed, ended, cluster,"
    " scheduler, user, source, old_dialect, job_state, job_reason, job_estimate, job_seen,"
    " authenticated, own_job"
)


class Registry:
    """The table of sessions. Use from one event loop; `close` ends the writer.

    Methods that change something are coroutines: they raise `RefusedError` where the rules forbid
    the change, `BusyError` where it could not be written, and return only once it is committed.
    """

    def __init__(self, path: Path) -> None:
        try:
            writing = connect(path, 5.0)
            bring_up_to_date(writing, path)
            self._reader = connect(path, 0.2)  # all else waits meanwhile
        except sqlite3.Error as error:
            raise ServiceError(
                f"The registry {path} cannot be opened: {error}", what_to_do(path)
            ) from error
        self._writer = GroupCommit(writing)
        self.draining = False  # then `issue` refuses: `draining`

    def close(self) -> None:
        """Commit what is under way and close the file."""
        self._writer.close()
        self._reader.close()

    # Reading; BusyError where the file cannot be read

    def find(self, name: str) -> Session | None:
        """The session of that name, however long it has been gone, or None."""
        rows = self._read(
            f"SELECT {_COLUMNS} FROM sessions WHERE name = ?",  # noqa: S608  (a constant)
            (name,),
        )
        return _session(rows[0]) if rows else None

    def ready(self) -> list[Session]:
        """Every session that was redeemed and is not gone, lapsed ones among them."""
        return self.every([Phase.READY])

    def every(self, phases: Iterable[Phase]) -> list[Session]:
        """Every session in one of these phases, the newest first."""
        wanted = [int(phase) for phase in phases]
        rows = self._read(
            f"SELECT {_COLUMNS} FROM sessions WHERE phase IN"  # noqa: S608  (constants)
            f" ({', '.join('?' * len(wanted))}) ORDER BY created DESC",
            wanted,
        )
        return [_session(row) for row in rows]

    def unfinished(self, cluster: str) -> list[Session]:
        """The sessions of that cluster that have a job of which nobody said that it is over."""
        rows = self._read(
            f"SELECT {_COLUMNS} FROM sessions WHERE phase IN (0, 1, 2) AND cluster = ?"  # noqa: S608
            " AND coalesce(job_id, run_id) IS NOT NULL AND job_state IS NOT 'gone'",
            (cluster,),
        )
        return [_session(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many sessions are in each phase, by its lower-case name."""
        found = dict(self._read("SELECT phase, count(*) FROM sessions GROUP BY phase"))
        return {phase.name.lower(): found.get(phase, 0) for phase in Phase}

    def clusters(self) -> list[tuple[str | None, str, int]]:
        """Cluster, lower-case name of a phase, and how many sessions of that cluster are in it."""
        rows = self._read("SELECT cluster, phase, count(*) FROM sessions GROUP BY cluster, phase")
        return [(cluster, Phase(phase).name.lower(), n) for cluster, phase, n in rows]

    def old_routes(self, before: float) -> list[str]:
        """The names of the old dialect whose route has been live since earlier than `before`."""
        rows = self._read(
            "SELECT name FROM sessions WHERE phase = 2 AND old_dialect = 1 AND redeemed < ?",
            (before,),
        )
        return [name for (name,) in rows]

    def linked(self, job_id: str) -> list[str]:
        """The names of the old dialect, not gone, that are linked to that job: several, where clusters share
        the service."""
        rows = self._read(
            "SELECT name FROM sessions WHERE job_id = ? AND phase < 3 AND old_dialect = 1",
            (job_id,),
        )
        return [name for (name,) in rows]

    def _read(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise BusyError(str(error)) from error

    # Changing

    async def write_nothing(self) -> None:
        """Have something written that changes nothing; BusyError where the registry cannot be."""
        await self._writer.write(
            lambda db: db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}").close()
        )

    async def issue(
        self,
        request: Request,
        claim: str,
        *,
        most_per_source: int = 0,
        most_per_user: int = 0,
    ) -> str:
        """Put a new name into the table and return it. A limit of 0 means none.

        `most_per_user` counts within a source where a user's name is only said, by the caller itself: it
        must lock out nobody elsewhere. Where it was proved, it counts wherever the user asks.
        """
        if self.draining:
            raise RefusedError("draining")

        def change(db: sqlite3.Connection) -> str:
            if most_per_source:
                _check_pending(db, "source = ?", (request.source,), most_per_source)
            if most_per_user and request.user is not None:
                if request.authenticated:
                    proved = "user = ? AND authenticated = 1"
                    _check_pending(db, proved, (request.user,), most_per_user)
                else:
                    whose = (request.source, request.user)
                    _check_pending(db, "source = ? AND user = ?", whose, most_per_user)
            values = (
                digest(claim), request.cluster, request.scheduler, request.user,
                request.source, request.authenticated, request.old_dialect, time.time(),
            )  # fmt: skip
            while True:
                name = new_name()
                added = db.execute(
                    "INSERT OR IGNORE INTO sessions"
                    " (name, claim, cluster, scheduler, user, source, authenticated, old_dialect,"
                    " created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (name, *values),
                )
                if added.rowcount:
                    return name

        return await self._writer.write(change)

    async def link(self, name: str, job_id: str, *, once: bool = False) -> Session:
        """Note the job of a session. Refused: `already-linked` (to another job, or at all), `gone`."""

        def change(db: sqlite3.Connection) -> Session:
            session = _live(db, name)
            if session.job_id not in ((None,) if once else (None, job_id)):
                raise RefusedError("already-linked")
            db.execute(
                "UPDATE sessions SET job_id = ?, phase = max(phase, ?) WHERE name = ?",
                (job_id, Phase.LINKED, name),
            )
            return _get(db, name)

        return await self._writer.write(change)

    async def redeem(
        self, name: str, address: str, port: int, run_id: str | None, *, once: bool = False
    ) -> Session:
        """Make the session ready at `address:port`. The same again is answered as the first time.

        Refused: `already-redeemed` (from elsewhere, or by another job; at all, if `once`), `gone`.
        """

        def change(db: sqlite3.Connection) -> Session:
            session = _live(db, name)
            if session.phase is Phase.READY:
                same = (session.address, session.port, session.run_id) == (address, port, run_id)
                if once or not same:
                    raise RefusedError("already-redeemed")
                if session.lapsed is None:
                    return session
            db.execute(
                "UPDATE sessions SET phase = ?, address = ?, port = ?, run_id = ?, lapsed = NULL,"
                " redeemed = coalesce(redeemed, ?) WHERE name = ?",
                (Phase.READY, address, port, run_id, time.time(), name),
            )
            return _get(db, name)

        return await self._writer.write(change)

    async def note_jobs(self, reports: Mapping[str, JobReport]) -> int:
        """Note what was said of jobs, by session name; of how many sessions that is news.

        A session that is gone stays as it is. That a job waits is old news once it was seen to run: who
        said so had asked before. What was said of a job that is not the session's any more says nothing.
        """
        now = time.time()
        rows = [
            (report.state, report.reason, report.estimate, now, report.own_job, name)
            for name, report in reports.items()
        ]

        def change(db: sqlite3.Connection) -> int:
            before = db.total_changes
            db.executemany(
                "UPDATE sessions SET job_state = ?, job_reason = ?, job_estimate = ?, job_seen = ?,"
                " own_job = coalesce(?, own_job)"
                " WHERE name = ? AND phase < 3 AND (?5 IS NULL OR coalesce(job_id, run_id) = ?5)"
                " AND (old_dialect = 1 OR NOT (job_state IS 'running' AND ?1 = 'queued'))",
                rows,
            )
            return db.total_changes - before

        return await self._writer.write(change)

    def lapse(self, names: Iterable[str]) -> Awaitable[None]:
        """Note that the leases of these sessions ran out: before all that is asked for after this call."""
        rows = [(time.time(), name) for name in names]

        def change(db: sqlite3.Connection) -> None:
            db.executemany(
                "UPDATE sessions SET lapsed = ? WHERE name = ? AND phase = 2 AND lapsed IS NULL",
                rows,
            )

        return self._writer.write(change)

    async def revive(self, name: str) -> Session:
        """Note that a lapsed session was heard of again. Refused: `gone`."""

        def change(db: sqlite3.Connection) -> Session:
            _live(db, name)
            db.execute("UPDATE sessions SET lapsed = NULL WHERE name = ?", (name,))
            return _get(db, name)

        return await self._writer.write(change)

    async def revoke(self, name: str, reason: str, told: str | None = None) -> Session:
        """End a session; one that is gone stays as it is, with its first reason. `told` is what the
        session's page says of it, to anybody."""

        def change(db: sqlite3.Connection) -> Session:
            _end(db, "name = ?", (name,), reason, told)
            return _get(db, name)

        return await self._writer.write(change)

    async def destroy(self, name: str, address: str) -> Session:
        """End a session of the old dialect, as `address` asks. Refused: `gone`, and `wrong-address`, once
        it was redeemed from another."""

        def change(db: sqlite3.Connection) -> Session:
            session = _live(db, name)
            if session.phase is Phase.READY and session.address != address:
                raise RefusedError("wrong-address")
            _end(db, "name = ?", (name,), "destroyed")
            return _get(db, name)

        return await self._writer.write(change)

    async def expire(self, now: float, pending: float, lapsed: float, kept: float) -> None:
        """End what was not redeemed or renewed in time, and forget what is long gone; in seconds, `now` since
        1970."""

        def change(db: sqlite3.Connection) -> None:
            over = "(phase < 2 OR lapsed IS NOT NULL) AND job_state = 'gone' AND job_seen < ?"
            _end(db, over, (now - OVER_FOR_GOOD,), "its job is over")
            _end(db, "phase < 2 AND created < ?", (now - pending,), "never used")
            _end(db, "phase = 2 AND lapsed < ?", (now - lapsed,), "not heard of for too long")
            db.execute("DELETE FROM sessions WHERE phase = 3 AND ended < ?", (now - kept,))

        await self._writer.write(change)


def what_to_do(path: Path) -> str:
    """With a registry that cannot be opened, or read: one that is only another account's is not to be thrown
    away."""
    ours = os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True)
    if not ours or (path.exists() and not os.access(path, os.R_OK | os.W_OK, effective_ids=True)):
        return f"It is not this account's to write: chown it (and chmod 600 {path})."
    return (
        "If the disk is full, make room. If the file is damaged, restore a copy (docs/operators.md), or move "
        "it away: the service then starts with an empty one, and running sessions lose their URL."
    )


def _session(row: tuple[Any, ...]) -> Session:
    session = Session(*row)
    return replace(
        session,
        phase=Phase(session.phase),
        old_dialect=bool(session.old_dialect),
        authenticated=bool(session.authenticated),
        job_state=JobState(session.job_state) if session.job_state else None,
    )


def _get(db: sqlite3.Connection, name: str) -> Session:
    row = db.execute(
        f"SELECT {_COLUMNS} FROM sessions WHERE name = ?",  # noqa: S608  (a constant)
        (name,),
    ).fetchone()
    if row is None:
        raise RefusedError("unknown-name")
    return _session(row)


def _live(db: sqlite3.Connection, name: str) -> Session:
    session = _get(db, name)
    if session.phase is Phase.GONE:
        raise RefusedError("gone")
    return session


def _end(
    db: sqlite3.Connection,
    which: str,
    values: tuple[Any, ...],
    reason: str,
    told: str | None = None,
) -> None:
    """Why a job was said to be over is kept for the page; why it waited is not."""
    db.execute(
        f"UPDATE sessions SET phase = 3, ended = ?, reason = ?, lapsed = NULL,"  # noqa: S608
        " job_reason = coalesce(?, CASE job_state WHEN 'gone' THEN job_reason END)"
        f" WHERE phase < 3 AND {which}",
        (time.time(), reason, told, *values),
    )


def _check_pending(db: sqlite3.Connection, which: str, values: tuple[str, ...], most: int) -> None:
    (pending,) = db.execute(
        f"SELECT count(*) FROM sessions WHERE {which} AND phase < 2"  # noqa: S608
        " AND job_state IS NOT 'gone'",
        values,
    ).fetchone()
    if pending >= most:
        raise RefusedError("limit")
