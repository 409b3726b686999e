"""Say why there is no connection, and what to do, by ssh's own messages."""

from __future__ import annotations

import re

from rps_core.errors import ConnectError
from rps_core.text import plain

SSH_FAILED = 255  # ssh's exit code for its own failures


class ConnectionLostError(ConnectError):
    """A connection that worked has ended; another may succeed."""


# Messages of OpenSSH (ssh.c, sshconnect.c, sshconnect2.c, packet.c, misc.c), which are not translated.
_TRANSIENT = "transient"
_CAUSES: tuple[tuple[str, str, str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the one that this computer knows",
        "Either the site has changed it, or another host answers in its place: give it no password. "
        "Compare the fingerprint above with the one that the site publishes. If they are the same, remove "
        "the former key by `ssh-keygen -R {host}` and connect again.",
        "",
    ),
    (
        r"Host key verification failed|No \S+ host key is known for",
        "this computer does not know its host key",
        "Run `ssh {host}` on a terminal, compare the fingerprint with the one that the site publishes, and "
        "confirm it.",
        "",
    ),
    (
        r"Permission denied \((?P<detail>[^)]*)\)|Too many authentication failures|"
        r"Permission denied, please try again|Received disconnect from .*: 2: Too many",
        "it did not accept the login",
        "Check the user name, the password or the code of the second factor, and the key (`ssh-add -l`). "
        "`ssh {host}` must succeed first.",
        "",
    ),
    (
        r"Could not resolve hostname",
        "no host has this name",
        "Check its spelling, and whether this computer is online: some sites need their VPN.",
        _TRANSIENT,
    ),
    (
        r"Connection refused",
        "no ssh server answers at its port",
        "Check the host and the port (`Port` in ~/.ssh/config). It may be down for maintenance.",
        _TRANSIENT,
    ),
    (
        r"timed out|No route to host|Network is unreachable|Host is down|not responding",
        "it does not answer",
        "Check the name and the network: some sites need their VPN. It may be down for maintenance.",
        _TRANSIENT,
    ),
    (
        r"kex_exchange_identification|Connection (?:closed|reset) by|Broken pipe|"
        r"Connection to .* closed by remote host",
        "it closed the connection",
        "It may limit connections for a while after failed logins, or be down for maintenance: try again "
        "later.",
        _TRANSIENT,
    ),
    (
        r"Bad configuration option|Bad owner or permissions|terminating, \d+ bad configuration",
        "this computer's ssh configuration has a mistake",
        "Correct it as ssh says above.",
        "",
    ),
)  # fmt: skip


def of_ssh(host: str, said: str) -> ConnectError:
    """Return the error for a connection that ssh did not make; its messages have been printed."""
    for pattern, cause, advice, kind in _CAUSES:
        if re.search(pattern, said):
            return ConnectError(
                f"No connection to {host}: {cause}",
                advice.format(host=host),
                transient=kind == _TRANSIENT,
            )
    last = plain(said.strip().rpartition("\n")[2]) or "ssh ended without a message"
    return ConnectError(f"No connection to {host}: {last}", f"`ssh {host}` must succeed first.")


def no_shell(host: str, printed: str) -> ConnectError:
    """Return the error for a login that does not lead to a shell."""
    lines = [plain(line) for line in printed.strip().splitlines()[-5:]]
    words = f" It printed:\n{chr(10).join(f'    {line}' for line in lines)}" if lines else ""
    return ConnectError(
        f"{host} let you in, but ran no command for rps: it may force one on all logins (ForceCommand), or a "
        f"start-up file of the shell there waits for input.{words}",
        f"`ssh {host} hostname` must print the host's name and ask nothing. If it does not, log in there and "
        "use `rps start` and `rps url --ssh`.",
    )
