"""Jupyter of an agent's session: its API, over TLS with the token, its kernels, a browser at its login."""

from __future__ import annotations

import json
import re
import socket
import ssl
from http.client import HTTPMessage, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jupyter_client.blocking.client import BlockingKernelClient

from tests.stands.agent import DOMAIN, NAME, TOKEN, StandIn, event
from tests.stands.waiting import until


def call(session: Path, stand: StandIn, method: str, path: str, body: object = None) -> Any:
    """Make one call of the notebook's API, and return the answer."""
    text = asked(session, stand, method, path, body)[1]
    return json.loads(text) if text else None


def asked(
    session: Path, stand: StandIn, method: str, path: str, body: object = None
) -> tuple[HTTPMessage, bytes]:
    """Send a request to the notebook that succeeds; return fields and body."""
    response, text = exchange(session, stand, method, path, body)
    assert response.status < 400, text
    return response.headers, text


def exchange(
    session: Path,
    stand: StandIn,
    method: str,
    path: str,
    body: object = None,
    **headers: str,
) -> tuple[HTTPResponse, bytes]:
    """Send a request with the token, over TLS that is verified as engines do."""
    port = event(session, "ready")["port"]
    context = ssl.create_default_context(cadata=stand.upstream.certificate.decode())
    host = f"{NAME}.{DOMAIN}"
    connection = HTTPSConnection(host, port, context=context)
    raw = socket.create_connection(("127.0.0.1", port), 30)
    connection.sock = context.wrap_socket(raw, server_hostname=host)
    content = None if body is None else json.dumps(body)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, content, {"Authorization": f"token {TOKEN}", **fields})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response, text


def new_kernel(session: Path, stand: StandIn, name: str = "python3") -> str:
    kernel = call(session, stand, "POST", "/api/kernels", {"name": name})
    return str(kernel["id"])


def connection_file(session: Path, kernel: str) -> Path:
    return session / "run" / f"kernel-{kernel}.json"


def connects(client: BlockingKernelClient, port: int) -> bool:
    """Return whether a kernel listens on a port, or the socket that takes its place."""
    family = socket.AF_UNIX if client.transport == "ipc" else socket.AF_INET
    address = f"{client.ip}-{port}" if client.transport == "ipc" else (client.ip, port)
    with socket.socket(family) as probe:
        return probe.connect_ex(address) == 0


def execute(session: Path, kernel: str, code: str) -> str:
    """Return what the kernel prints first; the cell continues."""
    client = BlockingKernelClient(connection_file=str(connection_file(session, kernel)))
    client.load_connection_file()
    # A client that comes before the kernel has its sockets takes it for dead.
    until(lambda: all(connects(client, port) for port in client.ports), "the kernel's sockets")
    client.start_channels()
    try:
        client.wait_for_ready(60)
        client.execute(code)
        while "text" not in (content := client.get_iopub_msg(60)["content"]):
            pass
        return str(content["text"])
    finally:
        client.stop_channels()


class Browser:
    """A browser with its cookies, at one session's Jupyter, as far as a login needs one."""

    def __init__(self, session: Path, stand: StandIn) -> None:
        self.port = event(session, "ready")["port"]
        self.trust = ssl.create_default_context(cadata=stand.upstream.certificate.decode())
        self.origin = f"https://{NAME}.{DOMAIN}:{self.port}"
        self.cookies: dict[str, str] = {}

    def connect(self) -> HTTPSConnection:
        host = f"{NAME}.{DOMAIN}"
        connection = HTTPSConnection(host, self.port, context=self.trust)
        raw = socket.create_connection(("127.0.0.1", self.port), 30)
        connection.sock = self.trust.wrap_socket(raw, server_hostname=host)
        return connection

    def request(
        self, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, str, str]:
        """Send a request; return the status, where it leads on, and the text. Take the cookies."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            fields["Content-Type"] = "application/x-www-form-urlencoded"
        connection = self.connect()
        connection.request(method, path, body, fields)
        answer = connection.getresponse()
        text = answer.read().decode()
        for cookie in answer.headers.get_all("Set-Cookie") or ():
            name, value = cookie.partition(";")[0].split("=", 1)
            self.cookies.pop(name, None)
            if value.strip('"'):
                self.cookies[name] = value
        connection.close()
        return answer.status, answer.getheader("Location", ""), text

    def visit(self, text: str) -> tuple[int, str, str]:
        """Follow a link."""
        return self.request("GET", f"/login?token={text}")

    def press(self, page: str) -> tuple[int, str, str]:
        """Press the button of the page."""
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
        (action,) = re.findall(r'<form method="post" action="([^"]+)"', page)
        return self.request("POST", action, urlencode(fields), Origin=self.origin)

    def log_in(self, text: str) -> int:
        """Follow a link and press its button; return the status."""
        status, _, page = self.visit(text)
        return self.press(page)[0] if status == 200 else status

    @property
    def is_in(self) -> bool:
        return self.request("GET", "/api/status")[0] == 200
