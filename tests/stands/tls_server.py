"""A small HTTPS server that a test can stop and start again on its port."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rps_proxy.tls.authority import Authority
from tests.stands.service import free_port


class TlsServer:
    """An HTTPS server with a certificate for `host` from the CA in directory `ca`.

    By default the CA is below `directory`, the address is loopback and the port is a free one.
    """

    def __init__(
        self, directory: Path, domain: str, host: str, *,
        ca: Path | None = None, address: str = "127.0.0.1", port: int | None = None,
    ) -> None:  # fmt: skip
        front = Authority(ca or directory / "front", "front", domain)
        self.ca_file = front.certificate_file
        leaf = front.issue([host], 1)
        pem = directory / "front.pem"
        pem.write_bytes(leaf.certificate + leaf.key)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(pem)
        self._server: ThreadingHTTPServer | None = None
        self._address = address
        self.port = free_port() if port is None else port  # kept for a restart
        self.start()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Return the handler of one connection."""
        raise NotImplementedError

    def start(self) -> None:
        """Listen, on the port it had."""
        context = self._context

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def finish_request(self, request: Any, client_address: Any) -> None:
                with context.wrap_socket(request, server_side=True) as secure:
                    super().finish_request(secure, client_address)

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that rejects our certificate, or was killed during a call

        self._server = Server((self._address, self.port), self.handler())
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
