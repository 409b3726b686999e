"""Applications behind a real Jupyter's login, by the real jupyter-server-proxy, with the real agent."""

from __future__ import annotations

import html
import json
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any

import pytest

from tests.stands.agent import (
    DOMAIN,
    JUPYTER,
    NAME,
    TOKEN,
    StandIn,
    agent,
    event,
    events,
    make_session,
    stand_in,
)
from tests.stands.service import free_port
from tests.stands.waiting import until

# Shows what it gets, at a port or a Unix socket; its first line of output has its arguments and directory.
ECHO = """\
import http.server, json, os, socket, socketserver, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        content = json.dumps({"path": self.path, "headers": dict(self.headers)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *arguments):
        pass
class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    if "/" in sys.argv[1]:
        address_family = socket.AF_UNIX
        def get_request(self):
            return self.socket.accept()[0], ("", 0)
names = "MINE", "JUPYTER_PATH"
print(json.dumps([sys.argv[2:], os.getcwd(), *map(os.environ.get, names)]), flush=True)
Server(sys.argv[1] if "/" in sys.argv[1] else ("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
# Its first answer comes after the check has given up waiting for it.
LOADS = ECHO.replace("import", "import time,", 1).replace(
    "do_GET(self):\n", "do_GET(self):\n        seen or seen.append(1) or time.sleep(7)\n"
)
LOADS = f"seen = []\n{LOADS}"
# Another user has its port.
FOREIGN = ECHO.replace("print(json", "os.setgid(65534); os.setuid(65534); print(json")
DIES = (
    "import sys; print('no such model', flush=True); open(sys.argv[1], 'a').write('x'); sys.exit(3)"
)
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can run a program as another user")
ODD = ["a b", "$(touch x)", "'\"", "é", "{not_a_placeholder}", "%s"]


def row(*command: str, **keys: Any) -> dict[str, Any]:
    """Return an application as the launcher writes it."""
    return {
        "title": "Test", "command": [sys.executable, *command], "arguments": [], "path": "",
        "keeps_prefix": False,
        "programs": [], "environment": {}, "headers": {}, "health": None, "timeout": 30, "bin": [],
        "directory": "/", "host": f"{NAME}.{DOMAIN}", **keys,
    }  # fmt: skip


class Visitor:
    """Visits a session as an engine does; `headers` go with each visit."""

    def __init__(self, session: Path, stand: StandIn, **headers: str) -> None:
        self._port = event(session, "ready")["port"]
        self._context = ssl.create_default_context(cadata=stand.upstream.certificate.decode())
        self._headers = headers

    def get(self, path: str, **headers: str) -> tuple[HTTPResponse, str]:
        host = f"{NAME}.{DOMAIN}"
        connection = HTTPSConnection(host, self._port, context=self._context)
        raw = socket.create_connection(("127.0.0.1", self._port), 60)
        connection.sock = self._context.wrap_socket(raw, server_hostname=host)
        fields = {key.replace("_", "-"): text for key, text in {**self._headers, **headers}.items()}
        connection.request("GET", path, headers=fields)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer, text


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, StandIn, Path]]:
    """One session with several applications, which opens `echo`."""
    place = tmp_path_factory.mktemp("session")
    starts = place / "starts"
    apps = {
        "echo": row("-c", ECHO, "{port}", "{arguments}", arguments=ODD, directory=str(place),
                    environment={"MINE": "{secret}"}, headers={"Authorization": "Mine {secret}"}),
        "socket": row("-c", ECHO, "{unix_socket}", keeps_prefix=True,
                      environment={"JUPYTER_PATH": "/kernels:/others"}),
        "dies": row("-c", DIES, str(starts), "{port}"),
        "silent": row("-c", "import time; time.sleep(1000)", "{port}", timeout=2),
        "loads": row("-c", LOADS, "{port}"),
        "elsewhere": row("-c", ECHO, "0", "{port}", timeout=2),
        "socketless": row("-c", "import time; time.sleep(1000)", "{unix_socket}", timeout=2),
        "foreign": row("-c", FOREIGN, "{port}"),
        "unlisted": row(programs=["no-such-one"]),
        "absent": row() | {"command": ["no such program", "{port}"]},
    }  # fmt: skip
    with stand_in(place / "service") as stand:
        session = make_session(place / "session", stand, apps=apps, app="echo")
        with agent(session):
            yield session, stand, starts


@pytest.fixture
def owner(running: tuple[Path, StandIn, Path]) -> Visitor:
    """Return a visitor with the session's token."""
    return Visitor(running[0], running[1], Authorization=f"token {TOKEN}")


