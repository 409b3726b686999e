"""Print a session's token for programs: `rps url --api`."""

from __future__ import annotations

import json

import click

from rps_core.sessions.session import tunnel_json
from rps_core.state.record import SessionRecord


def print_token(record: SessionRecord, token: str, *, as_json: bool) -> None:
    """Print the token on stdout, and on stderr what it is."""
    if as_json:
        tunnel = tunnel_json(record)
        found = {"name": record.name, "url": record.url, "token": token, "tunnel": tunnel}
        click.echo(json.dumps(found))
        return
    click.echo(
        f"This token is a secret: it opens {record.called} for every program that has it, until the session "
        f"ends.\nThe server is {record.url}. VS Code takes both in one: {record.url}?token=TOKEN\n"
        "Other programs send it as a header: Authorization: token TOKEN",
        err=True,
    )
    click.echo(token)
