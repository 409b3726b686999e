"""Attacks by another user of the machine, and a session that just died."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from rps_proxy.tls.authority import Authority
from tests.e2e.power import cut_off
from tests.e2e.visitor import Visitor

BAIT = "you reached the wrong server"


class Impostor(BaseHTTPRequestHandler):
    """Answers everything, and counts."""

    visits = 0

    def do_GET(self) -> None:
        type(self).visits += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(BAIT)))
        self.end_headers()
        self.wfile.write(BAIT.encode())

    def log_message(self, *args: Any) -> None:
        """Quiet."""


def test_a_program_that_takes_over_the_port_is_never_reached_under_the_name(
    installed: Any,
    start: Callable[..., dict[str, Any]],
    visit: Callable[[str], Visitor],
    tmp_path: Path,
) -> None:
    found = start()
    visitor = visit(found["url"])
    assert visitor.get("/api")[0] == 200
    directory = Path(installed.user.home) / ".local/state/rps/sessions" / found["name"]
    events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    port = next(event["port"] for event in events if event["event"] == "ready")
    cut_off(installed.user.home, found)  # no process is left that could revoke the route

    host = found["url"].partition("://")[2].partition(":")[0]
    # The best that another user can have: a certificate for this name from another CA.
    authority = Authority(tmp_path / "ca", "a stranger", "rps.localhost")
    leaf = authority.issue([host], 1)
    (tmp_path / "both.pem").write_bytes(leaf.certificate + leaf.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    for secure in (True, False):
        server = ThreadingHTTPServer(("127.0.0.1", port), Impostor)
        if secure:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            for path in ("/api", "/lab", "/"):
                status, page = visitor.get(path)
                assert status in (502, 503), (status, page)  # the lease still counts: it was tried
                assert BAIT not in page
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
    assert Impostor.visits == 0


def test_a_neighbour_can_neither_read_nor_enter(
    installed: Any, start: Callable[..., dict[str, Any]], visit: Callable[[str], Visitor]
) -> None:
    """Test that another user sees nothing that opens the session."""
    found = start()
    home = Path(installed.user.home)
    for path in (
        home / ".local/state/rps/sessions" / found["name"],
        Path(f"/var/tmp/rps-{installed.user.uid}"),
    ):
        assert path.stat().st_mode & 0o077 == 0
    ca = Path(installed.rps("proxy", "ca").stdout.strip()).parent
    assert (ca / "authority.pem").stat().st_mode & 0o077 == 0
    assert "PRIVATE KEY" not in (ca / "ca.pem").read_text()
    visitor = visit(found["url"])
    for path in ("/api/status", "/api/contents", "/api/kernels", "/lab", "/files/x"):
        status, page = visitor.get(path, token=False)
        assert status in (200, 302, 403, 404), (path, status)
        assert "password or token" in page.lower() or status in (403, 404), (path, status)
