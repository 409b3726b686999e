"""A stand-in for the satellite, the service deployed where rps is not yet.

The real satellite, Apache with Perl CGIs and a cron job, cannot be installed here. Bodies, content types and
errors are those of the protocol as it was observed (docs/protocol.md), to the byte; TLS, the callers'
addresses and the traffic to the notebook are real. A test decides when the mapping goes live: `run_cron`.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.stands.tls_server import TlsServer

DOMAIN = "rps.localhost"
NOT_FOUND = (
    '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head>\n<title>404 Not Found</title>\n'
    "</head><body>\n<h1>Not Found</h1>\n<p>The requested URL was not found on this server.</p>\n"
    "</body></html>\n"
)
TEXT, HTML = "text/plain", "text/html"
Answer = tuple[int, str, str]


@dataclass
class Name:
    """One name: its target once it is redeemed, and whether cron has run since."""

    job_id: str | None = None
    target: tuple[str, int] | None = None
    live: bool = False
    job_state: str | None = None  # Q, R or D, where a script of the site posts the jobs' states


class SatelliteServer(TlsServer):
    """The satellite for `domain`; `options` are those of `TlsServer`.

    `answers[script]` may hold a function of the query that gives the answer; `calls` lists the scripts that
    were called, with their queries, and `others` all other requests.
    """

    def __init__(self, directory: Path, domain: str = DOMAIN, **options: Any) -> None:
        self._domain = domain
        self.names: dict[str, Name] = {}
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.others: list[tuple[str, str]] = []
        self.answers: dict[str, Callable[[dict[str, str]], Answer]] = {}
        self.elsewhere: Answer = (404, HTML, NOT_FOUND)
        self.outside = False  # callers count as outside the cluster's network
        self.cron_runs_by_itself = False
        super().__init__(directory, domain, f"*.{domain}", **options)

    # Called by the tests

    def asked(self, script: str) -> list[dict[str, str]]:
        """Return the queries of one script, in order."""
        return [query for name, query in self.calls if name == script]

    def run_cron(self) -> None:
        """Do what cron does every minute: names that were redeemed are routed from now on."""
        for name in self.names.values():
            name.live = name.target is not None

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Return a handler that passes each request, of any method, to `_serve`."""
        satellite = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                satellite._serve(self)

            def do_POST(self) -> None:
                satellite._serve(self)

            def do_PUT(self) -> None:
                satellite._serve(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

        return Handler

    # The server itself

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        host = handler.headers["Host"].partition(":")[0].lower()
        label, _, domain = host.partition(".")
        if label != "manage" and domain == self._domain:
            self._visit(handler, self.names.get(label))
            return
        handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        parts = urlsplit(handler.path)
        script = parts.path.lstrip("/")
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        if script.endswith(".cgi"):
            self.calls.append((script, query))
            answer = self.answers.get(script)
            caller = handler.client_address[0]
            status, kind, text = (
                answer(query) if answer else self._cgi(handler.command, script, query, caller)
            )
        elif parts.path == "/" and handler.command == "GET":
            status, kind, text = 200, TEXT, "Please see documentation on how to use this service.\n"
        else:
            self.others.append((handler.command, parts.path))
            status, kind, text = self.elsewhere
        _answer(handler, status, kind, text)

    def _cgi(self, method: str, script: str, query: dict[str, str], caller: str) -> Answer:
        if script == "getlink.cgi":
            if self.outside:
                return oops("Client (your) IP not in range 198.51.100.0/24, please try from within "
                            "the cluster.")  # fmt: skip
            token = f"aversion-runaround-spearman{len(self.names) or ''}"
            self.names[token] = Name()
            return 200, TEXT, f"Your token is \n{token}\n"
        if method != "GET":
            return oops("Only GET method is supported")
        scripts = {
            "linktoken.cgi": ("jobid", self._link),
            "redeemtoken.cgi": ("port", self._redeem),
            "destroytoken.cgi": (None, self._destroy),
            "tokenjobstate.cgi": (None, self._state),
        }
        if script not in scripts:
            return 404, HTML, NOT_FOUND
        second, work = scripts[script]
        for parameter in ("token", second):
            if parameter and not query.get(parameter):
                return oops(f"Missing '{parameter}' parameter")
        if script != "tokenjobstate.cgi" and self.outside:
            return oops("Client (your) IP not in range 198.51.100.0/24, please try from within "
                        "the cluster.")  # fmt: skip
        return work(query, caller)

    def _link(self, query: dict[str, str], _caller: str) -> Answer:
        name = self.names.get(query["token"].lower())
        if name is None:
            return oops("Unknown nonce or nonce already destroyed")
        if name.job_id is not None:
            return oops("Nonce already linked to a jobid, you can do this only once!")
        name.job_id = re.sub("[^-a-zA-Z0-9._]", "", query["jobid"])
        return 200, HTML, "Success! Token linked to jobid.\n"

    def _redeem(self, query: dict[str, str], caller: str) -> Answer:
        port = query["port"]
        if not (re.fullmatch("[0-9]{4,5}", port) and 1024 <= int(port) <= 65535):
            return oops("'port' parameter isn't an integer between 1024 and 65535")
        name = self.names.get(query["token"].lower())
        if name is None or name.target is not None:
            return oops("Unknown nonce or nonce already used")
        name.target = (caller, int(port))
        if self.cron_runs_by_itself:
            threading.Timer(1.0, self.run_cron).start()
        return 200, HTML, "Success!\n"

    def _destroy(self, query: dict[str, str], caller: str) -> Answer:
        token = query["token"].lower()
        name = self.names.get(token)
        if name is None:
            return oops("Unknown nonce or nonce already destroyed")
        if name.target is not None and name.target[0] != caller:
            return oops("Nonce must be destroyed from host it was redeemed on")
        del self.names[token]
        return 200, HTML, "Success! Token destroyed.\n"

    def _state(self, query: dict[str, str], _caller: str) -> Answer:
        name = self.names.get(query["token"].lower().partition(".")[0])
        if name is None:
            return 200, TEXT, ""
        if name.job_state == "D":
            return 200, TEXT, "D"
        if name.target is not None:
            return 200, TEXT, "PR" if name.live else "M"
        return 200, TEXT, name.job_state or "PE"

    def _visit(self, handler: BaseHTTPRequestHandler, name: Name | None) -> None:
        if name is None:
            _answer(handler, 200, TEXT, "Please see documentation on how to use this service.\n")
        elif not name.live or name.target is None:
            phase = "phase 1 of 2: pending" if name.target is None else "phase 2 of 2: mapped"
            _answer(handler, 200, HTML, f"<html><body>{phase}</body></html>\n")
        else:
            _tunnel(handler, name.target)


def oops(text: str) -> Answer:
    """Send an error as the satellite formats it."""
    return 200, TEXT, f"Oops! {text}\n"


def _answer(handler: BaseHTTPRequestHandler, status: int, kind: str, text: str) -> None:
    content = text.encode()
    handler.send_response(status)
    handler.send_header("Content-Type", f"{kind}; charset=UTF-8")
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def _tunnel(handler: BaseHTTPRequestHandler, target: tuple[str, int]) -> None:
    """Forward a request or a websocket over plain HTTP, under another Host."""
    upgrade = "upgrade" in handler.headers.get("Connection", "").lower()
    head = [f"{handler.command} {handler.path} HTTP/1.1", f"Host: {target[0]}:{target[1]}"]
    for name, value in handler.headers.items():
        if name.lower() not in ("host", "connection"):
            head.append(f"{name}: {value}")
    head.append("Connection: Upgrade" if upgrade else "Connection: close")
    try:
        upstream = socket.create_connection(target, 60)
    except OSError:  # as Apache's mod_proxy
        _answer(handler, 503, HTML, "Service Unavailable\n")
        return
    with suppress(OSError), upstream:
        upstream.sendall("\r\n".join([*head, "", ""]).encode())
        upstream.sendall(handler.rfile.read(int(handler.headers.get("Content-Length", 0))))
        upstream.settimeout(None)

        def back() -> None:
            with suppress(OSError):
                while data := upstream.recv(1 << 16):
                    handler.wfile.write(data)
                # The client keeps the connection for more requests, or for a websocket's frames: close it.
                handler.connection.shutdown(socket.SHUT_RDWR)

        answering = threading.Thread(target=back, daemon=True)
        answering.start()
        with suppress(OSError):
            while upgrade and (data := handler.connection.recv(1 << 16)):
                upstream.sendall(data)
        answering.join()
    handler.close_connection = True


@contextmanager
def running_satellite(directory: Path, **options: Any) -> Iterator[SatelliteServer]:
    """Run a satellite for the length of the block."""
    directory.mkdir()
    service = SatelliteServer(directory, **options)
    try:
        yield service
    finally:
        service.stop()
