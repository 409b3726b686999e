"""The PROXY protocol's header, version 2."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rps_proxy.http.proxy_protocol import SIGNATURE, BadHeaderError, header, read

# Recorded: HAProxy 2.6.12 with send-proxy-v2 on a Unix socket, for a client at 127.0.0.9.
RECORDED = SIGNATURE + bytes.fromhex("2111000c7f0000097f0000019db939b3")


def test_what_haproxy_sends_is_read() -> None:
    assert read(RECORDED + b"GET /") == ("127.0.0.9", len(RECORDED))


@given(st.ip_addresses().map(str), st.binary())
def test_what_is_written_is_read_and_not_a_byte_more(source: str, rest: bytes) -> None:
    written = header(source)
    assert read(written + rest) == (source, len(written))
    for end in range(len(written)):
        assert read(written[:end]) is None


@given(st.binary(min_size=1))
@example(b"GET / HTTP/1.1\r\n")
@example(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1\r\n")
def test_anything_else_is_refused(data: bytes) -> None:
    if SIGNATURE.startswith(data[: len(SIGNATURE)]):
        return
    with pytest.raises(BadHeaderError):
        read(data)


@pytest.mark.parametrize(
    ("position", "byte"),
    [
        (12, 0x11),  # version 1
        (12, 0x20),  # LOCAL: a connection of the engine's own
        (12, 0x22),  # no command
        (13, 0x00),  # an unknown family
        (13, 0x12),  # a datagram
        (13, 0x31),  # a Unix socket
        (14, 0xFF),  # longer than any
        (15, 0x04),  # shorter than two addresses
    ],
)
def test_a_header_of_no_tcp_client_is_refused(position: int, byte: int) -> None:
    changed = bytearray(RECORDED)
    changed[position] = byte
    with pytest.raises(BadHeaderError):
        read(bytes(changed))


def test_extensions_are_passed_over() -> None:
    extended = RECORDED[:14] + b"\x00\x0f" + RECORDED[16:] + b"\x04\x00\x00"
    assert read(extended + b"GET") == ("127.0.0.9", len(extended))
