"""What the service's tests use: the real service, small notebooks, clients.

The service is a process of its own with TLS and a registry on disk; a notebook is a small HTTPS server;
clients can send malformed bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from tests.stands.spawner import Spawned, spawner
from tests.stands.waiting import until

DOMAIN = "rps.localhost"
COMMAND = [sys.executable, "-c", "from rps_proxy.cli.main import proxy; proxy()"]
FIRST_WORD = 10  # seconds; passes in full where no answer is expected
_CHUNK = b"0123456789abcdef" * 4096


def free_port() -> int:
    """Return a port that is free now, outside Linux's range of ephemeral ports.

    Until the service listens on it, and while it is killed and restarted, any connection of any test could
    be given a port of that range. The processes that run the tests (pytest-xdist) have ports of their own
    each, for the same reason.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        port = 10_000 + secrets.randbelow(20_000 // workers) * workers + worker
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Session:
    """An issued name."""

    name: str
    host: str  # with the port, as in the Host header
    claim: str


class Service:
    """`rps proxy serve` as a process: a fork of the spawner, or `command`.

    With LD_PRELOAD (`fake_clock`) it is a process of its own.
    """

    command: ClassVar[list[str] | None] = None

    def __init__(self, directory: Path, **settings: object) -> None:
        self.directory = directory
        self.port = 0
        self.domain = settings.get("domain", DOMAIN)
        self._settings = settings
        self.process: subprocess.Popen[bytes] | Spawned | None = None

    def start(self) -> Service:
        port = self.port or free_port()  # the port it had before a restart
        settings = {
            "directory": self.directory / "service",
            "engine": "embedded",
            "workers": 1,
            "tls.ca_directory": self.directory / "ca",
            "listen.port": port,
            "log.format": "json",
            **self._settings,
        }
        seen = len(self.log())
        self.process = self.run("serve", settings, self.directory / "log")

        def listens() -> bool:
            assert self.process
            assert self.process.poll() is None, self.log()
            found = re.search(r'"port": (\d+).*"listening"', self.log()[seen:])
            self.port = int(found[1]) if found else 0
            return found is not None

        until(listens, "the service listens")
        return self

    def run(
        self, command: str, settings: Mapping[str, object], log: Path
    ) -> subprocess.Popen[bytes] | Spawned:
        """Run `rps proxy` with these settings, in a process group of its own."""
        arguments = [*command.split(), *(f"--set={key}={value}" for key, value in settings.items())]
        if self.command is None and "LD_PRELOAD" not in os.environ:  # which only an exec obeys
            return spawner().start(arguments, log)
        ordinary = [sys.executable, "-c", "from rps_proxy.cli.main import proxy; proxy()"]
        with log.open("ab") as file:
            return subprocess.Popen(
                [*(self.command or ordinary), *arguments],
                stdout=file,
                stderr=file,
                process_group=0,
            )

    def kill(self) -> None:
        """Kill it without notice."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        assert self.process
        self.process.terminate()
        return self.process.wait(60)

    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text() if path.exists() else ""

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        assert self.process
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def connect(self, host: str, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """Open a TLS connection that trusts the service's CA alone and checks the name."""
        context = ssl.create_default_context(cafile=str(self.directory / "ca" / "ca.pem"))
        address = ("::1" if ":" in source else "127.0.0.1", self.port)
        plain = socket.create_connection(address, 20, source_address=(source, 0))
        try:
            return context.wrap_socket(plain, server_hostname=host.partition(":")[0])
        except BaseException as error:
            plain.close()
            # CPython (ssl.py, _create) leaves the socket open if the peer has reset the connection.
            for frame, _ in traceback.walk_tb(error.__traceback__):
                made = frame.f_locals.get("self")
                if isinstance(made, ssl.SSLSocket):
                    made.close()
            raise

    def plain_connection(self, source: str = "127.0.0.1") -> socket.socket:
        """Open a TCP connection without TLS."""
        return socket.create_connection(("127.0.0.1", self.port), 20, source_address=(source, 0))

    def send(self, host: str, request: bytes, patience: float = 3) -> bytes:
        """Send these bytes; return the answer, up to the close or a silence.

        `patience` is that silence in seconds; the first byte may take longer.
        """
        with self.connect(host) as connection:
            connection.settimeout(FIRST_WORD)
            connection.sendall(request)
            answer = b""
            try:
                while part := connection.recv(65536):
                    answer += part
                    connection.settimeout(patience)
            except TimeoutError:
                pass
            return answer

    def request(
        self,
        host: str,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        source: str = "127.0.0.1",
    ) -> Answer:
        client = http.client.HTTPConnection("service")
        client.sock = self.connect(host, source)
        try:
            client.request(method, path, body, {"Host": host, **(headers or {})})
            response = client.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            client.close()

    def call(
        self,
        method: str,
        path: str,
        claim: str | None = None,
        body: object = None,
        source: str = "127.0.0.1",
    ) -> tuple[int, dict[str, Any]]:
        """Make one API call; return its status and answer."""
        headers = {"Authorization": f"Bearer {claim}"} if claim else {}
        content = None if body is None else json.dumps(body).encode()
        host = f"manage.{self.domain}:{self.port}"
        answer = self.request(host, method, f"/api/v1/{path}", content, headers, source)
        return answer.status, json.loads(answer.body)

    def issue(self, **fields: str) -> Session:
        status, answer = self.call("POST", "sessions", body=fields)
        assert status == 201, answer
        host = answer["url"].removeprefix("https://").removesuffix("/")
        return Session(answer["name"], host, answer["claim"])

    def certificate(self, session: Session) -> dict[str, str]:
        status, answer = self.call("POST", f"sessions/{session.name}/certificate", session.claim)
        assert status == 200, answer
        return answer

    def redeem(self, session: Session, port: int, **more: Any) -> tuple[int, dict[str, Any]]:
        body = {"port": port, "job_id": "1", **more.pop("body", {})}
        return self.call("POST", f"sessions/{session.name}/redeem", session.claim, body, **more)

    def renew(self, session: Session) -> int:
        return self.call("POST", f"sessions/{session.name}/renew", session.claim)[0]

    def revoke(self, session: Session) -> None:
        status, answer = self.call("POST", f"sessions/{session.name}/revoke", session.claim)
        assert (status, answer["phase"]) == (200, "gone")

    def state(self, session: Session) -> dict[str, Any]:
        status, answer = self.call("GET", f"sessions/{session.name}", session.claim)
        assert status == 200
        return answer

    @contextmanager
    def notebook(self) -> Iterator[tuple[Session, Notebook]]:
        """Start a notebook and make its session ready."""
        session = self.issue()
        with Notebook(self.certificate(session), self.directory) as notebook:
            status, answer = self.redeem(session, notebook.port)
            assert status == 200, answer
            yield session, notebook


@dataclass
class Answer:
    """One HTTP response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@contextmanager
def running_service(directory: Path, **settings: object) -> Iterator[Service]:
    service = Service(directory, **settings).start()
    try:
        yield service
    finally:
        if service.process and service.process.poll() is None:
            service.process.send_signal(signal.SIGCONT)
            service.kill()


class Notebook:
    """A notebook: echoes requests and websockets, streams, takes uploads.

    Without a certificate it speaks plain HTTP, as for satellite sessions. Once it has ended, its port may be
    given to another server.
    """

    def __init__(
        self,
        certificate: dict[str, str] | None,
        directory: Path,
        port: int = 0,
        address: str = "127.0.0.1",
    ) -> None:
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            file = directory / f"notebook-{os.urandom(4).hex()}.pem"
            file.write_text(certificate["key"] + certificate["certificate"])
            context.load_cert_chain(file)
        self.server = _Server((address, port or free_port()), _Handler)
        self.server.notebook = self
        self.server.context = context
        self.port = self.server.server_address[1]
        self.requests: list[str] = []  # request lines
        self.heads: list[list[tuple[str, str]]] = []  # the fields of each request
        self.broken_off = threading.Event()  # a transfer was aborted
        self.seen = threading.Semaphore(0)  # the client has the last event that was sent
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self) -> Notebook:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End as a process does: with its connections."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()
        for connection in list(self.server.connections):
            with contextlib.suppress(OSError):  # closed, but its thread has not noticed yet
                connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    notebook: Notebook
    context: ssl.SSLContext | None
    allow_reuse_address = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[socket.socket] = set()
        if ":" in arguments[0][0]:
            self.address_family = socket.AF_INET6
        super().__init__(*arguments)

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(20)
        wrap = self.context.wrap_socket if self.context else None
        with wrap(request, server_side=True) if wrap else request.dup() as connection:
            self.connections.add(connection)
            try:
                super().finish_request(connection, client_address)
            finally:
                self.connections.discard(connection)

    def handle_error(self, *_: object) -> None:
        """Ignore aborted handshakes and closed connections: tests cause them."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    last = False  # the connection's last request has been answered

    def handle_one_request(self) -> None:
        """Handle a request; after `/last` close the connection on the next one."""
        if self.last:
            self.rfile.read1(1)
            self.close_connection = True
        else:
            super().handle_one_request()

    def parse_request(self) -> bool:
        self.trailers: list[str] = []
        read = super().parse_request()
        if read:
            self.server.notebook.heads.append(self.headers.items())
        return read

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.notebook.requests.append(self.requestline)
        path = self.path.partition("?")[0]
        if path == "/hangup":
            self.close_connection = True
        elif path == "/endless":
            self.send_response(200)
            self.send_header("Content-Length", str(10**15))
            self.end_headers()
            try:
                while True:
                    self.wfile.write(_CHUNK)
            except OSError:
                self.server.notebook.broken_off.set()
        elif path == "/events":
            self._events()
        elif path.startswith("/bytes/"):
            self._bytes(int(path.removeprefix("/bytes/")))
        elif path == "/last":
            self.last = True
            self._echo(b"")
        elif path.startswith("/field/"):
            self._head([int(path.removeprefix("/field/"))])
        elif path.startswith("/fields/"):
            self._head([1000] * (int(path.removeprefix("/fields/")) // 1000))
        elif path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        elif path == "/raw":
            self.wfile.write(bytes.fromhex(self.headers["X-Answer"]))
            self.close_connection = True
        elif path == "/ws":
            self._websocket()
        elif path.startswith("/later/"):  # seconds
            time.sleep(int(path.removeprefix("/later/")))
            self._echo(b"")
        else:
            self._echo(b"")

    def do_POST(self) -> None:
        self.server.notebook.requests.append(self.requestline)
        if self.path == "/hangup":
            self.close_connection = True
            return
        if self.path == "/refuse":
            self.send_response(413)
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.close_connection = True
            return
        if self.path == "/early":  # the body is left unread
            self.send_response(403)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"early")
            return
        body = b"".join(self._body()) if self.path == "/echo" else None
        if self.path.startswith("/later/"):
            time.sleep(int(self.path.removeprefix("/later/")))
        self._echo(body)

    do_HEAD = do_DELETE = do_OPTIONS = do_GET  # noqa: N815
    do_PUT = do_PATCH = do_PROPFIND = do_POST  # noqa: N815

    def _echo(self, body: bytes | None) -> None:
        """Send the request back as JSON."""
        length = sum(map(len, self._body())) if body is None else len(body)
        request = {
            "line": self.requestline,
            "headers": self.headers.items(),
            "length": length,
            "body": (body or b"").decode("latin-1"),
            "trailers": self.trailers,
        }
        content = json.dumps(request).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Set-Cookie", "a=1; Path=/; Domain=rps.localhost; Secure")
        self.send_header("Set-Cookie", "b=2; domain=.rps.localhost")
        self.send_header("Connection", "keep-alive, X-Private")
        self.send_header("Keep-Alive", "timeout=5")
        self.send_header("X-Private", "1")
        self.send_header("Alt-Svc", 'h3=":443"')
        self.send_header("Strict-Transport-Security", "max-age=0")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self) -> Iterator[bytes]:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while (line := self.rfile.readline()).strip():
                self.trailers.append(line.decode("latin-1").strip())
            return
        left = int(self.headers.get("Content-Length", 0))
        while left:
            part = self.rfile.read1(min(left, 65536))
            if not part:
                self.server.notebook.broken_off.set()
                raise ConnectionError("half a body")
            left -= len(part)
            yield part

    def _bytes(self, size: int) -> None:
        """Send this many bytes, chunked."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while size > 0:
            part = _CHUNK[:size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            size -= len(part)
        self.wfile.write(b"0\r\n\r\n")

    def _head(self, sizes: list[int]) -> None:
        """Answer with header fields of these sizes."""
        self.send_response(200)
        for number, size in enumerate(sizes):
            self.send_header(f"X-{number}", "x" * size)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _events(self) -> None:
        """Send server-sent events, each once the client has the one before."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        self.close_connection = True
        for number in range(3):
            self.wfile.write(b"data: %d\n\n" % number)
            if not self.server.notebook.seen.acquire(timeout=20):
                return

    def _websocket(self) -> None:
        """Accept the first subprotocol and send back every byte, frames and all."""
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        # HAProxy accepts no other value for this request (RFC 6455, 4.2.2).
        key = self.headers.get("Sec-WebSocket-Key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest())
        self.send_header("Sec-WebSocket-Accept", accept.decode())
        offered = self.headers.get("Sec-WebSocket-Protocol", "").split(",")[0]
        if offered:
            self.send_header("Sec-WebSocket-Protocol", offered)
        self.end_headers()
        self.close_connection = True
        try:
            while data := self.rfile.read1(65536):
                if self.headers.get("X-Silent"):
                    continue
                self.wfile.write(data)
        except OSError:
            pass
        self.server.notebook.broken_off.set()


def upgrade_request(host: str, **headers: str) -> bytes:
    """Return the request that opens a websocket at /ws."""
    fields = {
        "Host": host,
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": b64encode(os.urandom(16)).decode(),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = ["GET /ws HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode()


def read_head(connection: ssl.SSLSocket) -> str:
    """Read a response header, and not a byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = connection.recv(1)
        assert part, head
        head += part
    return head.decode()


def read_exactly(connection: ssl.SSLSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        assert part, data
        data += part
    return data
