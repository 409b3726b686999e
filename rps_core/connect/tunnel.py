"""Forward a port of this computer to the service's Unix socket on the login node."""

from __future__ import annotations

import errno
import socket

from rps_core.connect.ssh import Connection
from rps_core.errors import ConnectError, UsageError
from rps_core.node.agent.protocol import LONGEST_ANSWER, Malformed, form, is_code, read_object

_TRIES = 20  # ports, from the suggested one on
_ANSWER_WITHIN = 15.0  # seconds
# Browsers take `*.localhost` for either address, so that no other user may have the port at one of them.
_ADDRESSES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
# sshd says no more to a client whose forwarding to a socket it forbids (serverloop.c), and the same of a
# socket that is not there.
_REFUSED = "open failed"
_STATE = form(phase=is_code)


def open_port(connection: Connection, path: str, suggested: int, *, firm: bool = False) -> int:
    """Forward a port to the socket at `path`; return the port.

    Args:
        connection: to the login node of the service.
        path: the Unix socket there.
        suggested: the first port to try.
        firm: take no other.

    Raises:
        UsageError: the port is taken (`firm`), or all that were tried are.
        ConnectError: ssh does not forward.
    """
    addresses = _addresses()
    refusal = ""
    for port in range(suggested, suggested + (1 if firm else _TRIES)):
        if port > 65535 or not all(_is_free(address, port) for address in addresses):
            continue
        for address in addresses:
            refused = connection.forward(_bracketed(address), port, path)
            if refused is not None:
                refusal = refused
                close_port(connection, path, port)
                break
        else:
            return port
    if refusal:
        raise ConnectError(
            f"ssh does not forward a port to {connection.destination.name}: {refusal}",
            'Name another port by --port. What a site\'s sshd may forbid: docs/connect.md, "If it fails".',
        )
    what = (
        f"Port {suggested} of this computer is"
        if firm
        else f"{_TRIES} ports from {suggested} on are"
    )
    raise UsageError(f"{what} taken by other programs", "Name another one by --port.")


def close_port(connection: Connection, path: str, port: int) -> None:
    """End the forwardings of `open_port`."""
    for address in _addresses():
        connection.end_forward(_bracketed(address), port, path)


def check(connection: Connection, port: int, host: str, *, runs: bool) -> None:
    """Check that the service answers through the tunnel.

    `runs`: it was found to run on its host.

    Raises:
        ConnectError: it does not, with the cause.
    """
    if phase(port, host) is not None:
        return
    name = connection.destination.name
    if runs and _REFUSED in connection.said:
        raise ConnectError(
            f"{name} forwards no connections: its sshd forbids it (AllowTcpForwarding, "
            "AllowStreamLocalForwarding or DisableForwarding)",
            "Ask the site to allow forwarding to Unix sockets on this login node, or for another node that "
            "does.",
        )
    raise ConnectError(
        f"The personal service on {name} does not answer through the tunnel",
        "`rps doctor` there checks it.",
        transient=True,
    )


def phase(port: int, host: str) -> str | None:
    """Return the session's phase as its page shows it (docs/protocol.md); "" if that is not clear.

    None: the service did not answer.
    """
    import http.client

    server = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWER_WITHIN)
    try:
        server.request("GET", "/.rps/state", headers={"Host": f"{host}:{port}"})
        content = server.getresponse().read(LONGEST_ANSWER)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        server.close()
    try:
        return str(_STATE(read_object(content))["phase"])
    except Malformed:
        return ""


def _addresses() -> list[str]:
    return [address for family, address in _ADDRESSES if _exists(family, address)]


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _exists(family: socket.AddressFamily, address: str) -> bool:
    """Return whether this computer has a loopback address (IPv6 may be off)."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ssh does
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
