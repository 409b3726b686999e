"""Carry out the commands on sessions, without printing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rps_core.errors import NotFoundError, RpsError, UsageError
from rps_core.proxy_client.client import client_of
from rps_core.sessions import end as ending
from rps_core.sessions import status as sessions
from rps_core.sessions.session import SessionView, submitted
from rps_core.state.record import Secrets, SessionRecord

if TYPE_CHECKING:
    from rps_core.sessions.application import Application
    from rps_core.state.store import Store


def surveyed(app: Application, *, everything: bool) -> list[SessionView]:
    """Return the state of the living sessions, or with `everything` of all."""
    records = [r for r in app.store.records() if everything or r.ended is None]
    return survey_lazily(app, records)


def survey_lazily(app: Application, records: Sequence[SessionRecord]) -> list[SessionView]:
    """Return the state of sessions; find the cluster only if one is living."""
    here = None if all_ended(records) else app.here
    return sessions.survey(records, here, app.store)


def all_ended(records: Sequence[SessionRecord]) -> bool:
    """Return whether every record is of an ended session."""
    return all(record.ended is not None for record in records)


def one(app: Application, name: str | None) -> SessionView:
    """Return the state of one session, named by a prefix."""
    from rps_core.state import lookup

    return survey_lazily(app, [lookup.find(app.store, name)])[0]


def visitable(app: Application, name: str | None) -> SessionView:
    """Return a session with its URL.

    Raises:
        NotFoundError: it has ended.
    """
    return _visitable(app, name)[0]


def openable(
    app: Application, name: str | None, *, new: bool, other: str | None = None
) -> SessionView:
    """Return a session with a URL that opens it: a login link that works once is not used yet.

    Args:
        app: the application.
        name: the session's name.
        new: make such a link in any case; those before it work no more.
        other: the application of the session that the URL opens; None: the one it was started with.

    Raises:
        NotFoundError: it has ended, or has no such application.
    """
    session, secrets = _visitable(app, name)
    files = app.store.files(session.record.name)
    path = None
    if other is not None:
        from rps_core.sessions.applications import path_in
        from rps_core.state.visit import visit_url

        path = path_in(session.record, files, other)
        session = replace(session, url=visit_url(session.record, files, secrets, path=path))
    if session.record.link == "once" and (new or "token=" not in str(session.url)):
        from rps_core.state.visit import new_url

        return replace(session, url=new_url(session.record, files, secrets, path=path))
    return session


def api_token(app: Application, name: str | None) -> tuple[SessionRecord, str]:
    """Return a session, and its token for programs.

    Raises:
        NotFoundError: it has ended.
    """
    session, secrets = _visitable(app, name)
    return session.record, secrets.token


def _visitable(app: Application, name: str | None) -> tuple[SessionView, Secrets]:
    from rps_core.state import lookup

    record = lookup.find(app.store, name)
    session = submitted(record, app.store)
    secrets = app.store.files(record.name).secrets()
    if record.ended is not None or secrets is None:
        raise NotFoundError(
            f"{record.name} has ended" + (f": {record.reason}" if record.reason else ""),
            "`rps start` starts another.",
        )
    if record.own_service:  # starts the personal service, without which the URL leads nowhere
        client_of(record, None)
    return session, secrets


def stop(
    app: Application, name: str | None, *, everything: bool
) -> tuple[list[SessionView], list[Exception]]:
    """Stop one session, or all living ones of this cluster.

    One that cannot be stopped does not keep the others.

    Returns:
        The stopped sessions, and the errors of the others.
    """
    from rps_core.state import lookup

    if everything and name is not None:
        raise UsageError(
            "--all and NAME cannot be combined: --all stops every session", "Give only one of them."
        )
    if not everything:
        record = lookup.find(app.store, name)
        if record.ended is not None:
            return sessions.survey([record], None, app.store), []
        return [ending.stop(record, app.here, app.store)], []
    living = [record for record in app.store.records() if record.ended is None]
    if not living:
        return [], []
    here = app.here
    stopped = []
    failures: list[Exception] = []
    for record in living:
        try:
            ending.check_is_here(record, here)
            stopped.append(ending.stop(record, here, app.store))
        except (RpsError, OSError) as error:
            failures.append(error)
    return stopped, failures


def forget(store: Store, names: Sequence[str]) -> list[SessionRecord]:
    """Remove these ended sessions, or without names all that have ended; return their records.

    Raises:
        NotFoundError: there is no session of one of the names; nothing was removed.
        UsageError: one of them has not ended; nothing was removed.
        RpsError: one could not be removed.
    """
    from rps_core.state import lookup

    if names:
        found = {record.name: record for record in (lookup.find(store, name) for name in names)}
    else:
        found = {record.name: record for record in store.records() if record.ended is not None}
    for record in found.values():
        if record.ended is None:
            raise UsageError(
                f"Cannot forget {record.called}: it has not ended",
                f"`rps stop {record.name}` ends it; `rps list` records the end of one whose job is gone.",
            )
    for record in found.values():
        files = store.files(record.name)
        files.remove_secrets()
        store.remove(record.name)
        if files.directory.exists():
            raise RpsError(
                f"Cannot remove all of {files.directory}", "Remove what is left of it yourself."
            )
    return list(found.values())
