"""Expiry: end sessions that were not used or renewed in time; delete old rows."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from rps_proxy.registry.rows import end

# Seconds for which a session may still be redeemed or renewed after its job was reported as ended: the report
# may be wrong.
JOB_ENDED = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How long sessions are kept, in seconds, and how many; 0: no limit of the number."""

    pending: float  # not redeemed, since they were issued
    lapsed: float  # without a renewal, since the lease ran out
    ended: float  # rows of ended sessions
    most_lapsed_per_source: int = 0
    most_lapsed_per_user: int = 0  # of an authenticated user
    most_ended: int = 0  # those that were redeemed before others


def expire(db: sqlite3.Connection, now: float, kept: Kept) -> None:
    """End and delete what `kept` does not cover; `now`: seconds since 1970."""
    job_ended = "(phase < 2 OR lapsed IS NOT NULL) AND job_state = 'gone' AND job_seen < ?"
    end(db, job_ended, (now - JOB_ENDED,), "its job has ended")
    end(db, "phase < 2 AND created < ?", (now - kept.pending,), "never used")
    end(db, "phase = 2 AND lapsed < ?", (now - kept.lapsed,), "not renewed for too long")
    for authenticated, whose, most in (
        (0, "source", kept.most_lapsed_per_source),
        (1, "user", kept.most_lapsed_per_user),
    ):
        if most:
            end(db, f"name IN ({_beyond(whose)})", (authenticated, most), "too many lapsed")
    db.execute("DELETE FROM sessions WHERE phase = 3 AND ended < ?", (now - kept.ended,))
    if kept.most_ended:
        db.execute(
            "DELETE FROM sessions WHERE name IN (SELECT name FROM sessions WHERE phase = 3"
            " ORDER BY redeemed IS NULL, ended DESC LIMIT -1 OFFSET ?)",
            (kept.most_ended,),
        )


def _beyond(whose: str) -> str:
    """Select the lapsed sessions beyond a number for each value of the column `whose`."""
    return (
        f"SELECT name FROM (SELECT name, row_number() OVER (PARTITION BY {whose} ORDER BY lapsed DESC)"  # noqa: S608
        " AS place FROM sessions WHERE phase = 2 AND lapsed IS NOT NULL AND authenticated = ?)"
        " WHERE place > ?"
    )
