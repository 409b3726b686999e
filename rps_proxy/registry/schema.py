"""The registry's file: its table, the migrations, and how it is opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from rps_core.errors import ServiceError

SCHEMA_VERSION = 7

_SCHEMA = """
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
"""

# From each version to the next; a new registry gets all of them.
_MIGRATIONS = {
    2: """
ALTER TABLE sessions ADD COLUMN old_dialect INTEGER NOT NULL DEFAULT 0; -- issued without a claim
ALTER TABLE sessions ADD COLUMN authenticated INTEGER NOT NULL DEFAULT 0; -- `user` was proved
ALTER TABLE sessions ADD COLUMN job_state TEXT;    -- what was last said of the job: see JobState
ALTER TABLE sessions ADD COLUMN job_reason TEXT;   -- why it waits or ended, in plain words
ALTER TABLE sessions ADD COLUMN job_estimate REAL; -- when the scheduler expects it to start
ALTER TABLE sessions ADD COLUMN job_seen REAL;     -- when that was said
CREATE INDEX by_job ON sessions (job_id) WHERE phase < 3;
""",
    3: """
ALTER TABLE sessions ADD COLUMN redeemed REAL;
CREATE INDEX pending_of_user ON sessions (user) WHERE phase < 2 AND authenticated = 1;
CREATE INDEX old_routes ON sessions (redeemed) WHERE phase = 2 AND old_dialect = 1;
""",
    4: """
ALTER TABLE sessions ADD COLUMN own_job TEXT; -- the job that the scheduler showed to be this session's
""",
    5: """
ALTER TABLE sessions ADD COLUMN origins TEXT NOT NULL DEFAULT ''; -- with a space between them
""",
    6: """
ALTER TABLE sessions ADD COLUMN notice TEXT; -- of the operator who ended it, for its page
UPDATE sessions SET job_reason = NULL; -- so far in anybody's words; from here on one of the protocol's
""",
    7: """
DROP INDEX old_routes;
ALTER TABLE sessions RENAME COLUMN old_dialect TO satellite;
CREATE INDEX satellite_routes ON sessions (redeemed) WHERE phase = 2 AND satellite = 1;
""",
}


def connect(path: Path, patience: float) -> sqlite3.Connection:
    """Open the file; a statement waits up to `patience` seconds for other connections."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=patience)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # an answered change must survive a power failure
    return db


def bring_up_to_date(db: sqlite3.Connection, path: Path) -> None:
    """Create the table, or apply the missing migrations, all of them or none.

    Raises:
        ServiceError: a later version wrote the file.
    """
    db.execute("BEGIN IMMEDIATE")  # two processes must not both do this
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise ServiceError(
                f"Cannot open the registry {path}: a later version of rps wrote it (format {version}; "
                f"this one reads up to {SCHEMA_VERSION}).",
                "Run the version that wrote it, or set another `directory`.",
            )
        steps = [_SCHEMA] if version == 0 else []
        steps += [step for to, step in _MIGRATIONS.items() if to > version]
        for statement in _statements("".join(steps)):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _statements(script: str) -> Iterator[str]:
    """Yield the statements one by one: `executescript` would commit the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
