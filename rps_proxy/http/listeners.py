"""Bound sockets for the service's clients."""

from __future__ import annotations

import errno
import resource
import socket

from rps_core.errors import ServiceError

BACKLOG = 1024


def listen(address: str, port: int, *, shared: bool = False) -> socket.socket:
    """Bind a socket; a `shared` one joins the other shared sockets of its port.

    Raises:
        ServiceError: the address or port is not available; its cause is the OSError.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Lets a restarted service have its port back while old connections are still closing.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address != "::")
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        raise _unavailable(address, port, error) from error
    return listener


def take_connections(listener: socket.socket) -> None:
    """Let the kernel take connections on a bound socket.

    Two sockets may be bound to one port until the first of them gets here (SO_REUSEADDR in socket(7)).

    Raises:
        ServiceError: another program was first; its cause is the OSError.
    """
    try:
        listener.listen(BACKLOG)
    except OSError as error:
        bound = listener.getsockname()
        listener.close()
        if not isinstance(bound, tuple):  # a Unix socket's path
            raise
        raise _unavailable(bound[0], bound[1], error) from error


def _unavailable(address: str, port: int, error: OSError) -> ServiceError:
    hint = {
        errno.EADDRINUSE: "Another program has the port: stop it (`ss -tlnp` shows it), or "
        "set another `listen.port`.",
        errno.EADDRNOTAVAIL: "`ip address` shows the addresses of this machine: set `listen.address` "
        "to one of them.",
        errno.EACCES: "Ports below 1024 need root, or CAP_NET_BIND_SERVICE "
        "(systemd: AmbientCapabilities=).",
    }.get(error.errno or 0, "Check `listen.address` and `listen.port`.")
    return ServiceError(
        f"The service cannot listen on {address}, port {port}: {error.strerror}", hint
    )


def listen_together(address: str, port: int, number: int) -> list[socket.socket]:
    """Bind `number` sockets to one port; the kernel spreads connections among them."""
    first = listen(address, port)  # not shared yet: a port in use is refused
    sockets = [first]
    try:
        port = first.getsockname()[1]
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        while len(sockets) < number:
            sockets.append(listen(address, port, shared=True))
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one.

    A websocket takes two descriptors; the usual 1,024 are not enough.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
