"""Print one session as a list of fields: `rps status`, `rps start --info`."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click

from rps_core.display.colour import Colours
from rps_core.display.prose import echo
from rps_core.display.wording import reason_in_full
from rps_core.protocol import Cause
from rps_core.sessions import status as sessions
from rps_core.sessions.session import SessionView
from rps_core.state.record import SessionRecord
from rps_core.state.store import Store
from rps_core.text import plain, roughly

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext

_WIDTH = len("environment: ")  # columns of the longest name of a field


def print_info(record: SessionRecord, here: ClusterContext, store: Store) -> None:
    """Print the session's fields with its script and log: `rps start --info`."""
    print_session(sessions.survey([record], here, store)[0], err=True)
    click.echo(f"{'script:':<{_WIDTH}}{store.files(record.name).script}", err=True)
    click.echo(f"{'log:':<{_WIDTH}}{store.files(record.name).log_file}", err=True)


def print_session(session: SessionView, *, err: bool = False) -> None:
    """Print the session, one field per line."""
    colours = Colours(sys.stderr if err else sys.stdout)
    record = session.record
    created = datetime.fromtimestamp(record.created).astimezone()
    for label, value in (
        ("name", record.name),
        ("label", record.label),
        ("state", session.state),
        ("reason", reason_in_full(session)),
        ("advice", session.advice),
        ("cause", None if session.cause == session.state else session.cause),
        ("service", session.service_away),
        ("url", session.url),
        ("cluster", f"{record.cluster} ({record.scheduler})"),
        ("elsewhere", record.cluster_identity if session.cause == Cause.ELSEWHERE else None),
        ("job", record.job_id),
        ("scheduler", " | ".join(line.strip() for line in record.scheduler_words)),
        ("node", session.node_name or session.node),
        ("created", created.strftime("%Y-%m-%d %H:%M:%S %Z")),
        ("time left", None if session.time_left is None else roughly(session.time_left)),
        ("app", record.app),
        ("directory", record.directory),
        ("environment", record.environment.get("line")),
    ):
        if value:
            text = plain(str(value))
            shown = colours.state(text) if label == "state" else text
            echo(f"{label + ':':<{_WIDTH - 1}} {shown}", err=err, indent=" " * _WIDTH)
