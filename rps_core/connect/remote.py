"""Find rps on the host and run it there."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from rps_core.connect import answers
from rps_core.connect.answers import RemoteSession
from rps_core.connect.ssh import Answer, Connection
from rps_core.errors import ConnectError, RpsError, UsageError
from rps_core.node.agent.protocol import is_line

START_WITHIN = 300.0  # seconds, with the issue of a name and the submission
_ANSWER_WITHIN = 120.0  # seconds
# Python 3.11 and newer, the newest last.
PYTHONS = "python3 python3.11 python3.12 python3.13 python3.14 python3.15 python3.16"

# Prints `KEY VALUE` lines. A program called rps may be another one: ours prints its name and its version.
_FIND = """
printf 'host %s\\n' "$(hostname -f 2>/dev/null || hostname)"
printf 'user %s\\n' "$(id -un)"
for candidate in {candidates}; do
  case $candidate in /*) ;; *) continue ;; esac
  [ -f "$candidate" ] && [ -x "$candidate" ] || continue
  version=$("$candidate" --version) || continue
  case $version in "rps "[0-9]*) ;; *) continue ;; esac
  printf 'rps %s\\nversion %s\\n' "$candidate" "${{version#rps }}"
  break
done
"""
_SEARCHED = '"$(command -v rps)" "$HOME/.local/bin/rps" "$HOME/rps/rps"'
_PYTHON = """
for name in {pythons}; do
  "$name" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
  command -v "$name"
  break
done
true
"""


def place_of(url: str) -> str:
    """Return scheme, host and port of a URL."""
    return "/".join(url.split("/", 3)[:3])


class FailedThereError(RpsError):
    """A command of rps failed on the host, whose own words have been printed."""

    def __init__(self, message: str, hint: str, code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = code


@dataclass(frozen=True)
class Remote:
    """rps on the host of a connection.

    Attributes:
        connection: the connection.
        host: the full name of the login node.
        user: the user's name there.
        command: the path of rps there; None: there is none.
        version: its version.
    """

    connection: Connection
    host: str
    user: str
    command: str | None
    version: str | None

    @classmethod
    def find(cls, connection: Connection) -> Remote:
        """Find rps: as configured, on the PATH of a login shell, in ~/.local/bin, in a clone ~/rps.

        Raises:
            ConnectError: what the host answers is not understood.
        """
        configured = connection.destination.rps
        candidates = _SEARCHED
        if configured is not None:
            home = configured.removeprefix("~/")
            candidates = (
                shlex.quote(configured) if home == configured else f'"$HOME"/{shlex.quote(home)}'
            )
        done = connection.run(_FIND.format(candidates=candidates), _ANSWER_WITHIN)
        # The shell's start-up files may print more, whenever they like.
        found = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
        command, version = found.get("rps"), found.get("version")
        whole = answers.is_host(found.get("host")) and is_line(found.get("user"))
        if not whole or (
            command is not None and not (answers.is_path(command) and answers.is_version(version))
        ):
            raise ConnectError(
                f"The answer of the shell on {connection.destination.name} is not understood",
                f"`ssh {connection.destination.name} hostname` must print the host's name.",
            )
        return cls(connection, found["host"], found["user"], command, version)

    @property
    def name(self) -> str:
        """What the user calls the host."""
        return self.connection.destination.name

    def python(self) -> str | None:
        """Return the path of a Python there that rps can use."""
        done = self.connection.run(_PYTHON.format(pythons=PYTHONS), _ANSWER_WITHIN)
        path = done.stdout.strip()
        return path if answers.is_path(path) else None

    def sessions(self) -> list[RemoteSession]:
        """Return the user's living sessions there, the newest last."""
        found = answers.sessions(self._rps("list", "--json"), self.name)
        return sorted(found, key=lambda one: str(one.fields["created"]))

    def start(self, options: Sequence[str]) -> RemoteSession:
        """Start a session there and return without waiting for it.

        Raises:
            FailedThereError: rps refused.
        """
        return answers.session(
            self._rps("start", "--no-wait", "--json", *options, timeout=START_WITHIN), self.name
        )

    def status(self, name: str) -> RemoteSession:
        """Return the state of a session there."""
        return answers.session(self._rps("status", name, "--json"), self.name)

    def wait(self, name: str) -> None:
        """Wait until a session is ready, however long; its states go to stderr."""
        self._rps("wait", name, "--json", timeout=None)

    def revive(self, name: str) -> None:
        """Start the personal service of a session again, if it has ended."""
        # Without --ssh it would make a new login link, and those before it would not work any more.
        self._rps("url", name, "--ssh")

    def opened_by_a_link(self, session: RemoteSession) -> RemoteSession:
        """Return the session with a new login link in its URL, if the former one was used."""
        if not session.needs_link:
            return session
        url = answers.url(self._rps("url", session.name, "--json"), self.name)
        if session.url is None or place_of(url) != place_of(session.url):
            raise ConnectError(
                f"The login link of {session.name} leads to another address than its URL",
                f"`rps status {session.name}` there shows the session. Do not open the link.",
            )
        return session.with_url(url)

    def stop(self, name: str | None) -> None:
        """Stop a session there, or the only one."""
        self._rps("stop", *([] if name is None else [name]))

    def table(self) -> str:
        """Return the output of `rps list` there."""
        return self._rps("list").stdout

    def missing(self) -> UsageError:
        """Return the error of a host that has no rps."""
        return UsageError(
            f"No rps on {self.name}, neither on the PATH of a login shell, nor in ~/.local/bin or ~/rps",
            f"`rps connect {shlex.quote(self.name)} --install` installs it there. `rps:` or `module:` in "
            "~/.config/rps/connect.yaml names another place.",
        )

    def script(self, *arguments: str) -> str:
        """Return the shell command that runs rps there.

        Raises:
            UsageError: there is none.
        """
        if self.command is None:
            raise self.missing()
        return shlex.join([self.command, *arguments])

    def _rps(self, *arguments: str, timeout: float | None = _ANSWER_WITHIN) -> Answer:
        done = self.connection.run(self.script(*arguments), timeout)
        if done.code != 0:
            raise FailedThereError(
                f"`rps {arguments[0]}` failed on {self.name}: its messages are above",
                "",
                done.code if 0 < done.code < 128 else 1,
            )
        return done
