"""Find out which certificate the engine serves, by connecting as browsers do."""

from __future__ import annotations

import socket
import ssl

TIMEOUT = 5.0  # seconds, for each step


def served_certificate(address: str, port: int, domain: str) -> bytes:
    """Return the certificate (DER) served for `domain` on this machine's `address`.

    It is not verified: the caller compares it.

    Raises:
        OSError: nothing listens there, or it does not answer in time.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    host = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}.get(address, address)  # noqa: S104 - no bind
    with (
        socket.create_connection((host, port), TIMEOUT) as plain,
        context.wrap_socket(plain, server_hostname=domain) as connection,
    ):
        # HAProxy logs a connection without a request. This one the service answers with 421, uncounted.
        connection.sendall(
            f"GET /.rps/served HTTP/1.1\r\nHost: {domain}\r\nConnection: close\r\n\r\n".encode()
        )
        connection.recv(1)
        return connection.getpeercert(binary_form=True) or b""
