"""HTTP answers: what is read of them, compared with `http.client`; what is refused."""

from __future__ import annotations

import io
import socket
from http.client import HTTPResponse
from typing import Any

import pytest

from rps_core.node.agent.answer import (
    LONGEST_HEAD,
    Answer,
    Incoming,
    NotHttp,
    TimeLimit,
    TooLong,
    read_answer,
)
from rps_core.node.agent.exchange import Connection

LONGEST = 100
OK = b"HTTP/1.1 200 OK\r\n"


class Bytes:
    """A socket from which these bytes come, `at_once` of them at a time, and then its end."""

    def __init__(self, content: bytes, at_once: int = 1 << 16) -> None:
        self._stream = io.BytesIO(content)
        self._at_once = at_once
        self.sent = b""

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def recv(self, size: int) -> bytes:
        return self._stream.read(min(size, self._at_once))

    def send(self, data: memoryview) -> int:
        self.sent += bytes(data)
        return len(data)

    def close(self) -> None:
        pass

    def makefile(self, _mode: str) -> io.BytesIO:
        return self._stream


def read(content: bytes, at_once: int = 1 << 16) -> Answer:
    sock: Any = Bytes(content, at_once)
    return read_answer(Incoming(sock, TimeLimit(9)), LONGEST)


def answer(*fields: str, body: bytes = b"", first: bytes = OK) -> bytes:
    return first + "".join(f"{field}\r\n" for field in fields).encode("latin-1") + b"\r\n" + body


GOOD = {
    # mod_cgi of Apache 2.4 for a script of the satellite, which prints a type, a blank line and its text
    "a script behind Apache": answer(
        "Date: Mon, 30 Nov 2026 04:00:00 GMT", "Server: Apache/2.4.67 (Debian)", "Connection: close",
        "Transfer-Encoding: chunked", "Content-Type: text/plain; charset=UTF-8",
        body=b"1c\r\nYour token is \none-two-three\r\n0\r\n\r\n",
    ),
    # aiohttp.web, json_response
    "the service": answer(
        "Content-Type: application/json; charset=utf-8", "Content-Length: 2", "Date: x", body=b"{}"
    ),
    "the end of the connection": answer("Content-Type: text/plain", body=b"all of it"),
    "HTTP/1.0": answer("Content-Length: 2", body=b"{}", first=b"HTTP/1.0 200 OK\r\n"),
    "no reason": answer("Content-Length: 2", body=b"{}", first=b"HTTP/1.1 200\r\n"),
    "a blank reason": answer("Content-Length: 2", body=b"{}", first=b"HTTP/1.1 503 \r\n"),
    "nothing": answer(first=b"HTTP/1.1 204 No Content\r\n"),
    "not modified, of a length": answer("Content-Length: 9", first=b"HTTP/1.1 304 Not Modified\r\n"),
    "an empty body": answer("Content-Length: 0"),
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + answer("Content-Length: 2", body=b"{}"),
    "two chunks, an extension, a trailer": answer(
        "transfer-encoding: Chunked", body=b"3;a=b\r\nabc\r\n0A\r\n0123456789\r\n00\r\nX: y\r\n\r\n"
    ),
    "a close": answer("Content-Length: 2", "Connection: Keep-Alive, Close", body=b"{}"),
    "blanks around a value": answer("Content-Length: \t 2 \t", "X:", body=b"{}"),
    "not ASCII in a value": answer("Content-Length: 2", "X: \xe9", body=b"{}"),
}  # fmt: skip


@pytest.mark.parametrize("at_once", [1, 7, 1 << 16])
@pytest.mark.parametrize("what", GOOD)
def test_an_answer_is_read_as_the_standard_library_reads_it(what: str, at_once: int) -> None:
    found = read(GOOD[what], at_once)
    sock: Any = Bytes(GOOD[what])
    other = HTTPResponse(sock)
    other.begin()
    assert (found.status, found.body) == (other.status, other.read())
    assert found.headers == {name.lower(): value.strip() for name, value in other.getheaders()}
    assert found.kept == (not other.will_close)


