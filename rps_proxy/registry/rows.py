"""One session's row: read, check and end it within the caller's transaction."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from typing import Any

from rps_proxy.refusals import Refusal, RefusedError
from rps_proxy.registry.session import JobState, Phase, Session

COLUMNS = ", ".join(Session.__dataclass_fields__)


def session_of(row: tuple[Any, ...]) -> Session:
    """Convert a row with COLUMNS to a session."""
    session = Session(*row)
    return replace(
        session,
        phase=Phase(session.phase),
        satellite=bool(session.satellite),
        authenticated=bool(session.authenticated),
        job_state=JobState(session.job_state) if session.job_state else None,
        origins=tuple(str(session.origins).split()),
    )


def get(db: sqlite3.Connection, name: str) -> Session:
    """Read a session. Refused: `unknown-name`."""
    row = db.execute(
        f"SELECT {COLUMNS} FROM sessions WHERE name = ?",  # noqa: S608  (a constant)
        (name,),
    ).fetchone()
    if row is None:
        raise RefusedError(Refusal.UNKNOWN_NAME)
    return session_of(row)


def get_live(db: sqlite3.Connection, name: str) -> Session:
    """Read a session that has not ended. Refused: `unknown-name`, `gone`."""
    session = get(db, name)
    if session.phase is Phase.GONE:
        raise RefusedError(Refusal.GONE)
    return session


def end(
    db: sqlite3.Connection,
    which: str,
    values: tuple[Any, ...],
    reason: str,
    cause: str | None = None,
    notice: str | None = None,
) -> None:
    """End the sessions for which the SQL condition `which` holds.

    The page keeps the word for why the job ended, not the one for why it waited; `cause` replaces it.
    """
    db.execute(
        f"UPDATE sessions SET phase = 3, ended = ?, reason = ?, notice = ?, lapsed = NULL,"  # noqa: S608
        " job_reason = coalesce(?, CASE job_state WHEN 'gone' THEN job_reason END)"
        f" WHERE phase < 3 AND {which}",
        (time.time(), reason, notice, cause, *values),
    )
