"""Send random messages of the grammar by each way to the service.

Check the results.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from rps_proxy.engines.workers.pool import DOOR_FILE
from rps_proxy.http.proxy_protocol import header
from rps_proxy.settings.model import ADMIN_SOCKET_FILE
from tests.engines.http2_grammar import Http2
from tests.engines.requests_grammar import Grammar, Place
from tests.engines.stand import Carried
from tests.stands.service import DOMAIN

# By engine: its port, the socket of the service behind it, HTTP/2, the admin socket.
WAYS = {
    "embedded": ("engine", "admin"),
    "workers": ("engine", "door"),
    "haproxy": ("engine", "door", "http2"),
    "apache": ("engine", "door", "http2"),
}
FEED_KEY = "feed-" * 8
AT_ONCE = 8  # conversations
PATIENCE = 0.4  # seconds of silence after which a conversation has ended
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? (\d{3})[ \r]")
# In capitals or with spaces: names of sessions are words, and are in the logs.
_DEFECTS = ('"defect"', "Traceback (most", "exited on signal", "exit signal", "[ALERT]", "PANIC")


class Way(Protocol):
    """A way to the service; `say` has one conversation over it."""

    def say(self, random: Random) -> Said: ...


@dataclass
class Said:
    """A conversation: what was sent, and the statuses and bytes that came back."""

    sent: bytes
    answer: bytes
    statuses: list[int]


@dataclass
class Findings:
    """The results of all conversations of one run."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass
class Stream:
    """HTTP/1 on a connection that `connect` makes; `begin` changes what is sent first."""

    connect: Callable[[], socket.socket]
    place: Place
    admin: bool = False
    begin: Callable[[bytes], bytes] = lambda sent: sent

    def say(self, random: Random) -> Said:
        parts = Grammar(random, self.place, admin=self.admin).conversation()
        parts[0] = self.begin(parts[0])
        answer = b""
        with self.connect() as connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE)
            for part in parts:
                connection.sendall(part)
            while received := connection.recv(65536):
                answer += received
        return Said(b"".join(parts), answer, [int(found) for found in _STATUS.findall(answer)])


def way_to(carried: Carried, kind: str, way: str) -> Way:
    """Return the way of that name to this engine, or to what is behind it."""
    stand, place = carried.stand, place_of(carried)
    if way == "engine":
        return Stream(lambda: _tls(carried, "http/1.1"), place)
    if way == "http2":
        return Http2(lambda: _tls(carried, "h2"), place)
    if way == "admin":
        return Stream(
            lambda: _unix(stand.directory / "service" / ADMIN_SOCKET_FILE), place, admin=True
        )
    behind = {"workers": stand.directory / "service" / DOOR_FILE}
    door = behind.get(kind, stand.meeting / "service.sock")
    begin = _with_caller if kind == "apache" else _after_header
    return Stream(lambda: _unix(door), place, begin=begin)


def _with_caller(sent: bytes) -> bytes:
    """Add the field in which Apache says whose a connection is."""
    return sent.replace(b"\r\n", b"\r\nX-Rps-Caller: 127.0.0.1\r\n", 1)


def _after_header(sent: bytes) -> bytes:
    """Put the PROXY protocol's header before it, as HAProxy and the workers do."""
    return header("127.0.0.1") + sent


def place_of(carried: Carried) -> Place:
    """Return a place with a session of each kind."""
    stand = carried.stand
    ended, *waiting = [stand.issue(user="alice", cluster="comet") for _ in range(31)]
    stand.revoke(ended)
    # Without the claim of the live session, which must stay.
    claims = {each.name: each.claim for each in (ended, *waiting)}
    claims["feed"] = FEED_KEY
    old = [
        stand.request(f"manage.{DOMAIN}", "GET", "/getlink.cgi").body.split()[-1].decode()
        for _ in range(5)
    ]
    return Place(DOMAIN, stand.port, carried.session.name, (*claims, *old, "a-b-c"), claims)


def run(way: Way, seeds: Iterator[str], findings: Findings) -> int:
    """Have a conversation for each seed; how many there were."""

    def one(seed: str) -> None:
        said = way.say(Random(seed))
        findings.statuses.update(said.statuses)
        if wrong := [status for status in said.statuses if is_wrong(status, said)]:
            findings.wrong.append(
                f"RPS_FUZZ_SEED={seed}: {wrong}\nsent: {said.sent[:2000]!r}\nanswer: {said.answer[:600]!r}"
            )

    turn = threading.Lock()

    def go_on() -> int:
        number = 0
        while True:
            with turn:  # `pool.map` would generate all seeds before the first conversation
                seed = next(seeds, None)
            if seed is None:
                return number
            one(seed)
            number += 1

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(each.result() for each in [pool.submit(go_on) for _ in range(AT_ONCE)])


def is_wrong(status: int, said: Said) -> bool:
    """Return whether an answer is an unexpected 5xx.

    Expected are those of a notebook (ours does not know all methods), of pages of sessions, and of
    readiness.
    """
    if status < 500 or b"server: basehttp" in said.answer.lower():
        return False
    of_a_session = re.search(rb"[a-z]+-[a-z]+-[a-z]+\.rps\.localhost", said.sent, re.IGNORECASE)
    if status in (502, 503) and of_a_session:
        return False
    return not (status == 503 and b"ready" in said.sent)


def defects(carried: Carried) -> list[str]:
    """Return the lines of both logs that report a defect, with the lines after them."""
    found = []
    for text in (carried.stand.log(), carried.stand.engine_log()):
        lines = text.splitlines()
        for number, line in enumerate(lines):
            if any(word in line for word in _DEFECTS):
                found.append("\n".join(lines[number : number + 3])[:4000])
    return found


def _unix(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(path))
    return connection


def _tls(carried: Carried, protocol: str) -> socket.socket:
    context = ssl.create_default_context(cafile=str(carried.stand.directory / "ca" / "ca.pem"))
    context.set_alpn_protocols([protocol])
    plain = socket.create_connection(("127.0.0.1", carried.stand.port), 20)
    try:
        return context.wrap_socket(plain, server_hostname=f"manage.{DOMAIN}")
    except BaseException:
        plain.close()
        raise
