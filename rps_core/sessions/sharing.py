"""Share a session with others by links that end by themselves: made, listed and taken back."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from rps_core.errors import NotFoundError, UsageError
from rps_core.node.agent import login_link
from rps_core.state.record import SessionRecord
from rps_core.state.visit import login_url
from rps_core.units import format_walltime, parse_duration, parse_walltime
from rps_core.values import dataclass

if TYPE_CHECKING:
    from rps_core.sessions.application import Application
    from rps_core.state.session_dir import SessionFiles

_PREFIX, _SUFFIX = "share-", ".json"
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A link to a session for others.

    `created` and `until` are Unix seconds. `url` is None where the link is only listed.
    """

    record: SessionRecord
    id: str
    created: float
    until: float
    url: str | None = None

    @property
    def left(self) -> float:
        """Seconds until it ends."""
        return max(0.0, self.until - time.time())


def share(app: Application, name: str | None, duration: str) -> Share:
    """Make a link that works for a duration.

    Raises:
        UsageError: the site allows none, or not for so long; or no other user could reach the session.
        NotFoundError: the session has ended.
    """
    from rps_core.sessions import actions

    seconds = parse_duration(duration).total_seconds()
    session = actions.visitable(app, name)
    record, files = session.record, app.store.files(session.record.name)
    _check_allowed(app, seconds)
    _check_reachable(record)
    _check_accepted(record, files)
    secrets = files.secrets()
    if secrets is None:
        raise NotFoundError(f"{record.name} has ended", "`rps start` starts another.")
    number = "".join(_LETTERS[byte % len(_LETTERS)] for byte in os.urandom(8))
    created = time.time()
    times = {"created": created, "until": created + seconds}
    files.write(_path(number), json.dumps(times))
    url = login_url(record, secrets, f"{_PREFIX}{number}")
    return Share(record=record, id=number, created=created, until=created + seconds, url=url)


def _check_allowed(app: Application, seconds: float) -> None:
    loaded = app.here.loaded
    longest = loaded.settings.limits.share
    if longest is None:
        raise UsageError(
            "This cluster does not allow sessions to be shared (`limits.share` is not set)",
            "Ask the cluster's support.",
        )
    most = parse_walltime(longest, "duration")
    if seconds > most.total_seconds():
        raise UsageError(
            f"--for: this cluster allows {format_walltime(most)} at most ({loaded.where('limits.share')})",
            f"Use --for {longest}.",
        )


def _check_reachable(record: SessionRecord) -> None:
    if record.tunnel is not None:
        raise UsageError(
            f"{record.name} cannot be shared: its URL leads through your own ssh",
            "Sessions of a cluster with a Reverse Proxy Service can be shared.",
        )


def _check_accepted(record: SessionRecord, files: SessionFiles) -> None:
    if not record.shares:
        raise UsageError(
            f"{record.name} cannot be shared: it was started when this cluster did not allow that",
            "Start another session.",
        )
    if not (files.links / login_link.USED).exists():
        raise UsageError(
            f"{record.name} cannot be shared: its Jupyter has not started, or is older than Jupyter Server 2",
            f"`rps wait {record.name}` waits until it is ready.",
        )


def listed(app: Application, name: str | None) -> tuple[SessionRecord, list[Share]]:
    """Return a session, and its links that work, the first to end first.

    Raises:
        NotFoundError: there is no such session.
    """
    from rps_core.state import lookup

    record = lookup.find(app.store, name)
    files = app.store.files(record.name)
    found = []
    for path in files.links.glob(f"{_PREFIX}*{_SUFFIX}"):
        times = login_link.share_in(str(files.links), path.stem)
        if times is not None and times["until"] > time.time():
            found.append(Share(record=record, id=path.stem.removeprefix(_PREFIX), **times))
    return record, sorted(found, key=lambda one: one.until)


def revoke(app: Application, name: str | None, number: str) -> tuple[SessionRecord, list[Share]]:
    """Take a link back, or with `all` every one; what is open by it is closed within seconds.

    Raises:
        NotFoundError: there is no such session or link.
    """
    record, shares = listed(app, name)
    chosen = [one for one in shares if number in (one.id, f"{_PREFIX}{one.id}", ALL)]
    if not chosen and number != ALL:
        known = ", ".join(one.id for one in shares)
        raise NotFoundError(
            f"{record.name} has no share {number}",
            f"Its shares: {known}." if known else "It has none.",
        )
    files = app.store.files(record.name)
    for one in chosen:
        (files.directory / _path(one.id)).unlink(missing_ok=True)
    return record, chosen


def _path(number: str) -> str:
    return f"{login_link.DIRECTORY}/{_PREFIX}{number}{_SUFFIX}"
