"""Apache alone: look-ups, unchanged paths, certificate, an existing Apache."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rps_proxy.engine import Target, Traffic
from rps_proxy.engines.apache.engine import Apache
from tests.engines.stand import Stand, running
from tests.stands.service import DOMAIN

MODULE_DIRECTORY = "/usr/lib/apache2/modules"


@pytest.fixture
def apache(tmp_path: Path, need: Callable[[str], str]) -> Iterator[Stand]:
    with running(tmp_path, "apache", need) as stand:
        yield stand


class Nothing:
    """An engine for websockets that has none."""

    async def add(self, target: Target) -> None: ...
    async def remove(self, target: Target) -> None: ...
    async def reconcile(self, targets: object) -> None: ...
    async def certificate(self, pem: bytes) -> None: ...
    async def traffic(self) -> Traffic:
        return Traffic()

    def sweep(self) -> None: ...
    def close(self) -> None: ...


def routes(directory: Path) -> dict[str, str]:
    """Return the routes as a read-only reader sees them during a write."""
    database = sqlite3.connect(f"file:{directory / 'routes.db'}?mode=ro", uri=True)
    try:
        return dict(database.execute("SELECT host, upstream FROM routes").fetchall())
    finally:
        database.close()


async def test_its_file_has_the_routes_and_no_others(tmp_path: Path) -> None:
    engine = Apache(tmp_path, Nothing())
    first = Target("a", "a.rps.localhost", "127.0.0.1", 2001)
    old = Target("b", "b.rps.localhost", "::1", 2002, verified=False)
    await engine.add(first)
    await engine.add(old)
    assert routes(tmp_path) == {
        "a.rps.localhost": "https://127.0.0.1:2001",
        "b.rps.localhost": "http://[::1]:2002",
    }
    await engine.remove(first)
    moved = Target("b", "b.rps.localhost", "127.0.0.2", 2003)
    third = Target("c", "c.rps.localhost", "127.0.0.1", 2004)
    await engine.reconcile({"b": moved, "c": third})
    expected = {
        "b.rps.localhost": "https://127.0.0.2:2003",
        "c.rps.localhost": "https://127.0.0.1:2004",
    }
    assert routes(tmp_path) == expected
    engine.close()
    assert routes(tmp_path) == expected
    assert not (tmp_path / "routes.db-wal").exists()


async def test_a_broken_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "routes.db").write_bytes(b"half a page" * 1000)
    engine = Apache(tmp_path, Nothing())
    await engine.reconcile({"a": Target("a", "a.rps.localhost", "127.0.0.1", 2001)})
    assert routes(tmp_path) == {"a.rps.localhost": "https://127.0.0.1:2001"}
    engine.close()


def test_routes_are_read_after_the_service_has_stopped(apache: Stand) -> None:
    with apache.notebook() as (session, _):
        assert apache.stop() == 0
        for _ in range(5):
            assert apache.request(session.host, "GET", "/").status == 200
        unknown = f"no-such-name.{DOMAIN}:{apache.port}"
        assert apache.request(unknown, "GET", "/").status == 503


@pytest.mark.parametrize(
    "path",
    [
        "/a%2Fb%20c?d=%3F&e=f%2Fg",
        "//a/./b;c?",
        "/a%3Fb",
        "/a%25b?x=1?y=2",
        "/files/a'(b)*[1]|x^",
        "/%7Euser/a+b",
    ],
)
def test_paths_reach_the_notebook_as_they_came(apache: Stand, path: str) -> None:
    with apache.notebook() as (session, notebook):
        assert apache.request(session.host, "GET", path).status == 200
        # The embedded engine, too, may lose an empty query's question mark.
        assert notebook.requests == [f"GET {path.removesuffix('?')} HTTP/1.1"]


def test_an_apache_that_is_there_already_takes_the_site(
    apache: Stand, need: Callable[[str], str]
) -> None:
    """Test that it neither logs notebooks' requests nor shows its status to visitors."""
    secret = "c4n4ry-0f-4-qu3ry"
    log = apache.meeting / "run" / "access.log"
    more = ("mime", "status")  # Debian's has log_config built in
    lines = [f"LoadModule {name}_module {MODULE_DIRECTORY}/mod_{name}.so" for name in more]
    lines += [
        f'CustomLog {log} "%r %q %U"', "TypesConfig /etc/mime.types",
        "<Location /server-status>", "SetHandler server-status", "</Location>",
        f"Include {apache.meeting}/apache.conf", "LogLevel info",
    ]  # fmt: skip
    own = apache.meeting / "own.conf"
    own.write_text("\n".join(lines))
    apache.kill_engine()
    apache.start_engine([need("apache2"), "-DFOREGROUND", "-f", str(own)])
    with apache.notebook() as (session, notebook):
        answer = apache.request(session.host, "GET", f"/server-status?token={secret}")
        assert answer.json()["line"] == f"GET /server-status?token={secret} HTTP/1.1"
        assert notebook.requests == [f"GET /server-status?token={secret} HTTP/1.1"]
    apache.request(session.host, "GET", f"/?token={secret}")  # it does not answer any more
    apache.request(f"no-such-name.{DOMAIN}:{apache.port}", "GET", f"/?token={secret}")
    for malformed in ("Host: a\r\nHost: b", "Host: a\r\nBad Field: x"):
        apache.send(session.host, f"GET /?token={secret} HTTP/1.1\r\n{malformed}\r\n\r\n".encode())
    assert log.exists()
    assert secret not in log.read_text() + apache.engine_log()


@pytest.mark.parametrize("malformed", ["Bad Field: x", "Host: another"])
def test_a_percent_sign_lets_no_malformed_request_pass(apache: Stand, malformed: str) -> None:
    """Test an invalid `%`.

    Apache reads the whole header before it refuses, so rps passes it on.
    """
    with apache.notebook() as (session, notebook):
        sent = f"GET /50%.txt HTTP/1.1\r\nHost: {session.host}\r\n{malformed}\r\n\r\n"
        answer = apache.send(session.host, sent.encode())
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.endswith(b"\r\n\r\nBad request\n")
        assert notebook.requests == []
