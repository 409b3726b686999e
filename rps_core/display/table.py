"""`rps list`: print the records at once, and the states once they are known."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from rps_core.display.colour import BOLD, DIM, Colours
from rps_core.display.live import LiveRegion
from rps_core.display.wording import reason_in_full
from rps_core.protocol import Cause
from rps_core.sessions.actions import survey_lazily
from rps_core.sessions.elsewhere import place
from rps_core.sessions.session import SessionView
from rps_core.state.lookup import end_of
from rps_core.state.record import SessionRecord
from rps_core.text import plain, roughly
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.sessions.application import Application

LAST_DAYS = 3.0  # days for which ended sessions are listed without --all
LAST_ENDED = 10  # ended sessions that are listed without --all
_UNKNOWN_YET = "..."
_SHORTEST_NAME = 12
_SHORTEST_REASON = 20
_LONGEST_DIRECTORY = 30
# The columns that are left out of a narrow terminal, the least important first. CAUSE summarizes REASON.
_LEFT_OUT_FIRST = ("DIRECTORY", "CLUSTER", "JOB", "APP")
_LEFT_OUT_NEXT = ("AGE", "NODE", "LEFT")


def print_list(app: Application, *, everything: bool) -> None:
    """Print the table; on a terminal first from the records, then with all states."""
    records = list(app.store.records())
    living = [record for record in records if record.ended is None]
    ended = sorted((r for r in records if r.ended is not None), key=end_of, reverse=True)
    shown = ended if everything else _last_of(ended)
    if not living and not shown:
        click.echo("No sessions. `rps start` starts one.", err=True)
        _print_left_out(len(ended))
        return
    area = LiveRegion(sys.stdout)
    if area.live and living:
        first = [_from_the_record(record) for record in (*living, *shown)]
        area.draw([line.text for line in _lines(first, area.columns)], clip=True)
    try:
        found = survey_lazily(app, [*living, *shown])
    finally:
        area.clear()
    print_table(found)
    _print_left_out(len(ended) - len(shown))


def _last_of(ended: Sequence[SessionRecord]) -> Sequence[SessionRecord]:
    since = time.time() - LAST_DAYS * 86400
    return [record for record in ended if end_of(record) > since][:LAST_ENDED]


def _print_left_out(number: int) -> None:
    if number:
        sessions = "1 ended session is" if number == 1 else f"{number} ended sessions are"
        click.echo(f"{sessions} not listed: `rps list --all`.", err=True)


def print_table(found: Sequence[SessionView]) -> None:
    """Print the sessions, one line each, cut to the terminal's width: first those that have not ended."""
    colours = Colours(sys.stdout)
    for line in _lines(sorted(found, key=_is_over), LiveRegion(sys.stdout).columns):
        click.echo(line.painted(colours), color=colours.on)
    silent = {plain(session.service_away) for session in found if session.service_away}
    for words in sorted(silent):
        click.echo(f"Could not query the proxy service: {words}", err=True)


def _is_over(session: SessionView) -> bool:
    return session.over


def _from_the_record(record: SessionRecord) -> SessionView:
    state = record.outcome or "ended" if record.ended else _UNKNOWN_YET
    return SessionView(
        record=record, state=state, reason=record.reason, cause=record.cause, url=None
    )


def _cells(session: SessionView) -> dict[str, str]:
    record = session.record
    cells = {
        "NAME": record.name,
        "LABEL": record.label or "",
        "STATE": session.state,
        "CAUSE": "" if session.cause in (None, session.state) else str(session.cause),
        "CLUSTER": place(record) if session.cause == Cause.ELSEWHERE else record.cluster,
        "JOB": record.job_id or "",
        "NODE": session.node or "",
        "APP": record.app,
        "DIRECTORY": _short_path(record.directory),
        "AGE": roughly(time.time() - record.created),
        "LEFT": "" if session.time_left is None else roughly(session.time_left),
        "REASON": reason_in_full(session),
    }
    return {name: plain(text) for name, text in cells.items()}


def _short_path(path: str) -> str:
    """Return a path with `~` for the home directory, and without its middle if it is long."""
    home = os.path.expanduser("~")  # noqa: PTH111 - not an error without a home
    if path == home or path.startswith(f"{home}/"):
        path = f"~{path[len(home) :]}"
    return path if len(path) <= _LONGEST_DIRECTORY else f"…{path[1 - _LONGEST_DIRECTORY :]}"


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the table. `state`: of its session, empty for the titles; `column`: where it begins."""

    text: str
    state: str = ""
    column: int = 0

    def painted(self, colours: Colours) -> str:
        """Return the line with the state in its colour; an ended session's is dim."""
        end = self.column + len(self.state)
        before, state, after = (
            self.text[: self.column],
            self.text[self.column : end],
            self.text[end:],
        )
        if not self.state:
            return colours.paint(self.text, BOLD)
        if self.state in ("ended", "failed"):
            before, after = colours.paint(before, DIM), colours.paint(after, DIM)
        return f"{before}{colours.state(self.state, state)}{after}"


def _lines(found: Sequence[SessionView], width: int | None) -> list[_Line]:
    """Format the table for `width` columns.

    Columns that do not fit are left out, the least important first. Names are shortened last: commands
    accept a unique prefix.
    """
    rows = [_cells(session) for session in found]
    widths = {
        name: max(len(name), *(len(row[name]) for row in rows))
        for name in rows[0]
        if any(row[name] for row in rows)
    }
    widths = _fitting(widths, width)
    columns = list(widths)
    at = sum(widths[name] + 2 for name in columns[: columns.index("STATE")])
    lines = [
        "  ".join(row[name][:size].ljust(size) for name, size in widths.items())
        for row in ({name: name for name in widths}, *rows)
    ]
    titles, *others = [line[:width].rstrip() for line in lines]
    shown = [_Line(text, one.state, at) for text, one in zip(others, found, strict=True)]
    return [_Line(titles), *shown]


def _fitting(widths: dict[str, int], width: int | None) -> dict[str, int]:
    """Return the columns that fit into `width`, with the name's shortened where even these do not."""
    if width is None:
        return widths

    def missing(columns: Mapping[str, int]) -> int:
        # A readable part of the reason, or none.
        needed = [min(n, _SHORTEST_REASON) if c == "REASON" else n for c, n in columns.items()]
        return sum(needed) + 2 * (len(needed) - 1) - width

    chosen = widths
    for reason in (True, False):
        chosen = {name: size for name, size in widths.items() if reason or name != "REASON"}
        for name in _LEFT_OUT_FIRST if reason else (*_LEFT_OUT_FIRST, *_LEFT_OUT_NEXT):
            if missing(chosen) <= 0:
                return chosen
            chosen.pop(name, None)
        if missing(chosen) <= 0:
            return chosen
    return {**chosen, "NAME": max(_SHORTEST_NAME, chosen["NAME"] - missing(chosen))}
