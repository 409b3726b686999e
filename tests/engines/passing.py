"""What an engine passes by HTTP/1.1 and HTTP/2: the rows of a table."""

from __future__ import annotations

import json
import re
import ssl
import struct
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

from tests.engines.http2 import DATA, END_STREAM, SETTINGS, Client
from tests.engines.stand import Carried
from tests.stands.service import read_head, upgrade_request

KB = 1000
MB = 1_000_000
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND")
INITIAL_WINDOW_SIZE = 4  # RFC 9113, 6.5.2
PASSED, CLOSED = "passed", "connection closed"

Fields: TypeAlias = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Way:
    """A version of HTTP by which one engine is asked."""

    carried: Carried
    version: str
    curl: str

    @property
    def host(self) -> str:
        """The session's, with its port."""
        return self.carried.session.host

    def ask(
        self,
        path: str,
        method: str = "GET",
        fields: Fields = (),
        body: bytes = b"",
        host: str | None = None,
    ) -> str:
        """Return the status of the answer, or what ended instead."""
        host = host or self.host
        if self.version == "2":
            with self.client() as client:
                return _ask(client, host, path, method, fields, body)
        length = [("Content-Length", str(len(body)))] if body else []
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in [*fields, *length]]
        with self.carried.stand.connect(self.host) as connection:
            with suppress(OSError):  # it answered, and closed before it had read all
                connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            return _status(connection)

    def client(self) -> Client:
        """Return a connection of HTTP/2."""
        return Client(self.carried.stand, self.host)

    def arrives(self, path: str, method: str = "GET") -> str:
        """Return `PASSED` if the notebook gets this very request line, else the status."""
        requests = self.carried.notebook.requests
        before = len(requests)
        status = self.ask(path, method)
        return PASSED if requests[before:] == [f"{method} {path} HTTP/1.1"] else status


def _status(connection: ssl.SSLSocket) -> str:
    try:
        return read_head(connection).split()[1]
    except (OSError, AssertionError):
        return CLOSED


def _ask(
    client: Client, host: str, path: str, method: str = "GET", fields: Fields = (),
    body: bytes = b"", stream: int = 1,
) -> str:  # fmt: skip
    pseudo = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
    try:
        named = [(name.lower(), value) for name, value in fields]
        client.send_request([*pseudo, *named], body, stream)
        return client.status(stream)
    except (OSError, AssertionError):
        return CLOSED


