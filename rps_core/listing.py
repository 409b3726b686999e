"""`rps list`: the records at once, the living sessions' states as soon as they are known."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from rps_core import paths, sessions, shell
from rps_core.record import Record
from rps_core.screen import Area
from rps_core.session import Session
from rps_core.store import Store
from rps_core.wording import duration, plain, reason_in_full

if TYPE_CHECKING:
    from rps_core.cluster import Here

LAST_DAYS = 3.0  # for how long a session that is over is shown without being asked for
_UNKNOWN_YET = "..."
_SHORTEST_NAME = 12
_SHORTEST_REASON = 20


def print_list(find: Callable[[], tuple[Here, Store]], *, everything: bool) -> None:
    """The table. On a terminal what the records tell stands there first, and is then filled in."""
    store = Store(paths.sessions_dir())
    since = None if everything else time.time() - LAST_DAYS * 86400
    records = [r for r in store.records() if r.ended is None or since is None or r.ended > since]
    if not records:
        click.echo("No sessions. `rps start` starts one.", err=True)
        return
    area = Area(sys.stdout)
    if area.live and not _over(records):
        area.draw(_lines([_from_the_record(r) for r in records], area.columns), clip=True)
    try:
        found = _as_they_are(records, find, store)
    finally:
        area.clear()
    print_table(found)


def surveyed(find: Callable[[], tuple[Here, Store]], *, everything: bool) -> list[Session]:
    """The living sessions, with `everything` the ended too, as `--json` gives them."""
    store = Store(paths.sessions_dir())
    records = [r for r in store.records() if everything or r.ended is None]
    return _as_they_are(records, find, store)


def print_table(found: Sequence[Session]) -> None:
    """The sessions, a line each; on a terminal no longer than that is wide."""
    for line in _lines(found, Area(sys.stdout).columns):
        click.echo(line)
    silent = {plain(session.service_away) for session in found if session.service_away}
    for words in sorted(silent):
        click.echo(f"Not known is what the service would say: {words}", err=True)


def _over(records: Sequence[Record]) -> bool:
    return all(record.ended is not None for record in records)


def _as_they_are(
    records: Sequence[Record], find: Callable[[], tuple[Here, Store]], store: Store
) -> list[Session]:
    """Where all are over, nobody need be asked, nor the cluster be known."""
    return sessions.survey(records, None if _over(records) else find()[0], store, shell.run)


def _from_the_record(record: Record) -> Session:
    state = record.outcome or "ended" if record.ended else _UNKNOWN_YET
    return Session(record=record, state=state, reason=record.reason, cause=record.cause, url=None)


def _cells(session: Session) -> dict[str, str]:
    record = session.record
    return {
        "NAME": record.name,
        "STATE": session.state,
        "CAUSE": "" if session.cause in (None, session.state) else str(session.cause),
        "CLUSTER": record.cluster,
        "JOB": record.job_id or "",
        "NODE": session.node or "",
        "LEFT": "" if session.time_left is None else duration(session.time_left),
        "REASON": plain(reason_in_full(session)),
    }


def _lines(found: Sequence[Session], width: int | None) -> list[str]:
    """The table; what does not fit into `width` columns is left out, the least needed first: names may be
    shortened wherever one gives them."""
    rows = [_cells(session) for session in found]
    widths = {
        name: max(len(name), *(len(row[name]) for row in rows))
        for name in rows[0]
        if any(row[name] for row in rows)
    }

    def missing() -> int:
        fixed = [size + 2 for name, size in widths.items() if name != "REASON"]
        return 0 if width is None else sum(fixed) - 2 - width

    for name in ("CLUSTER", "JOB", "NODE", "LEFT"):
        if missing() > 0:
            widths.pop(name, None)
    # A reason that can be read, or none: the cause tells the most of it in a word.
    if width is not None and -missing() - 2 < min(widths.get("REASON", 0), _SHORTEST_REASON):
        widths.pop("REASON", None)
    widths["NAME"] = max(_SHORTEST_NAME, widths["NAME"] - max(0, missing()))
    lines = [
        "  ".join(row[name][:size].ljust(size) for name, size in widths.items())
        for row in ({name: name for name in widths}, *rows)
    ]
    return [line[:width].rstrip() for line in lines]
