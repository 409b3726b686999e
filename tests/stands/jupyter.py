"""Jupyter of an agent's session: its API, over TLS with the token, and its kernels."""

from __future__ import annotations

import json
import socket
import ssl
from http.client import HTTPMessage, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

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