def test_the_sessions_application_is_there_when_the_session_is_ready(
    running: tuple[Path, StandIn, Path], owner: Visitor
) -> None:
    session = running[0]
    assert event(session, "ready")
    assert event(session, "applications")["served"] is True
    missing = event(session, "applications")["missing"]
    assert missing == {"absent": "no such program", "unlisted": "no-such-one"}
    assert "/usr/bin" in event(session, "applications")["path"].split(":")
    lines = (session / "job.log").read_text().splitlines()
    shown = next(line for line in lines if line.startswith('[echo] [["a b"'))
    arguments, directory, *_ = json.loads(shown.removeprefix("[echo] "))
    assert arguments == ODD
    assert directory == str(session.parent)
    assert not (session.parent / "x").exists()


def test_nothing_is_reached_without_the_token(running: tuple[Path, StandIn, Path]) -> None:
    stranger = Visitor(running[0], running[1])
    websocket = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13",
                 "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
    port = free_port()
    for path in ("/app/echo/", "/app/echo/x?token=wrong", "/app/socket/", f"/proxy/{port}/",
                 f"/proxy/absolute/{port}/", "/api/rps/apps", "/server-proxy/servers-info"):  # fmt: skip
        answer, text = stranger.get(path)
        assert answer.status in (302, 403), path
        assert answer.status == 403 or answer.headers["Location"].startswith("/login?")
        assert '"headers"' not in text
        if "rps" not in path and "servers-info" not in path:
            assert stranger.get(path, **websocket)[0].status == 403, path


def test_no_application_gets_the_cookie_or_the_token(running: tuple[Path, StandIn, Path]) -> None:
    session, stand, _ = running
    page = Visitor(session, stand, Accept="text/html")
    answer, _ = page.get(f"/app/echo/deep/link?a=1&token={TOKEN}&b=2")
    assert answer.status == 302
    assert answer.headers["Location"] == "/app/echo/deep/link?a=1&b=2"
    cookies = [text.partition(";")[0] for text in answer.headers.get_all("Set-Cookie") or []]
    login = next(text for text in cookies if text.startswith("__Host-login="))
    cookie = f"first=1; {login}; last=2"
    for app, path in (("echo", "/deep/link"), ("socket", "/app/socket/deep/link")):
        answer, text = page.get(
            f"/app/{app}/deep/link?a=1&b=2",
            Cookie=cookie,
            Referer=f"https://x/?token={TOKEN}",
            X_Mine="kept",
        )
        assert answer.status == 200
        assert json.loads(text)["path"] == f"{path}?a=1&b=2"
        assert TOKEN not in text
        assert "__Host-login" not in text
        headers = json.loads(text)["headers"]
        assert [one.strip() for one in headers["Cookie"].split(";")] == ["first=1", "last=2"]
        assert headers["X-Mine"] == "kept"
        assert "Referer" not in headers
    for name in ("token", "Bearer"):
        program = Visitor(session, stand, Authorization=f"{name} {TOKEN}")
        text = program.get(f"/app/socket/?token={TOKEN}&a=1")[1]
        assert TOKEN not in text
        assert json.loads(text)["path"] == "/app/socket/?a=1"


def test_an_applications_own_secret_reaches_it_and_no_log(
    running: tuple[Path, StandIn, Path], owner: Visitor
) -> None:
    headers = json.loads(owner.get("/app/echo/")[1])["headers"]
    secret = headers["Authorization"].removeprefix("Mine ")
    assert len(secret) == 32
    log = (running[0] / "job.log").read_text()
    assert '"[secret]"' in log
    assert secret not in log


def test_an_applications_own_data_go_before_those_of_other_prefixes(
    running: tuple[Path, StandIn, Path], owner: Visitor
) -> None:
    """Voila else takes nbconvert's templates for its own."""
    owner.get("/app/socket/")
    log = (running[0] / "job.log").read_text()
    shown = next(line for line in log.splitlines() if line.startswith("[socket] ["))
    paths = json.loads(shown.removeprefix("[socket] "))[-1].split(":")
    assert paths == ["/kernels", f"{sys.prefix}/share/jupyter", "/others"]


def test_one_that_ends_is_reported_with_its_last_lines_and_not_started_in_a_loop(
    running: tuple[Path, StandIn, Path], owner: Visitor
) -> None:
    for _ in range(3):
        answer, text = owner.get("/app/dies/")
        assert answer.status == 502
        assert "ended before it answered: exit code 3" in text
        assert "no such model" in text
    assert len(running[2].read_text()) <= 2


