"""Decide between a session that lives and a new one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rps_core.connect.answers import RemoteSession
from rps_core.errors import NotFoundError
from rps_core.text import roughly

# Gets the living sessions, returns the chosen one; None: a new one.
Ask = Callable[[Sequence[RemoteSession]], RemoteSession | None]


def choose(
    listed: Sequence[RemoteSession], host: str, *, name: str | None, ask: Ask | None
) -> RemoteSession | None:
    """Return the session to go on with; None: a new one.

    The only living session is taken. Of several the user chooses; without a terminal the newest is taken.

    Args:
        listed: the user's sessions there, the newest last.
        host: what the user calls the host.
        name: the name or the label of the session, or a unique prefix of its name.
        ask: asks the user; None without a terminal.

    Raises:
        NotFoundError: no session, or more than one, has the name.
    """
    living = [one for one in listed if one.living]
    if name is not None:
        exact = [one for one in living if name in (one.name, one.fields["label"])]
        found = exact or [one for one in living if one.name.startswith(name)]
        if len(found) != 1:
            raise NotFoundError(
                f"{'No' if not found else 'More than one'} session on {host} has the name {name}",
                f"`rps connect {host} --list` lists them.",
            )
        return found[0]
    if not living:
        return None
    if len(living) == 1 or ask is None:
        return living[-1]
    return ask(living)


def line(session: RemoteSession) -> str:
    """Describe a session in one line."""
    fields = session.fields
    left = fields["time_left"]
    parts = (
        session.state,
        fields["app"],
        fields["directory"],
        fields["node"],
        None if left is None else f"{roughly(int(left))} left",
    )
    label = f" ({fields['label']})" if fields["label"] else ""
    return f"{session.name}{label}: {', '.join(part for part in parts if part)}"