BAD = {
    "HTTP/0.9": b"hello\r\n",
    "mail": b"220 mail\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "a version in lower case": b"http/1.1 200 OK\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status below 100": b"HTTP/1.1 099 OK\r\n\r\n",
    "a status with a sign": b"HTTP/1.1 +20 OK\r\n\r\n",
    "another protocol from here on": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "line feeds alone": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "a folded line": answer("X: a", " b"),
    "a blank before the colon": answer("Content-Length : 2", body=b"{}"),
    "no name": answer(": a"),
    "no colon": answer("X"),
    "a name that is not ASCII": answer("\xe9: a"),
    "a head that ends": OK + b"Content-Le",
    "an interim answer alone": b"HTTP/1.1 100 Continue\r\n\r\n",
    "a negative length": answer("Content-Length: -1", body=b"{}"),
    "a length with a sign": answer("Content-Length: +2", body=b"{}"),
    "a length in hexadecimal digits": answer("Content-Length: a", body=b"0123456789"),
    "a length with an underscore": answer("Content-Length: 1_0", body=b"0123456789"),
    "no length": answer("Content-Length:", body=b"{}"),
    "a length in other digits": answer("Content-Length: \xb2", body=b"{}"),
    "two lengths": answer("Content-Length: 2", "Content-Length: 3", body=b"{} "),
    "a length and chunks": answer(
        "Content-Length: 2", "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "chunks twice": answer(
        "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "another coding": answer("Transfer-Encoding: gzip", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "a cut body": answer("Content-Length: 3", body=b"{}"),
    "a cut chunk": answer("Transfer-Encoding: chunked", body=b"3\r\n{}"),
    "no last chunk": answer("Transfer-Encoding: chunked", body=b"2\r\n{}\r\n"),
    "no end of the trailers": answer("Transfer-Encoding: chunked", body=b"0\r\nX: y\r\n"),
    "a chunk that is longer": answer("Transfer-Encoding: chunked", body=b"2\r\n{}}\r\n0\r\n\r\n"),
    "a negative chunk": answer("Transfer-Encoding: chunked", body=b"-1\r\n{}"),
    "a chunk in another notation": answer("Transfer-Encoding: chunked", body=b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk without a size": answer("Transfer-Encoding: chunked", body=b"\r\n{}\r\n0\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("at_once", [1, 1 << 16])
@pytest.mark.parametrize("what", BAD)
def test_what_is_no_answer_is_refused(what: str, at_once: int) -> None:
    with pytest.raises(NotHttp):
        read(BAD[what], at_once)


LONG = {
    "a body": answer(f"Content-Length: {LONGEST + 1}", body=b" " * (LONGEST + 1)),
    "a length of many digits": answer(f"Content-Length: {'9' * 5000}"),
    "a body until the end": answer(body=b" " * (LONGEST + 1)),
    "chunks": answer("Transfer-Encoding: chunked", body=b"33\r\n" + b" " * 51 + b"\r\n33\r\n"),
    "a chunk's size": answer("Transfer-Encoding: chunked", body=b"9" * 100 + b"\r\n"),
    "a chunk's extension": answer("Transfer-Encoding: chunked", body=b"1;" + b"x" * 2000 + b"\r\n"),
    "trailers": answer("Transfer-Encoding: chunked", body=b"0\r\n" + b"X: y\r\n" * 9999),
    "a line of the head": OK + b"X: " + b"y" * LONGEST_HEAD,
    "lines of the head": OK + b"X: y\r\n" * 9999,
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 9999,
    "a first line": b"H" * LONGEST_HEAD,
}


@pytest.mark.parametrize("what", LONG)
def test_what_is_too_long_is_refused(what: str) -> None:
    with pytest.raises(TooLong):
        read(LONG[what])


def test_a_body_of_the_greatest_length_is_read() -> None:
    body = b" " * LONGEST
    assert read(answer(f"Content-Length: {LONGEST}", body=body)).body == body
    assert read(answer(body=body)).body == body
    chunks = answer("Transfer-Encoding: chunked", body=b"64\r\n" + body + b"\r\n0\r\n\r\n")
    assert read(chunks).body == body


def test_an_end_without_an_answer_is_that_of_the_connection() -> None:
    """So that a call over a connection that was kept is repeated on a new one."""
    with pytest.raises(ConnectionResetError, match="without an answer"):
        read(b"")


def test_a_connection_with_more_than_the_answer_is_not_kept() -> None:
    assert read(GOOD["the service"]).kept
    assert not read(GOOD["the service"] + OK).kept


def test_the_time_of_a_call_is_that_of_all_its_waits() -> None:
    sock: Any = Bytes(GOOD["the service"], 1)
    with pytest.raises(socket.timeout):
        read_answer(Incoming(sock, TimeLimit(0)), LONGEST)


def called(method: str, content: bytes | None, port: int = 8443, **headers: str) -> bytes:
    sock = Bytes(GOOD["the service"])
    connection = Connection("manage.example.org", port, None)
    connection._sock = sock
    connection.call(method, "/path", content, headers, 9, LONGEST)
    return sock.sent


def test_a_request_names_its_host_and_its_length() -> None:
    head = b"POST /path HTTP/1.1\r\nHost: manage.example.org:8443\r\nX: y\r\n"
    assert called("POST", b"{}", X="y") == head + b"Content-Length: 2\r\n\r\n{}"
    assert called("POST", None, X="y") == head + b"Content-Length: 0\r\n\r\n"
    assert called("GET", None, 443) == b"GET /path HTTP/1.1\r\nHost: manage.example.org\r\n\r\n"


def test_a_header_of_two_lines_is_not_sent_and_not_quoted() -> None:
    with pytest.raises(ValueError, match="control characters") as caught:
        called("GET", None, Authorization="Bearer secret\r\nX: y")
    assert "secret" not in str(caught.value)
