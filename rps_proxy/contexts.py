"""What TLS is spoken with, in front and towards notebooks. Standard library only: workers import this."""

from __future__ import annotations

import os
import ssl
from pathlib import Path


class Shown:
    """A listener's `context`, which hands each new connection to the one that `current` is."""

    def __init__(self, current: ssl.SSLContext) -> None:
        self.current = current
        self.context = _bare()
        self.context.sni_callback = self._choose

    def _choose(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _base: ssl.SSLContext
    ) -> None:
        connection.context = self.current


def front_context(certificate: Path | str, key: Path | str) -> ssl.SSLContext:
    """A context with certificate and key from PEM files.

    Raises:
        OSError: they cannot be read, or do not belong together (ssl.SSLError is one).
    """
    context = _bare()
    # Without a password of ours, OpenSSL would ask for a passphrase on the terminal.
    context.load_cert_chain(certificate, key, password="")
    return context


def context_from_memory(pem: bytes) -> ssl.SSLContext:
    """As `front_context`, with certificate and key in one text, which touches no disk."""
    # OpenSSL reads files, once each; Python would have it no other way.
    certificate, key = _piped(pem), _piped(pem)
    try:
        return front_context(f"/proc/self/fd/{certificate}", f"/proc/self/fd/{key}")
    finally:
        os.close(certificate)
        os.close(key)


def upstream_context(authority: bytes) -> ssl.SSLContext:
    """A client context that trusts this CA (its certificate, PEM) alone and checks the host name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies, and checks the name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=authority.decode())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _bare() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _piped(content: bytes) -> int:
    """The reading end of a pipe that holds `content`: 64 KiB at most, which no chain comes near.

    Raises:
        OSError: it is longer.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(writer, "wb", buffering=0) as pipe:
        if pipe.write(content) != len(content):
            os.close(reader)
            raise OSError("the certificate with its chain and key is longer than 64 KiB")
    return reader
