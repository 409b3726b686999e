"""The way back: whether the service reaches a notebook, before its session is ready.

An address that the service sees is not always one that it can connect to: there may be source NAT on the
way, a node with two interfaces, or a firewall. An engine connects from this host too, and verifies the same
certificate, so that its connection succeeds where this one does.

An agent may announce another address than that of its connection (`networks.announce`). The connection then
is the proof that the address leads to the session: only the session's job has the key of its certificate.
"""

from __future__ import annotations

import asyncio
import ssl

from rps_proxy.control.turns import FairTurns
from rps_proxy.refusals import Refusal, UnreachableError

LONGEST = 5.0  # seconds for a connection; agents wait ten for the answer
AT_ONCE = 64  # connections at a time; the callers' addresses take turns
MOST_WAITING = 256  # of one address


class WayBack:
    """Connects to notebooks with the certificates of `context`, within `timeout` seconds."""

    def __init__(self, context: ssl.SSLContext, timeout: float) -> None:
        self._context = context
        self._timeout = min(timeout, LONGEST)
        self._turns = FairTurns(AT_ONCE, MOST_WAITING, Refusal.WAY_BACK_BUSY)

    async def check(self, host: str, address: str, port: int, source: str) -> None:
        """Check that the session `host` answers at `address:port`, with its own certificate.

        Args:
            host: The host in the session's certificate.
            address: Where to connect.
            port: The port there.
            source: The caller's address.

        Raises:
            UnreachableError: it does not answer, or not with that certificate.
            RefusedError: `way-back-busy`: too many checks for that caller's address wait.
        """
        tried = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        try:
            async with self._turns.of(source), asyncio.timeout(self._timeout):
                _, writer = await asyncio.open_connection(
                    address, port, ssl=self._context, server_hostname=host
                )
        except TimeoutError:
            reason = f"no answer within {self._timeout:g} s"
        except ssl.SSLCertVerificationError as error:
            reason = f"not the session's certificate: {error.verify_message}"
        except ssl.SSLError as error:
            reason = f"no TLS: {error.reason or error.strerror}"
        except OSError as error:
            reason = error.strerror or "the connection was closed"
        else:
            writer.transport.abort()  # without waiting for the notebook's own close
            return
        raise UnreachableError(tried, reason)
