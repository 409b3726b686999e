"""`rps start --wait`, `rps wait`, `rps status --watch`: follow a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rps_core.diagnosis import causes
from rps_core.display.screen import Screen
from rps_core.errors import InterruptedByUserError, JobError, UsageError
from rps_core.protocol import Cause
from rps_core.sessions import follow as following
from rps_core.sessions import recover as recovery
from rps_core.sessions import status as sessions
from rps_core.sessions.elsewhere import elsewhere, place
from rps_core.sessions.follow import Progress
from rps_core.sessions.session import SessionView, come_back
from rps_core.state.record import SessionRecord
from rps_core.state.store import Store

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_core.sessions.application import Application


def follow(
    record: SessionRecord,
    here: ClusterContext,
    store: Store,
    screen: Screen,
    *,
    until_over: bool = False,
    timeout: float | None = None,
) -> SessionView:
    """Show the session's progress until it is ready or has ended.

    Args:
        record: the session.
        here: its cluster's context.
        store: the user's sessions.
        screen: where to show it.
        until_over: continue after it is ready, until it has ended.
        timeout: the limit in seconds, or None.

    Raises:
        InterruptedByUserError: Ctrl-C; the job continues.
    """
    try:
        with screen.resumable():
            session = following.follow(
                record, here, store, screen.show, until_over=until_over, timeout=timeout
            )
            if session.state == "ready" and not until_over:
                screen.ready(session)
    except KeyboardInterrupt:
        screen.interrupted()
        raise InterruptedByUserError(come_back(record)) from None
    finally:
        screen.done()
    return session


def carry(record: SessionRecord, here: ClusterContext, store: Store, screen: Screen) -> SessionView:
    """Follow a session to its end, while this command carries its personal service.

    Raises:
        InterruptedByUserError: Ctrl-C; the job continues, and its URL is dead until the service is back.
    """
    try:
        return follow(record, here, store, screen, until_over=True)
    except InterruptedByUserError as interrupted:
        raise InterruptedByUserError(
            f"{interrupted.message}\nIts URL does not answer while the service is down: "
            f"`rps status --watch --foreground {record.name}` carries it again."
        ) from None


def followed(
    app: Application,
    name: str | None,
    *,
    quiet: bool,
    until_over: bool = False,
    timeout: float | None = None,
    foreground: bool = False,
) -> SessionView:
    """Follow an existing session; an ended one is only shown.

    `foreground`: this command carries the session's personal service meanwhile.
    """
    from rps_core.state import lookup

    record = lookup.find(app.store, name)
    screen = Screen(quiet=quiet)
    if record.ended is not None:
        session = sessions.survey([record], None, app.store)[0]
        if until_over:
            screen.show(Progress.after(None, session))
            screen.done()
        return session
    away = elsewhere(record, app.here)
    if away is not None and away.cause == Cause.ELSEWHERE:
        raise UsageError(
            f"Cannot follow {record.name} from here: it runs on {place(record)}",
            f"Log in to that cluster, or use --cluster {record.cluster}.",
        )
    if foreground:
        from rps_core.proxy_client.personal import carry as carry_service

        carry_service(record)
    screen.named(record)
    (record,), _ = recovery.adopt([record], app.here, app.store)
    if foreground:
        return carry(record, app.here, app.store, screen)
    return follow(record, app.here, app.store, screen, until_over=until_over, timeout=timeout)


def raise_if_failed(session: SessionView, store: Store) -> None:
    """Raise an error if the session has ended.

    Raises:
        JobError: with the reason, the advice and the last lines of the job's log.
    """
    if not session.over:
        return
    name = session.record.name
    cause = f" ({session.cause})" if session.cause else ""
    was_ready = any(event.get("event") == "ready" for event in store.files(name).events())
    over = "has ended" if was_ready else "ended before it was ready"
    tail = _log_tail(session.record, store)
    hints = [causes.advice_for(session.cause, name, over=True)] if session.cause else []
    hints += [f"Last lines of its log (`rps logs {name}` prints all):\n{tail}"] if tail else []
    hints.append(f"`rps why {name}` explains it.")
    raise JobError(
        f"{name} {over}: {session.reason}{cause}",
        "\n".join(filter(None, hints)),
    )


def _log_tail(record: SessionRecord, store: Store, lines: int = 15) -> str:
    try:
        text = store.files(record.name).log_file.read_text("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
