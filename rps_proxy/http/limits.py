"""Accept connections within the limits of descriptors and of each address.

They count from accept, also with a stalled TLS handshake, until their descriptor is closed. asyncio's own
servers show a connection only after its handshake.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import ssl
from collections import Counter
from ipaddress import IPv6Address

from rps_proxy.http.listeners import take_connections
from rps_proxy.http.server import HttpServer

AT_ONCE = 64  # connections accepted before other tasks run
PAUSE = 1.0  # seconds without an accept when the machine is out of descriptors or memory
SHUTDOWN_TIME = 10.0  # seconds for the end of a TLS connection, with the bytes still to be sent
_OUT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def most_connections() -> int:
    """Return the most connections that descriptors allow, each with a second one.

    An eighth, and at least 64, is kept for the registry, the admin socket, logs and files.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return max(1, (limit - max(64, limit // 8)) // 2)


def most_of_one_address(configured: int, shares: int = 1) -> int:
    """Return the most connections of an address in one of `shares` processes; 0: any.

    Never more than a quarter of all. The kernel spreads connections among the processes.
    """
    return min(-(-configured // shares), max(1, most_connections() // 4)) if configured else 0


def network_of(address: object) -> bytes | str:
    """Return what the address of `socket.accept` counts as: IPv6 as its network, /64."""
    if not isinstance(address, tuple):
        return ""  # a Unix socket
    host = str(address[0])
    if ":" not in host:
        return host
    parsed = IPv6Address(host.partition("%")[0])
    return str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.packed[:8]


class Accepting:
    """Accept connections for `server` on the bound `listener`.

    With a `context` they use TLS, and the handshake has `hello_time` seconds. `per_address` is the most open
    connections of one address; 0: no limit, as on a Unix socket.
    """

    def __init__(
        self,
        listener: socket.socket,
        server: HttpServer,
        *,
        context: ssl.SSLContext | None = None,
        hello_time: float = 0,
        per_address: int = 0,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._server = server
        self._context = context
        self._hello_time = hello_time if context else None
        self._per_address = per_address
        self._most = most_connections()
        self._open = 0
        self._of: Counter[bytes | str] = Counter()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepts = False
        self._closed = False
        listener.setblocking(False)
        take_connections(listener)
        self._go_on()

    def close(self) -> None:
        """Stop accepting and cancel handshakes; open connections go on."""
        if self._closed:
            return
        self._stop()
        self._closed = True
        self._listener.close()
        for handshake in self._handshakes:
            handshake.cancel()

    def _go_on(self) -> None:
        if not self._accepts and not self._closed:
            self._accepts = True
            self._loop.add_reader(self._listener.fileno(), self._accept)

    def _stop(self) -> None:
        if self._accepts:
            self._accepts = False
            self._loop.remove_reader(self._listener.fileno())

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if self._open >= self._most:
                self._stop()  # more wait in the backlog until one ends
                return
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF:
                    raise
                self._stop()
                self._loop.call_later(PAUSE, self._go_on)
                return
            network = network_of(address)
            if self._per_address and self._of[network] >= self._per_address:
                connection.close()
                continue
            connection.setblocking(False)
            self._open += 1
            self._of[network] += 1
            task = self._loop.create_task(self._carry(connection, network))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _carry(self, connection: socket.socket, network: bytes | str) -> None:
        """Hand a connection to the server once its handshake is done."""
        handler = self._server()
        handler.at_end = lambda: self._ended(network)
        try:
            await self._loop.connect_accepted_socket(
                lambda: handler,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._hello_time,
                ssl_shutdown_timeout=SHUTDOWN_TIME if self._context else None,
            )
        except BaseException as error:
            connection.close()
            handler.end_of_connection()
            # An OSError is no TLS, or none in time: the internet's scanners.
            if not isinstance(error, OSError):
                raise

    def _ended(self, network: bytes | str) -> None:
        self._open -= 1
        self._of[network] -= 1
        if not self._of[network]:
            del self._of[network]
        self._go_on()
