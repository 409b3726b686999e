"""Clients' requests are filtered and rate-limited in the engine's log."""

from __future__ import annotations

import re
import signal
from collections import Counter

from rps_proxy.engines.log_filter import MOST_LINES
from tests.engines.stand import Stand
from tests.stands.waiting import until

ESCAPES = "\x1b]0;evil\x07\x1b[2J\x9b31m"


def _upgrade(fields: str) -> bytes:
    return f"GET /ws HTTP/1.1\r\n{fields}\r\nConnection: Upgrade\r\n\r\n".encode("latin-1")


# Refused, or answered by a page; `{host}` is a session's.
REQUESTS = [
    f"TRACE /{ESCAPES} HTTP/1.1\r\nHost: HOST\r\n\r\n".encode(
        "latin-1"
    ),  # HAProxy refuses it, and logs it
    _upgrade(f"Host: HOST{ESCAPES}\r\nUpgrade: h2c"),
    _upgrade(f"Host: HOST{ESCAPES}\r\nUpgrade: websocket"),
    f"GET /{ESCAPES} HTTP/1.1\r\nHost: HOST\r\n\r\n".encode("latin-1"),
    f"GET / HTTP/1.1\r\nHost: HOST{ESCAPES}\r\n\r\n".encode("latin-1"),
    f"GET / HTTP/1.1\r\nHost: HOST\r\nX{ESCAPES}: a\r\n\r\n".encode("latin-1"),
    f"{ESCAPES} / HTTP/1.1\r\nHost: HOST\r\n\r\n".encode("latin-1"),
    b"GET /evil%1b%5b2J HTTP/1.1\r\nHost: HOST\r\nHost: HOST\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: \x1b[2J\r\n\r\n",
]


def test_no_log_has_escapes_or_a_line_for_each_request(stand: Stand) -> None:
    host = stand.issue().host
    for number, request in enumerate(REQUESTS):
        # If they span two minutes, one of them has more than the limit.
        for _ in range(2 if number else 2 * MOST_LINES + 5):
            with stand.connect(host) as connection:
                connection.sendall(request.replace(b"HOST", host.encode()))
                connection.settimeout(10)
                assert connection.recv(1) in (b"H", b"")
    for _ in range(3):
        with stand.plain_connection() as connection:  # no TLS
            connection.sendall(ESCAPES.encode("latin-1"))
            connection.settimeout(10)
            connection.recv(1)
    if stand.engine is not None:
        stand.engine.send_signal(signal.SIGTERM)
        stand.engine.wait(30)
    stand.stop()
    left_out = re.compile(r"^log-lines-left-out number=([1-9]\d*)", re.M)
    if stand.kind == "haproxy":  # the filter ends after the engine; Apache logs none of these
        until(lambda: left_out.search(stand.engine_log()) is not None, "the filter counts")
    logged = stand.log() + stand.engine_log()
    assert not re.search(r"[^\n -~]", logged)
    kinds = Counter(line.partition(" ")[0] for line in stand.engine_log().splitlines())
    assert [kind for kind, number in kinds.items() if number > 2 * MOST_LINES] == []
    assert bool(left_out.search(logged)) == (stand.kind == "haproxy")
    assert len(stand.log().splitlines()) < MOST_LINES
