"""HTTP messages that can be parsed in two ways, for every engine."""

from __future__ import annotations

# Request headers without the final empty line; `{host}` is the session's host.
HEADS = (
    "GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}",
    "GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.example",
    "GET / HTTP/1.1",
    "GET / HTTP/1.0",
    "GET https://{host}/ HTTP/1.1\r\nHost: {host}",
    "GET http://evil.example/ HTTP/1.1\r\nHost: {host}",
    "CONNECT {host} HTTP/1.1\r\nHost: {host}",
    "CONNECT evil.example:22 HTTP/1.1\r\nHost: {host}",
    "OPTIONS * HTTP/1.1\r\nHost: {host}",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nContent-Length: 4",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\nContent-Length: 3",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: +3",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3, 3",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: gzip",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, identity",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding : chunked",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding:\x0bchunked",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked, chunked",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: xchunked",
    "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding:\r\n chunked",
    "POST / HTTP/1.0\r\nHost: {host}\r\nTransfer-Encoding: chunked",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0x3",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3_0",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1e1",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length:",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999999999999999999999",
    "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\x20Transfer-Encoding: chunked",
    "GET / HTTP/1.1\r\nHost: {host}\r\nX: a\r\n folded",
    "GET / HTTP/1.1\r\nHost: {host}\r\nX: a\rX-Forwarded-For: evil",
    "GET / HTTP/1.1\r\nHost: {host}\r\nX: a\0b",
    "GET / HTTP/1.1\r\nHost: {host}\r\n: empty",
    "GET / HTTP/1.1\r\nHost : {host}",
    "GET  / HTTP/1.1\r\nHost: {host}",
    "GET /a b HTTP/1.1\r\nHost: {host}",
    "GET / HTTP/2.0\r\nHost: {host}",
    "G@T / HTTP/1.1\r\nHost: {host}",
)

# Chunked bodies of a request that begins with CHUNKED. SMUGGLED follows them.
CHUNKED = "POST /x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n"
SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: {host}\r\n\r\n"
CHUNKS = (
    "+3\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "3_0\r\nabc\r\n0\r\n\r\n",
    "\r\nabc\r\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "g\r\nabc\r\n0\r\n\r\n",
    "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "3;a\nb\r\nabc\r\n0\r\n\r\n",
)

# Complete headers with wrong line endings, or too long.
LINES = (
    "GET / HTTP/1.1\nHost: {host}\n\n",
    "GET / HTTP/1.1\nHost: {host}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {host}\nX: 1\r\n\r\n",
    "GET / HTTP/1.1\rHost: {host}\r\r",
    "GET /" + "a" * 140_000 + " HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {host}\r\nX: " + "a" * 140_000 + "\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: {host}\r\n" + "X: 1\r\n" * 1_100 + "\r\n",
)

# Responses of a notebook.
ANSWERS = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b=1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nxx",
    b"HTTP/1.1 two hundred\r\n\r\n",
    b"not http at all\r\n\r\n",
    b"",
)

# Host fields, and the expected status of `GET /lab`; `{name}` is a session that is ready.
HOSTS = (
    ("{name}.{domain}:{port}", 200),
    ("{name}.{domain}", 200),
    ("{NAME}.{domain}", 200),
    ("{name}.{domain}:1", 421),
    ("{name}.{domain}:", 421),
    ("{name}.{domain}.", 308),
    ("{name}.{domain}.evil.example", 421),
    ("{name}.evil.{domain}", 421),
    ("x.{name}.{domain}", 421),
    ("{name}{domain}", 421),
    ("evil.example", 421),
    ("127.0.0.1:{port}", 421),
    ("[::1]", 421),
    ("{domain}", 404),
    ("", 421),
    ("{name}-x.{domain}", 404),
    ("a-b-c.{domain}", 404),
    ("%00.{domain}", 421),
    ("{name}.{domain}@evil.example", 421),
    ("evil.example/{name}.{domain}", 421),
    ("{name},{domain}", 421),
    ("é.{domain}", 421),
    ("k\u212a-b-c.{domain}", 421),
)
