"""The answers of rps on the cluster, as `rps connect` accepts them.

The host is not trusted with this computer: what is used, printed or opened has the form that docs/commands.md
gives, or is no answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from rps_core.connect.ssh import Answer
from rps_core.errors import ConnectError
from rps_core.node.agent.protocol import (
    Malformed,
    form,
    is_line,
    is_number,
    is_session_name,
    matches,
    maybe,
    one_of,
    read_object,
)

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL}){{0,20}}"
_PORT = "[1-9][0-9]{0,4}"
_YEARS = 10 * 366 * 86400  # seconds, more than a walltime limit
_STATES = (
    "pending",
    "starting",
    "ready",
    "suspended",
    "lapsed",
    "ending",
    "ended",
    "failed",
    "unknown",
)

is_host = matches(_HOST)
# It is an argument of a browser and of programs that open one.
is_address = matches(rf"https?://{_HOST}(?::{_PORT})?/[A-Za-z0-9._~/?=&%+-]{{0,2000}}")
# `ssh -L` ends a path at a colon.
is_socket = matches(r"(?=.{2,107}\Z)(?:/[A-Za-z0-9._+@-]+)+")
is_version = matches(r"[0-9][A-Za-z0-9.+!-]{0,63}")
is_path = matches(r"/[^\x00-\x1f\x7f-\x9f]{1,1023}")

_TUNNEL = form(
    host=is_host, socket=is_socket, port=lambda port: type(port) is int and 1024 <= port <= 65535
)
_SESSION = form(
    name=is_session_name,
    url=maybe(is_address),
    state=one_of(*_STATES),
    cause=maybe(is_line),
    reason=maybe(is_line),
    cluster=is_line,
    label=maybe(is_line),
    app=maybe(is_line),
    directory=maybe(is_line),
    node=maybe(is_line),
    created=maybe(is_line),
    time_left=maybe(lambda value: is_number(value, -_YEARS, _YEARS)),
    tunnel=maybe(lambda value: isinstance(value, dict)),
    link=maybe(one_of("token", "once")),
)
_URL = form(url=is_address)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Where the session's service is reached: a Unix socket on a login node.

    Attributes:
        host: the login node's full name.
        socket: the socket's path there.
        port: the port of this computer that the session's URL names.
    """

    host: str
    socket: str
    port: int

    def is_on(self, host: str) -> bool:
        """Return whether it leads to the login node of this name; a cluster may have several domains."""
        return self.host.lower().partition(".")[0] == host.lower().partition(".")[0]

    def command(self, ssh: str, host: str, user: str) -> str:
        """Return the ssh command that opens the tunnel, without rps.

        Args:
            ssh: what ssh is given for the login node that was reached.
            host: the full name of that login node.
            user: the user's name there.
        """
        import shlex

        way = [ssh] if self.is_on(host) else ["-J", ssh, f"{user}@{self.host}"]
        return shlex.join(["ssh", "-N", "-L", f"127.0.0.1:{self.port}:{self.socket}", *way])


@dataclass(frozen=True, slots=True)
class RemoteSession:
    """A session on the cluster; `fields` are those of docs/commands.md, checked."""

    name: str
    state: str
    url: str | None
    tunnel: Tunnel | None
    fields: dict[str, Any]

    @property
    def living(self) -> bool:
        """Whether it can be gone on with from this login node."""
        over = self.state in ("ended", "failed", "ending")
        return not over and self.fields["cause"] != "elsewhere"

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.state in ("ended", "failed")

    @property
    def end(self) -> str:
        """Say that it has ended, and why."""
        reason = self.fields["reason"]
        return f"{self.name} has ended" + (f": {reason}" if reason else "")

    @property
    def host(self) -> str:
        """The host in its URL; empty without one."""
        return (self.url or "").partition("://")[2].partition("/")[0].partition(":")[0]

    @property
    def only_there(self) -> bool:
        """Whether the URL leads to the host itself: a personal service of a machine without a cluster."""
        return self.tunnel is None and self.host.endswith(".localhost")

    @property
    def needs_link(self) -> bool:
        """Whether the login link was used: another browser needs a new one."""
        return self.fields["link"] == "once" and "token=" not in (self.url or "")

    def with_url(self, url: str) -> RemoteSession:
        """Return the session with another URL."""
        return replace(self, url=url, fields={**self.fields, "url": url})

    def url_at(self, port: int) -> str | None:
        """Return the URL with this port of this computer, where a tunnel is needed."""
        if self.url is None or self.tunnel is None:
            return self.url
        scheme, _, rest = self.url.partition("://")
        authority, slash, path = rest.partition("/")
        return f"{scheme}://{authority.partition(':')[0]}:{port}{slash}{path}"


def session(answer: Answer, host: str) -> RemoteSession:
    """Read one session.

    Raises:
        ConnectError: the answer has another form.
    """
    try:
        return _session(read_object(answer.stdout.encode()))
    except Malformed as error:
        raise _malformed(host, error) from None


def url(answer: Answer, host: str) -> str:
    """Read the URL of a session with a new login link.

    Raises:
        ConnectError: the answer has another form.
    """
    try:
        return str(_URL(read_object(answer.stdout.encode()))["url"])
    except Malformed as error:
        raise _malformed(host, error) from None


def sessions(answer: Answer, host: str) -> list[RemoteSession]:
    """Read a list of sessions.

    Raises:
        ConnectError: the answer has another form.
    """
    try:
        listed = read_object(b'{"sessions":' + answer.stdout.encode() + b"}").get("sessions")
        if not (isinstance(listed, list) and all(isinstance(one, dict) for one in listed)):
            raise Malformed("it is not a list of sessions")
        return [_session(one) for one in listed]
    except Malformed as error:
        raise _malformed(host, error) from None


def _session(found: dict[str, Any]) -> RemoteSession:
    fields = _SESSION(found)
    raw = fields["tunnel"]
    fields["tunnel"] = None if raw is None else _TUNNEL(raw)
    url = fields["url"]
    if url is not None and raw is None and not url.startswith("https://"):
        # It would carry the token over the network.
        raise Malformed("`url` is plain HTTP, and there is no tunnel")
    tunnel = None if raw is None else Tunnel(**fields["tunnel"])
    session = RemoteSession(fields["name"], fields["state"], url, tunnel, fields)
    if tunnel is not None and url is not None and not session.host.endswith(".localhost"):
        raise Malformed("`url` does not lead to this computer")
    return session


def _malformed(host: str, error: Malformed) -> ConnectError:
    return ConnectError(
        f"The answer of rps on {host} is not of the documented form: {error}",
        "Its version may be another: `rps connect --install` installs this one there.",
    )
