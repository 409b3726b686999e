"""TLS contexts, in front and to notebooks. Standard library only, for workers."""

from __future__ import annotations

import os
import ssl
from pathlib import Path


class SwappableContext:
    """A listener's `context` that uses `current` for each new connection."""

    def __init__(self, current: ssl.SSLContext) -> None:
        self.current = current
        self.context = _bare()
        self.context.sni_callback = self._choose

    def _choose(
        self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _base: ssl.SSLContext
    ) -> None:
        connection.context = self.current


def front_context(certificate: Path | str, key: Path | str) -> ssl.SSLContext:
    """Build a server context with certificate and key from PEM files.

    Raises:
        OSError: they cannot be read, or do not belong together (ssl.SSLError is one).
    """
    context = _bare()
    # Without a password argument OpenSSL asks for a passphrase on the terminal.
    context.load_cert_chain(certificate, key, password="")
    return context


def context_from_memory(pem: bytes) -> ssl.SSLContext:
    """Build a server context from certificate and key in one text, without a file."""
    # Python's ssl loads certificates from files only, and OpenSSL reads each once.
    certificate, key = _piped(pem), _piped(pem)
    try:
        return front_context(f"/proc/self/fd/{certificate}", f"/proc/self/fd/{key}")
    finally:
        os.close(certificate)
        os.close(key)


def upstream_context(authority: bytes) -> ssl.SSLContext:
    """Build a client context that trusts this CA (PEM) alone and checks host names."""
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
    """Return the reading end of a pipe with `content`, of 64 KiB at most (pipe(7)).

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