def test_one_whose_first_answer_is_late_is_waited_for(owner: Visitor) -> None:
    answer, text = owner.get("/app/loads/")
    assert (answer.status, json.loads(text)["path"]) == (200, "/")


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("silent", r"did not answer at port [0-9]+ within 2 s\."),
        ("elsewhere", r'did not answer at port ([0-9]+) within 2 s\.\n\[\["\1"\]'),
        ("socketless", r"did not answer at its Unix socket within 2 s\."),
        ("absent", r"there is no program `no such program` on this node\."),
        pytest.param(
            "foreign",
            r"cannot be reached: port [0-9]+ of this node is that of another user's program\.",
            marks=as_root,
        ),
    ],
)
def test_one_that_never_answers_is_ended(
    running: tuple[Path, StandIn, Path], owner: Visitor, app: str, words: str
) -> None:
    answer, text = owner.get(f"/app/{app}/")
    assert answer.status == 502
    assert re.search(words, html.unescape(text)), text
    states = json.loads(owner.get("/api/rps/apps")[1])
    assert states[app]["state"] == "failed"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def server(port: int, **options: Any) -> Iterator[None]:
    """Run a program of this or another user that listens at a port."""
    command = ["/usr/bin/python3", "-c", ECHO, str(port)]
    with subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, **options) as process:
        try:
            assert process.stdout
            process.stdout.readline()
            until(lambda: listens(port), "the port")
            yield
        finally:
            process.kill()


def test_a_port_of_the_users_own_is_opened(owner: Visitor) -> None:
    port = free_port()
    with server(port):
        answer, text = owner.get(f"/proxy/{port}/x")
        assert answer.status == 200
        assert json.loads(text)["path"] == "/x"
        assert TOKEN not in text
        assert json.loads(owner.get(f"/proxy/absolute/{port}/x")[1])["path"].endswith(f"{port}/x")


@as_root
def test_the_port_of_another_user_is_not_opened(owner: Visitor) -> None:
    port = free_port()
    with server(port, user=65534, group=65534, extra_groups=[]):
        for path in (f"/proxy/{port}/", f"/proxy/127.0.0.1:{port}/", f"/proxy/absolute/{port}/"):
            answer, text = owner.get(path)
            assert answer.status == 403, text
            assert "another user" in text
            assert '"headers"' not in text


def ended(tmp_path: Path, **launch: Any) -> dict[str, Any]:
    """Return how a session ended that could not open its application."""
    with stand_in(tmp_path / "service") as stand:
        session = make_session(tmp_path / "session", stand, **launch)
        with agent(session) as process:
            process.wait(120)
        assert not events(session, "ready")
        assert stand.count("redeem") == 0
        return events(session, "ended")[0]


def test_a_session_whose_application_fails_ends_with_its_last_lines(tmp_path: Path) -> None:
    apps = {"dies": row("-c", DIES, str(tmp_path / "starts"), "{port}")}
    found = ended(tmp_path, apps=apps, app="dies")
    assert found["cause"] == "start-failed"
    assert found["reason"] == "The application dies ended before it answered: exit code 3"
    assert found["log"] == "no such model"


def jupyter_without(tmp_path: Path) -> Path:
    """Return a Jupyter whose Python has no jupyter-server-proxy."""
    program = tmp_path / "jupyter"
    program.write_text("#!/usr/bin/python3\n")
    program.chmod(0o755)
    (tmp_path / "jupyter-lab").symlink_to(program)
    return program


def test_without_jupyter_server_proxy_the_session_ends_before_jupyter_starts(
    tmp_path: Path,
) -> None:
    apps = {"echo": row("-c", ECHO, "{port}")}
    found = ended(tmp_path, apps=apps, app="echo", jupyter=str(jupyter_without(tmp_path)))
    assert "has no jupyter-server-proxy" in found["reason"]


def test_the_jupyter_of_rps_serves_where_the_users_cannot(tmp_path: Path) -> None:
    apps = {"echo": row("-c", ECHO, "{port}")}
    with stand_in(tmp_path / "service") as stand:
        session = make_session(
            tmp_path / "session", stand, apps=apps, app="echo", jupyter=str(jupyter_without(tmp_path)),
            app_jupyter=str(JUPYTER),
        )  # fmt: skip
        with agent(session):
            owner = Visitor(session, stand, Authorization=f"token {TOKEN}")
            assert owner.get("/app/echo/")[0].status == 200
