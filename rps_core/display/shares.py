"""Print the links by which others use a session: `rps share`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from rps_core.sessions.sharing import Share
from rps_core.state.record import SessionRecord
from rps_core.text import roughly


def print_new(share: Share, *, as_json: bool) -> None:
    """Print a new link on stdout, and on stderr what it permits."""
    name = share.record.name
    if as_json:
        click.echo(json.dumps({**_as_json(share), "url": share.url}))
        return
    click.echo(share.url)
    click.echo(
        f"Share {share.id} of {share.record.called} works until {_clock(share.until)}. Who opens it can do "
        "all that you can,\nand acts in your name: run programs, read, change and delete files, submit jobs. "
        "Give it only to\npeople you trust that far. "
        f"`rps share {name} --revoke {share.id}` takes it back.",
        err=True,
    )


def print_list(record: SessionRecord, shares: Sequence[Share], *, as_json: bool) -> None:
    """Print the links that work, without their secrets."""
    if as_json:
        click.echo(json.dumps([_as_json(share) for share in shares], indent=1))
        return
    if not shares:
        click.echo(f"{record.called} has no shares.", err=True)
        return
    click.echo(f"{'SHARE':<10}{'CREATED':<18}{'UNTIL':<18}LEFT")
    for share in shares:
        times = f"{_clock(share.created):<18}{_clock(share.until):<18}{roughly(share.left)}"
        click.echo(f"{share.id:<10}{times}")


def print_revoked(record: SessionRecord, shares: Sequence[Share], *, as_json: bool) -> None:
    """Print which links were taken back."""
    if as_json:
        click.echo(json.dumps([_as_json(share) for share in shares], indent=1))
        return
    for share in shares:
        click.echo(f"{record.called}: share {share.id} is taken back", err=True)
    if not shares:
        click.echo(f"{record.called} has no shares.", err=True)


def _as_json(share: Share) -> dict[str, Any]:
    return {
        "name": share.record.name,
        "share": share.id,
        "created": datetime.fromtimestamp(share.created, UTC).isoformat(timespec="seconds"),
        "until": datetime.fromtimestamp(share.until, UTC).isoformat(timespec="seconds"),
    }


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M")
