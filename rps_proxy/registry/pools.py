"""Limits of pending names: the pools that a new name counts in, and room in them."""

from __future__ import annotations

import sqlite3

from rps_proxy.refusals import Refusal, RefusedError
from rps_proxy.registry.rows import end
from rps_proxy.registry.session import Request

# Seconds after which a name without a job makes room in a full pool. A launcher links its job as soon as it
# is submitted; with `limits.issues_per_minute`, one address cannot fill its pool in this time.
UNLINKED = 120.0
# The same for satellite sessions: their clients need not link a job, which may wait in the queue.
UNLINKED_SATELLITE = 86400.0
MADE_ROOM = "it had no job, and other names of the address or user needed its place"


def make_room(
    db: sqlite3.Connection, request: Request, most_per_source: int, most_per_user: int, now: float
) -> list[str]:
    """Make room for a new name: end one without a job if a pool is full.

    Args:
        db: The connection, within a transaction.
        request: The request for the name.
        most_per_source: Pending names of an address; 0: no limit.
        most_per_user: Pending names of a user; 0: no limit.
        now: Seconds since 1970.

    Returns:
        The names that were ended.

    Raises:
        RefusedError: `limit`: each name of the pool has a job or is new.
    """
    ended: list[str] = []
    for which, values, most in _pools(request, most_per_source, most_per_user):
        # The first pool is within the second: its name makes room in both.
        if most and _is_full(db, which, values, most) and not ended:
            ended = [_without_job(db, which, values, now)]
    for name in ended:
        end(db, "name = ?", (name,), MADE_ROOM)
    return ended


def _pools(
    request: Request, most_per_source: int, most_per_user: int
) -> list[tuple[str, tuple[str, ...], int]]:
    """Return the pools of a new name, smallest first: SQL condition, values, limit.

    An authenticated user has a pool of their own for all addresses, and counts in no other. A user who is
    only named has one within the address's: a client that uses another's name locks that user out only there.
    Satellite sessions have another pool at each address, since they make room later.
    """
    if request.authenticated:
        return [("user = ? AND authenticated = 1", (request.user or "",), most_per_user)]
    source = "source = ? AND authenticated = 0 AND satellite = ?"
    values: tuple[str, ...] = (request.source, "1" if request.satellite else "0")
    pools = [(source, values, most_per_source)]
    if request.user is not None:
        pools.insert(0, (f"{source} AND user = ?", (*values, request.user), most_per_user))
    return pools


def _is_full(db: sqlite3.Connection, which: str, values: tuple[str, ...], most: int) -> bool:
    (pending,) = db.execute(
        f"SELECT count(*) FROM sessions WHERE {which} AND phase < 2"  # noqa: S608
        " AND job_state IS NOT 'gone'",
        values,
    ).fetchone()
    return bool(pending >= most)


def _without_job(db: sqlite3.Connection, which: str, values: tuple[str, ...], now: float) -> str:
    """Return the name that makes room: the oldest of the user with the most of them."""
    row = db.execute(
        "SELECT name FROM (SELECT name, created, count(*) OVER (PARTITION BY user) AS same_user"  # noqa: S608
        f" FROM sessions WHERE {which} AND phase = 0 AND job_state IS NULL"
        " AND created < CASE WHEN satellite THEN ? ELSE ? END)"
        " ORDER BY same_user DESC, created LIMIT 1",
        (*values, now - UNLINKED_SATELLITE, now - UNLINKED),
    ).fetchone()
    if row is None:
        raise RefusedError(Refusal.LIMIT)
    return str(row[0])
