"""A session of a personal service on a cluster, in browsers: plain HTTP through a forwarded Unix socket.

The port of the user's machine is another one than that in the URL, as ssh may have it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.browser.chromium import chromium
from tests.browser.firefox import firefox

# A page of the session does all of it, and has to: cookies and origins are the browser's.
_RUN = """
(async () => {
  const seen = {secure: isSecureContext, origin: location.origin, path: location.pathname};
  const xsrf = document.cookie.split('; ').find(one => one.startsWith('_xsrf='));
  const headers = {'X-XSRFToken': xsrf ? xsrf.slice(6) : ''};
  const made = await fetch('/api/kernels', {method: 'POST', headers, body: '{}'});
  seen.kernel = made.status;
  const kernel = await made.json();
  const channel = new WebSocket(`ws://${location.host}/api/kernels/${kernel.id}/channels`);
  seen.printed = await new Promise((done, failed) => {
    channel.onerror = () => failed(new Error('the websocket failed'));
    channel.onopen = () => channel.send(JSON.stringify({
      header: {msg_id: 'one', msg_type: 'execute_request', username: '', session: 's', version: '5.3',
               date: ''},
      parent_header: {}, metadata: {}, channel: 'shell', buffers: [],
      content: {code: 'print(6 * 7)', silent: false, store_history: false, user_expressions: {},
                allow_stdin: false},
    }));
    channel.onmessage = message => {
      const found = JSON.parse(message.data);
      if (found.header.msg_type === 'stream') done(found.content.text);
    };
  });
  channel.close();
  const worker = await navigator.serviceWorker.register('/static/worker.js');
  seen.worker = worker.scope;
  seen.again = new URL((await fetch('/')).url).pathname;
  return JSON.stringify(seen);
})()
"""


@dataclass(frozen=True)
class Tunnelled:
    """A session whose service's socket is forwarded; `url` has the port of the forwarding."""

    name: str
    url: str

    @property
    def origin(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


@pytest.fixture(scope="module")
def session(installed: Any) -> Iterator[Tunnelled]:
    """Start a session with a service as on a login node, and forward a port to its socket."""
    home = Path(installed.user.home)
    static = installed.user.make(home / "static")
    (static / "worker.js").write_text("addEventListener('fetch', () => {});\n")
    configuration = installed.user.make(home / "config-of-jupyter")
    (configuration / "jupyter_server_config.py").write_text(
        f"c.ServerApp.extra_static_paths = [{str(static)!r}]\n"
    )
    options = ("--wait", "--json", "--set", "proxy.listen=127.0.0.2")
    started = installed.rps("start", *options, env={"JUPYTER_CONFIG_DIR": str(configuration)})
    found = json.loads(started.stdout)
    try:
        with forwarded(Path(found["tunnel"]["socket"])) as port:
            assert port != found["tunnel"]["port"]
            url = found["url"].replace(f":{found['tunnel']['port']}/", f":{port}/")
            yield Tunnelled(found["name"], url)
    finally:
        installed.rps("stop", found["name"])


@contextlib.contextmanager
def forwarded(target: Path) -> Iterator[int]:
    """Forward a port of 127.0.0.1 to a Unix socket, as `ssh -L` does; a connection for each."""

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):  # until the listener is closed
            while True:
                client, _ = listener.accept()
                service = socket.socket(socket.AF_UNIX)
                service.connect(str(target))
                opened.extend((client, service))
                for pair in ((client, service), (service, client)):
                    threading.Thread(target=carry, args=pair, daemon=True).start()

    opened: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=serve, daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(60)
            for one in opened:
                one.close()


def check(session: Tunnelled, seen: dict[str, Any], cookies: list[dict[str, Any]]) -> None:
    """Check what the page found: a cell that ran, and cookies that belong to this host alone."""
    assert seen == {
        "secure": True, "origin": session.origin, "path": "/lab", "kernel": 201, "printed": "42\n",
        "worker": f"{session.origin}/static/", "again": "/lab",
    }  # fmt: skip
    (login,) = [cookie for cookie in cookies if cookie["name"] == "__Host-login"]
    assert (login["secure"], login["httpOnly"]) == (True, True)
    assert {cookie["domain"] for cookie in cookies} == {urlsplit(session.url).hostname}


def test_chromium(installed: Any, need: Callable[[str], str], session: Tunnelled) -> None:
    home = installed.user.make(Path(installed.user.home) / f"home-{os.urandom(4).hex()}")
    with chromium(installed.user, home, need) as browser:
        browser.get(session.url)
        seen = json.loads(browser.execute_script(f"return {_RUN.strip()}"))
        browser.get(f"{session.origin}/api/status")  # with the cookie, and no token
        assert '"kernels":' in browser.page_source
        check(session, seen, browser.get_cookies())


def test_firefox(installed: Any, need: Callable[[str], str], session: Tunnelled) -> None:
    profile = installed.user.make(Path(installed.user.home) / f"firefox-{os.urandom(4).hex()}")
    with firefox(installed.user, need, profile) as browser:
        browser.get(session.url)
        seen = json.loads(browser.evaluate(_RUN.strip()))
        browser.get(f"{session.origin}/api/status")
        assert "kernels" in browser.evaluate("document.documentElement.textContent")
        check(session, seen, browser.send("storage.getCookies")["cookies"])


def test_a_page_of_another_origin_changes_nothing(session: Tunnelled) -> None:
    """The origin is the address in the address bar: scheme, host and port."""
    parts = urlsplit(session.url)
    host, port = parts.netloc, parts.port
    assert port is not None

    def answered(origin: str, asked: str = host) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Host": asked, "Origin": origin, "Accept": "text/plain"}
        connection.request("POST", f"/api/kernels?{parts.query}", body="{}", headers=headers)
        answer = connection.getresponse()
        with contextlib.closing(connection):
            return answer.status, answer.read().decode()

    assert answered(session.origin)[0] == 201
    any_port = f"{parts.hostname}:1234"
    assert answered(f"http://{any_port}", any_port)[0] == 201
    bare = str(parts.hostname)
    assert answered(f"http://{bare}", bare)[0] == 201
    for origin, asked in (
        (f"https://{host}", host),
        (f"http://{bare}:{port + 1}", host),
        (f"http://one-two-three.rps.localhost:{port}", host),
        ("null", host),
    ):
        status, text = answered(origin, asked)
        assert (status, text.startswith("Refused: the header field Origin")) == (403, True), origin


def test_the_socket_answers_for_sessions_alone(session: Tunnelled) -> None:
    port = urlsplit(session.url).port
    assert port is not None
    for asked, path in (
        (f"manage.rps.localhost:{port}", "/api/v1/health"),
        (f"manage.rps.localhost:{port}", f"/api/v1/sessions/{session.name}"),
        ("evil.example", "/"),
        (f"{session.name}.rps.localhost.evil.example", "/"),
        (f"{session.name}.rps.localhost:x", "/"),
        (f"{session.name}.rps.localhost:1234567", "/"),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path, headers={"Host": asked})
        answer = connection.getresponse()
        with contextlib.closing(connection):
            assert (answer.status, answer.read()) == (421, b"Not served here\n"), asked
