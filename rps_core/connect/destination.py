"""Name the host to connect to, as the user's ssh knows it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass

from rps_core.errors import UsageError

# What ssh takes: [user@]host or ssh://[user@]host[:port]. No blank, quote or shell character: it may stand in
# a ProxyCommand, which a shell reads (OpenSSH 9.6 refuses them for that reason).
_HOST = re.compile(r"(?:ssh://)?[A-Za-z0-9_.+%@:\[\]-]{1,255}/?")
_MODULE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class Destination:
    """A host.

    Attributes:
        name: what the user calls it; `rps connect NAME` connects again.
        ssh: what ssh is given.
        module: the environment module that has rps there.
        rps: the command there; found, if not given.
    """

    name: str
    ssh: str
    module: str | None = None
    rps: str | None = None

    def __post_init__(self) -> None:
        check_host(self.ssh)

    def effective(self) -> dict[str, str]:
        """Return ssh's configuration for the host (`ssh -G`); empty if it does not say."""
        program = shutil.which("ssh")
        if program is None:
            return {}  # the connection reports it
        done = subprocess.run(
            [program, "-G", "--", self.ssh],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        lines = (line.partition(" ") for line in done.stdout.splitlines())
        return {keyword: value for keyword, _, value in lines}

    def in_its_shell(self, command: str) -> str:
        """Return a command line that runs a command in a login shell of the user.

        The words are plain for every shell that ssh may hand them to: csh and fish too.
        """
        if self.module:
            command = f"module load {self.module}; {command}"
        quoted = shlex.quote(command)
        # `csh -l` takes no command; with -c, csh reads .cshrc all the same.
        choose = (
            f'shell="${{SHELL:-/bin/sh}}"; case "$shell" in *csh) exec "$shell" -c {quoted} ;; esac; '
            f'exec "$shell" -l -c {quoted}'
        )
        return f"exec /bin/sh -c {shlex.quote(choose)}"


def check_host(host: str) -> None:
    """Check that ssh reads a text as a host, and as nothing else.

    Raises:
        UsageError: it is an option, or has characters that no host has.
    """
    name = host.removeprefix("ssh://").rpartition("@")[2]
    if not _HOST.fullmatch(host) or host.startswith("-") or not name or name.startswith("-"):
        raise UsageError(
            f"Not a host: {host!r}",
            "Give it as to ssh: user@login.cluster.edu, ssh://user@host:port, or a Host of ~/.ssh/config.",
        )


def check_module(name: str) -> None:
    """Check the name of an environment module.

    Raises:
        UsageError: it cannot be one.
    """
    if not _MODULE.fullmatch(name):
        raise UsageError(f"Not the name of a module: {name!r}", "`module avail` there lists them.")