def cookies(way: Way, size: int) -> Fields:
    """Return cookies as a browser sends them: HTTP/2 uses a field for each."""
    parts = [f"c{number}={'x' * (4 * KB - 6)}" for number in range(size // (4 * KB))]
    return (
        [("Cookie", part) for part in parts]
        if way.version == "2"
        else [("Cookie", "; ".join(parts))]
    )


def _head(size: int) -> Callable[[Way], str]:
    def asked(way: Way) -> str:
        status = way.ask("/bytes/0", fields=cookies(way, size))
        return PASSED if status == "200" else status

    return asked


def _other_streams(way: Way) -> str:
    if way.version != "2":
        return ""
    with way.client() as client:
        assert _ask(client, way.host, "/events") == "200"
        _ask(client, way.host, "/", fields=cookies(way, 64 * KB), stream=3)
        way.carried.notebook.seen.release(3)
        return "go on" if DATA in _kinds(client, 1) else "end"


def _kinds(client: Client, stream: int) -> set[int]:
    """Return the kinds of a stream's frames, up to its end."""
    kinds = set()
    with suppress(AssertionError):
        for frame in client.frames():
            if frame.stream == stream:
                kinds.add(frame.kind)
                if frame.flags & END_STREAM:
                    break
    return kinds


def _answer(path: str) -> Callable[[Way], str]:
    def asked(way: Way) -> str:
        status = way.ask(path)
        return PASSED if status == "200" else status

    return asked


def _websocket(way: Way) -> str:
    """Open a websocket as applications that repeat cookies in a subprotocol.

    Bokeh's server puts a token of them there (`bokeh.server.tornado`, `bokeh.util.token`).
    """
    fields = {"cookie": "x" * 20 * KB, "sec-websocket-protocol": f"bokeh, {'y' * 30 * KB}"}
    if way.version == "2":
        with way.client() as client:
            offered = client.receive(SETTINGS)
            if 8 not in dict(struct.iter_unpack("!HI", offered)):
                return ""  # its clients take HTTP/1.1 for websockets (RFC 8441, 3)
            pseudo = {"_authority": way.host, "_path": "/ws", "sec-websocket-version": "13"}
            return PASSED if client.open(**pseudo, **fields) else "refused"
    with way.carried.stand.connect(way.host) as connection:
        named = {name.replace("-", "_"): value for name, value in fields.items()}
        connection.sendall(upgrade_request(way.host, **named))
        status = _status(connection)
    return PASSED if status == "101" else status


def _methods(way: Way) -> str:
    said = {method: way.arrives("/count", method) for method in METHODS}
    refused = [f"{method}: {status}" for method, status in said.items() if status != PASSED]
    return ", ".join(refused) or PASSED


def _refused(*methods: str) -> Callable[[Way], str]:
    def asked(way: Way) -> str:
        before = len(way.carried.notebook.requests)
        for method in methods:
            way.ask("/count", method)
        return "refused" if len(way.carried.notebook.requests) == before else PASSED

    return asked


def _path(path: str) -> Callable[[Way], str]:
    return lambda way: way.arrives(path)


def _capitals(way: Way) -> str:
    return PASSED if way.ask("/bytes/0", host=way.host.upper()) == "200" else "refused"


def _dot(way: Way) -> str:
    name, _, port = way.host.partition(":")
    return way.ask("/x?y", host=f"{name}.:{port}")


def _h2c(method: str) -> Callable[[Way], str]:
    def asked(way: Way) -> str:
        if way.version == "2":
            return ""  # has no such field (RFC 9113, 8.2.2)
        body = b"abc" if method == "POST" else b""
        fields = [
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMA"),
        ]
        status = way.ask("/count", method, fields, body)
        if status != "200":
            return status
        names = {name.lower() for name, _ in way.carried.notebook.heads[-1]}
        return "switch asked for" if names & {"upgrade", "http2-settings"} else PASSED

    return asked


def _no_content(way: Way) -> str:
    raw = b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    status = way.ask("/raw", fields=[("X-Answer", raw.hex())])
    return PASSED if status == "204" else status


def _closed_meanwhile(method: str) -> Callable[[Way], str]:
    """Return the check of a second request on a connection that the notebook closes meanwhile."""

    def asked(way: Way) -> str:
        if way.version == "2":
            with way.client() as client:
                assert _ask(client, way.host, "/last") == "200"
                status = _ask(client, way.host, "/count", method, stream=3)
        else:
            with way.carried.stand.connect(way.host) as connection:
                for line in ("GET /last", f"{method} /count"):
                    request = f"{line} HTTP/1.1\r\nHost: {way.host}\r\nContent-Length: 0\r\n\r\n"
                    connection.sendall(request.encode())
                    status = _whole(connection)
        return PASSED if status == "200" else status

    return asked


def _whole(connection: ssl.SSLSocket) -> str:
    """Return the status of an answer that is read to its end."""
    try:
        head = read_head(connection)
        found = re.search(r"(?i)^content-length: (\d+)", head, re.MULTILINE)
        left = int(found[1]) if found else 0
        while left:
            left -= len(connection.recv(left))
    except (OSError, AssertionError):
        return "connection closed"
    return head.split()[1]


def _transfer(*arguments: str, path: str) -> Callable[[Way], str]:
    """20 MB by curl; how many arrived."""

    def asked(way: Way) -> str:
        stand, name = way.carried.stand, way.host.partition(":")[0]
        command = [
            way.curl, "-sS", "--cacert", str(stand.directory / "ca" / "ca.pem"), f"--http{way.version}",
            "--resolve", f"{name}:{stand.port}:127.0.0.1", *arguments, f"https://{way.host}{path}",
        ]  # fmt: skip
        done = subprocess.run(
            command, input=bytes(20 * MB), capture_output=True, timeout=120, check=True
        )
        size = json.loads(done.stdout)["length"] if "count" in path else len(done.stdout)
        return PASSED if size == 20 * MB else f"{size} bytes"

    return asked


def _window(way: Way) -> str:
    if way.version != "2":
        return ""
    with way.client() as client:
        offered = dict(struct.iter_unpack("!HI", client.receive(SETTINGS)))
    size = offered.get(INITIAL_WINDOW_SIZE, 65_535) + 1
    return f"{size >> 20} MiB" if size >> 20 else f"{size >> 10} KiB"


ROWS: dict[str, Callable[[Way], str]] = {
    "request head of 56 KB": _head(56 * KB),
    "request head of 64 KB": _head(64 * KB),
    "request head of 120 KB": _head(120 * KB),
    "request head of 400 KB": _head(400 * KB),
    "other streams beside a head of 64 KB": _other_streams,
    "URL of 30 KB": lambda way: way.arrives("/" + "a" * 30 * KB),
    "answer with a field of 50 KB": _answer(f"/field/{50 * KB}"),
    "answer with a field of 100 KB": _answer(f"/field/{100 * KB}"),
    "answer with 50 fields of 1 KB": _answer(f"/fields/{50 * KB}"),
    "websocket with 20 KB of cookies and 30 KB of subprotocols": _websocket,
    "upload of 20 MB, its length known": _transfer("--data-binary", "@-", path="/count"),
    "upload of 20 MB, its length unknown": _transfer("-T", "-", path="/count"),
    "download of 20 MB": _transfer(path=f"/bytes/{20 * MB}"),
    "window of an upload over HTTP/2, at first": _window,
    "POST, as the notebook closes an idle connection": _closed_meanwhile("POST"),
    f"methods {', '.join(METHODS)}": _methods,
    "methods TRACE, CONNECT": _refused("TRACE", "CONNECT"),
    "path `/files/50%.txt`": _path("/files/50%.txt"),
    "path `/a%2Fb%20c?d=%3F`": _path("/a%2Fb%20c?d=%3F"),
    "path `//a/./b;c`": _path("//a/./b;c"),
    "path `/a/../b`": _path("/a/../b"),
    "path `/../a`": _path("/../a"),
    "path `/a%00b`": _path("/a%00b"),
    "path `/[a]{b}^|`": _path("/[a]{b}^|"),
    "name of the host in capitals": _capitals,
    "name of the host with a dot at its end": _dot,
    "GET with `Upgrade: h2c`": _h2c("GET"),
    "POST with `Upgrade: h2c`": _h2c("POST"),
    "answer 204 with `Transfer-Encoding`": _no_content,
}
VERSIONS = {"embedded": ("1.1",), "haproxy": ("1.1", "2"), "apache": ("1.1", "2")}


def passes(carried: Carried, row: str, curl: str) -> str:
    """Return an engine's text in one row: one if both versions of HTTP agree."""
    found = {}
    for version in VERSIONS[carried.stand.kind]:
        if said := ROWS[row](Way(carried, version, curl)):
            found[version] = said
    if len(set(found.values())) <= 1:
        return next(iter(found.values()), "")
    return "; ".join(f"HTTP/{version}: {said}" for version, said in found.items())
