"""A service that answers any call with bytes of the test's choice, over real TLS."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import IO, Any, cast

from rps_proxy.tls.authority import Authority
from tests.stands.hostile_values import CLAIM, DOMAIN, HOST, NAME
from tests.stands.tls_server import TlsServer

Answer = bytes | Callable[[IO[bytes]], None]


def http(content: bytes, status: str = "200 OK", head: str = "") -> bytes:
    """Return an answer with a complete header."""
    lines = f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n{head}\r\n"
    return lines.encode("latin-1") + content


def as_json(found: object, status: str = "200 OK", head: str = "") -> bytes:
    """Return an answer with this JSON as its body."""
    return http(json.dumps(found).encode(), status, f"Content-Type: application/json\r\n{head}")


class HostileService(TlsServer):
    """A service that gives `answers` (by call: `issue`, `link`, `state`, …).

    Without an entry the answer is correct.

    An answer is the bytes, or a function that writes them. `calls` lists the calls received.
    """

    def __init__(self, directory: Path) -> None:
        self.answers: dict[str, Answer] = {}
        self.calls: list[str] = []
        self.upstream = Authority(directory / "upstream", "upstream", DOMAIN)
        leaf = self.upstream.issue([HOST], 1)
        self.certificate = {
            "certificate": leaf.certificate.decode(),
            "key": leaf.key.decode(),
            "ca": self.upstream.certificate.decode(),
        }
        super().__init__(directory, DOMAIN, f"manage.{DOMAIN}")

    def name(self, name: str = NAME) -> dict[str, Any]:
        """Return a correct answer to *issue*."""
        host = f"{name}.{DOMAIN}"
        url = f"https://{host}:{self.port}/"
        return {"name": name, "host": host, "url": url, "claim": CLAIM, "expires_in": 60}

    def answer(self, method: str, path: str) -> Answer:
        """Write the answer to one call."""
        parts = path.removeprefix("/api/v1/").split("/")
        call = "other" if parts[0] != "sessions" else parts[2] if len(parts) > 2 else ""
        call = call or ("issue" if len(parts) == 1 else "state")
        self.calls.append(call)
        if call in self.answers:
            return self.answers[call]
        good: dict[str, dict[str, Any]] = {
            "issue": self.name(),
            "certificate": self.certificate,
            "redeem": {"lease": 45, "renew_every": 0.3, "address": "127.0.0.1"},
            "renew": {"lease": 45, "renew_every": 0.3},
        }
        return as_json(good.get(call, {"phase": "linked", "live": False, "reason": None}))

    def handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                answer = service.answer(self.command, self.path)
                self.close_connection = True
                with contextlib.suppress(OSError):  # the client has seen enough
                    if callable(answer):
                        answer(cast(IO[bytes], self.wfile))
                    else:
                        self.wfile.write(answer)

            do_GET = do_POST  # noqa: N815 - the library's name

            def log_message(self, *_: object) -> None:
                pass

        return Handler
