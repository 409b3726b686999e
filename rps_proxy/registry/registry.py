"""The registry: every session's name, phase and address, in one SQLite table.

Writes go through `GroupCommit`, and return once they are on disk. Reads use a second connection: with a
write-ahead log neither waits for the other.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rps_core.errors import ServiceError
from rps_core.node.agent.call_files import claim_digest
from rps_proxy.refusals import BusyError, Refusal, RefusedError
from rps_proxy.registry.expiry import Kept, expire
from rps_proxy.registry.names import new_name
from rps_proxy.registry.pools import make_room
from rps_proxy.registry.rows import COLUMNS, end, get, get_live, session_of
from rps_proxy.registry.schema import SCHEMA_VERSION, bring_up_to_date, connect
from rps_proxy.registry.session import JobReport, Phase, Request, Session
from rps_proxy.registry.writer import GroupCommit


@dataclass(frozen=True, slots=True)
class Issued:
    """A new name, and the names that were ended to make room for it."""

    name: str
    made_room: list[str]


class Registry:
    """The table of sessions. Use it from one event loop; `close` ends the writer.

    Coroutines change it, and return once the change is committed.

    Raises:
        RefusedError: The rules forbid a change.
        BusyError: The file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        try:
            writing = connect(path, 5.0)
            bring_up_to_date(writing, path)
            self._reader = connect(path, 0.2)  # the event loop waits meanwhile
        except sqlite3.Error as error:
            raise ServiceError(
                f"Cannot open the registry {path}: {error}", what_to_do(path)
            ) from error
        self._writer = GroupCommit(writing)
        self.draining = False  # then `issue` refuses: `draining`

    def close(self) -> None:
        """Commit what is under way and close the file."""
        self._writer.close()
        self._reader.close()

    def find(self, name: str) -> Session | None:
        """Return a session, ended ones included; None: the name is unknown."""
        rows = self._read(
            f"SELECT {COLUMNS} FROM sessions WHERE name = ?",  # noqa: S608  (a constant)
            (name,),
        )
        return session_of(rows[0]) if rows else None

    def ready(self) -> list[Session]:
        """Return the redeemed sessions that have not ended, lapsed ones included."""
        return self.every([Phase.READY])

    def every(self, phases: Iterable[Phase]) -> list[Session]:
        """Return the sessions in these phases, newest first."""
        wanted = [int(phase) for phase in phases]
        rows = self._read(
            f"SELECT {COLUMNS} FROM sessions WHERE phase IN"  # noqa: S608  (constants)
            f" ({', '.join('?' * len(wanted))}) ORDER BY created DESC",
            wanted,
        )
        return [session_of(row) for row in rows]

    def unfinished(self, cluster: str) -> list[Session]:
        """Return the cluster's sessions whose job is not known to have ended."""
        rows = self._read(
            f"SELECT {COLUMNS} FROM sessions WHERE phase IN (0, 1, 2) AND cluster = ?"  # noqa: S608
            " AND coalesce(job_id, run_id) IS NOT NULL AND job_state IS NOT 'gone'",
            (cluster,),
        )
        return [session_of(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Return the number of sessions in each phase, by its lower-case name."""
        found = dict(self._read("SELECT phase, count(*) FROM sessions GROUP BY phase"))
        return {phase.name.lower(): found.get(phase, 0) for phase in Phase}

    def clusters(self) -> list[tuple[str | None, str, int]]:
        """Return cluster, lower-case name of a phase, and number of sessions."""
        rows = self._read("SELECT cluster, phase, count(*) FROM sessions GROUP BY cluster, phase")
        return [(cluster, Phase(phase).name.lower(), n) for cluster, phase, n in rows]

    def satellite_routes(self, before: float) -> list[str]:
        """Return the satellite sessions that were redeemed earlier than `before`."""
        rows = self._read(
            "SELECT name FROM sessions WHERE phase = 2 AND satellite = 1 AND redeemed < ?",
            (before,),
        )
        return [name for (name,) in rows]

    def linked(self, job_id: str) -> list[str]:
        """Return the names of live satellite sessions that are linked to that job.

        Several, if clusters share the service: a satellite call does not name the cluster.
        """
        rows = self._read(
            "SELECT name FROM sessions WHERE job_id = ? AND phase < 3 AND satellite = 1",
            (job_id,),
        )
        return [name for (name,) in rows]

    def _read(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._reader.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise BusyError(str(error)) from error

    async def write_nothing(self) -> None:
        """Write without a change. Raises BusyError if the registry is not writable."""
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
    ) -> Issued:
        """Add a new name, within the limits of `pools.make_room`.

        Refused: `limit`, `draining`.
        """
        if self.draining:
            raise RefusedError(Refusal.DRAINING)

        def change(db: sqlite3.Connection) -> Issued:
            now = time.time()
            made_room = make_room(db, request, most_per_source, most_per_user, now)
            columns = (
                claim_digest(claim), request.cluster, request.scheduler, request.user,
                request.source, request.authenticated, request.satellite, now,
            )  # fmt: skip
            while True:
                name = new_name()
                added = db.execute(
                    "INSERT OR IGNORE INTO sessions"
                    " (name, claim, cluster, scheduler, user, source, authenticated, satellite,"
                    " created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (name, *columns),
                )
                if added.rowcount:
                    return Issued(name, made_room)

        return await self._writer.write(change)

    async def link(self, name: str, job_id: str, *, once: bool = False) -> Session:
        """Note the job of a session.

        Refused: `gone`; `already-linked`, to another job or, with `once`, to any.
        """

        def change(db: sqlite3.Connection) -> Session:
            session = get_live(db, name)
            if session.job_id not in ((None,) if once else (None, job_id)):
                raise RefusedError(Refusal.ALREADY_LINKED)
            db.execute(
                "UPDATE sessions SET job_id = ?, phase = max(phase, ?) WHERE name = ?",
                (job_id, Phase.LINKED, name),
            )
            return get(db, name)

        return await self._writer.write(change)

    async def redeem(
        self,
        name: str,
        address: str,
        port: int,
        run_id: str | None,
        *,
        origins: tuple[str, ...] = (),
        once: bool = False,
    ) -> Session:
        """Make the session ready at `address:port`; a repeated call succeeds too.

        Refused: `gone`; `already-redeemed`, with other arguments or, with `once`, in any case.
        """

        def change(db: sqlite3.Connection) -> Session:
            session = get_live(db, name)
            if session.phase is Phase.READY:
                before = (session.address, session.port, session.run_id, session.origins)
                if once or before != (address, port, run_id, origins):
                    raise RefusedError(Refusal.ALREADY_REDEEMED)
                if session.lapsed is None:
                    return session
            db.execute(
                "UPDATE sessions SET phase = ?, address = ?, port = ?, run_id = ?, origins = ?,"
                " lapsed = NULL, redeemed = coalesce(redeemed, ?) WHERE name = ?",
                (Phase.READY, address, port, run_id, " ".join(origins), time.time(), name),
            )
            return get(db, name)

        return await self._writer.write(change)

    async def note_jobs(self, reports: Mapping[str, JobReport]) -> int:
        """Note reported job states, by session name; return how many were noted.

        Ignored are reports on ended sessions, on another job than the session's, and `queued` after
        `running`: it is older, except of a satellite session, whose reports come from one sender.
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
                " AND (satellite = 1 OR NOT (job_state IS 'running' AND ?1 = 'queued'))",
                rows,
            )
            return db.total_changes - before

        return await self._writer.write(change)

    def lapse(self, names: Iterable[str]) -> Awaitable[None]:
        """Note that the leases ran out, in order before the changes of later calls."""
        rows = [(time.time(), name) for name in names]

        def change(db: sqlite3.Connection) -> None:
            db.executemany(
                "UPDATE sessions SET lapsed = ? WHERE name = ? AND phase = 2 AND lapsed IS NULL",
                rows,
            )

        return self._writer.write(change)

    async def revive(self, name: str) -> Session:
        """Note the renewal of a lapsed session. Refused: `gone`."""

        def change(db: sqlite3.Connection) -> Session:
            get_live(db, name)
            db.execute("UPDATE sessions SET lapsed = NULL WHERE name = ?", (name,))
            return get(db, name)

        return await self._writer.write(change)

    async def revoke(
        self, name: str, reason: str, cause: str | None = None, notice: str | None = None
    ) -> Session:
        """End a session; an ended one keeps its reason.

        Args:
            name: The session.
            reason: Why, for its owner.
            cause: A word of docs/protocol.md, for its page.
            notice: The operator's text, for its page.
        """

        def change(db: sqlite3.Connection) -> Session:
            end(db, "name = ?", (name,), reason, cause, notice)
            return get(db, name)

        return await self._writer.write(change)

    async def destroy(self, name: str, address: str) -> Session:
        """End a satellite session by a call from `address`.

        Refused: `gone`; `wrong-address`: another address redeemed it.
        """

        def change(db: sqlite3.Connection) -> Session:
            session = get_live(db, name)
            if session.phase is Phase.READY and session.address != address:
                raise RefusedError(Refusal.WRONG_ADDRESS)
            end(db, "name = ?", (name,), "destroyed")
            return get(db, name)

        return await self._writer.write(change)

    async def expire(self, now: float, kept: Kept) -> None:
        """End and delete sessions, see `expiry.expire`."""
        await self._writer.write(lambda db: expire(db, now, kept))


def what_to_do(path: Path) -> str:
    """Return the advice for a registry that cannot be opened or read.

    A registry that merely belongs to another account must not be removed.
    """
    ours = os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True)
    if not ours or (path.exists() and not os.access(path, os.R_OK | os.W_OK, effective_ids=True)):
        return f"This account may not write to it. Run `chown {os.geteuid()} {path} && chmod 600 {path}`."
    return (
        "If the disk is full, free space. If the file is damaged, restore a copy (docs/operators.md) or "
        "remove it: the service then starts with an empty registry, and running sessions lose their URLs."
    )
