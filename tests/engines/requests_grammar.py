"""A grammar of random requests, valid and invalid, that a client could send.

Everything comes from one `random.Random`, so that a seed gives the same bytes again.
"""

# ruff: noqa: E501 - tables of values
from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

METHODS = ("GET",) * 8 + ("POST",) * 6 + ("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE")
ODD_METHODS = (
    "CONNECT",
    "PRI",
    "get",
    "G@T",
    "",
    "A" * 5000,
    "GET\x00",
    "\xff",
    "M-SEARCH",
    "QUERY",
)
VERSIONS = ("HTTP/1.1",) * 12 + ("HTTP/1.0",) * 3
ODD_VERSIONS = (
    "HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/1.9", "HTTP/3.0", "HTTP/9.9", "HTTP/2", "HTTP/1", "HTTP/11",
    "HTTP/1.10", "HTTP/0.0", "HTTP/1.1 ", "http/1.1", "HTP/1.1", "HTTP/-1.1", "HTTP/1.x", "", "ICY/1.1",
)  # fmt: skip
CALLS = ("", "/link", "/job", "/certificate", "/redeem", "/renew", "/revoke", "/nothing")
CGI = ("getlink", "linktoken", "redeemtoken", "destroytoken", "tokenjobstate", "update-jobs")
ADMIN = (
    "status",
    "sessions",
    "revoke",
    "drain",
    "unfinished-jobs",
    "job-states",
    "metrics",
    "ready",
    "x",
)
PARTS = (
    "%00", "%ff", "%", "%zz", "..", "../..", "//", "?", "#", "\\", "@", ":", "[", "]", "[::1", "\xff", "\x7f",
    "\xc3\xa9", "%2e%2e", ";", "&a=b", "?token=", "=", "*", "|", "{}", "a" * 300, "\t", "http://", "xn--", "%0d%0a",
)  # fmt: skip
FIELDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Accept", ("text/html", "*/*", "application/json;q=0", ",,,", "text/html;" * 500)),
    ("Accept-Encoding", ("gzip", "br;q=x", "identity;q=0", "*")),
    ("Authorization", ("Bearer {claim}", "Bearer x", "Bearer", "bearer  \xff", "Basic x", "Bearer " + "a" * 9000)),
    ("Connection", ("close", "keep-alive", "upgrade", "Host", "close, upgrade", ",", "Content-Length", "X-Rps-Caller")),
    ("Content-Encoding", ("gzip", "deflate", "br", "zstd", "identity, gzip", "x")),
    ("Content-Type", ("application/json", "multipart/form-data", "text/plain; charset=x", "\xff", ";")),
    ("Cookie", ("a=b", "=", ";;;", "a=" + "b" * 4000, "__Host-login=1", "\xff")),
    ("Date", ("yesterday",)),
    ("Expect", ("100-continue", "200-ok", "")),
    ("Forwarded", ("for=1.2.3.4", "for=\"")),
    ("If-Modified-Since", ("Sun, 99 Foo 2026 00:00:00 GMT", "0", "Thu, 01 Jan 1970 00:00:00 GMT")),
    ("If-None-Match", ("*", '"a"', "\xff")),
    ("Keep-Alive", ("timeout=99999999999999999999", "x")),
    ("Last-Event-ID", ("1", "\xff")),
    ("Origin", ("https://{host}", "https://evil.example", "null", "\xff", "")),
    ("Proxy-Connection", ("close",)),
    ("Range", ("bytes=0-", "bytes=9-1", "bytes=-", "x=1", "bytes=" + "0-1," * 500)),
    ("Sec-Fetch-Site", ("same-origin", "cross-site", "none", "x")),
    ("Sec-WebSocket-Extensions", ("permessage-deflate", "x; y=\"")),
    ("Sec-WebSocket-Key", ("dGhlIHNhbXBsZSBub25jZQ==", "x", "")),
    ("Sec-WebSocket-Protocol", ("a, b", ",")),
    ("Sec-WebSocket-Version", ("13", "8", "x")),
    ("TE", ("trailers", "gzip")),
    ("Trailer", ("Host", "Content-Length")),
    ("Upgrade", ("websocket", "h2c", "websocket, h2c", "TLS/1.0", "", "WebSocket")),
    ("HTTP2-Settings", ("AAMAAABkAAQAAP__", "x")),
    ("Via", ("1.1 x",)),
    ("X-Forwarded-For", ("1.2.3.4", "\xff")),
    ("X-Http-Method-Override", ("DELETE",)),
    ("X-Rps-Caller", ("127.0.0.1", "::1", "x", "", "fe80::1%eth0", "1.2.3.4, 5.6.7.8", "\xff")),
    ("X-Rps-Munge", ("MUNGE:AwQDAA==:", "x")),
    ("X", ("", "a\x00b", "a\rb", "\x7f", "\xff" * 50, "a" * 9000, "a" * 40000, "a\n b")),
)  # fmt: skip
ODD_NAMES = (
    "",
    " X",
    "X ",
    "X Y",
    "X:",
    "\xff",
    "Ho st",
    "(",
    "x" * 9000,
    "Content-Length\t",
    "\x00",
)
LENGTHS = (
    "0",
    "1",
    "5",
    "+5",
    "-1",
    "5, 5",
    "0x5",
    "5_0",
    "",
    "99999999999999999999",
    "1e3",
    "5 ",
    "\xb2",
    "00005",
)
CODINGS = (
    "chunked",
    "gzip, chunked",
    "chunked, chunked",
    "identity",
    "xchunked",
    "Chunked",
    "chunked;a=b",
    "",
    "\xff",
)
_LONG = "4e20\r\n" + "a" * 20000 + "\r\n"  # more than an engine reads before it passes a body on
CHUNKS = (
    _LONG + "g\r\n", _LONG + "3\r\nabcd\r\n0\r\n\r\n", _LONG + "0\r\n: x\r\n\r\n", _LONG + "0\r\n\r\n",
    "0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "3\r\nabc", "g\r\n", "-1\r\nabc\r\n", "3\r\nabcd\r\n0\r\n\r\n", "\r\n",
    "ffffffffffffffffff\r\n", "3;a=b\r\nabc\r\n0\r\n\r\n", "3\nabc\n0\n\n", "0\r\nX: 1\r\n\r\n", "0\r\n: x\r\n\r\n",
    "3;" + "a" * 70000 + "\r\nabc\r\n0\r\n\r\n", "0\r\n" + "X: 1\r\n" * 400 + "\r\n", "3 \r\nabc\r\n0\r\n\r\n",
    "0\r\nX: " + "a" * 40000 + "\r\n\r\n", "0x3\r\nabc\r\n0\r\n\r\n", "+3\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n00\r\n\r\n",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 5000, 1023, 65536, 10**400, 1.5, "", "a", "17", "a" * 300, "\x00", "\ud800", "\u202e",
    [], [1], {}, {"a": 1}, "é", "'; DROP TABLE sessions; --", "queued", "running", "gone", float("nan"), float("inf"),
)  # fmt: skip
KEYS = (
    "user", "cluster", "scheduler", "job_id", "port", "state", "reason", "estimate", "cause", "jobs", "foreign",
    "names", "on", "origins", "x",
)  # fmt: skip
RAW_BODIES = (
    b"", b"{", b"[]", b"null", b"7", b'"a"', b"\xff\xfe", b"\xef\xbb\xbf{}", b"{}{}", b'{"user": NaN}', b"[" * 5000,
    b'{"a":' * 3000, b'{"user": "a", "user": "b"}', b"\x00", b"a" * 20000, b'{"port": 1' + b"0" * 5000 + b"}",
    b"jobstates=1 R%0a2 Q", b"jobstates=" + b"%ff" * 100, b"jobstates", b"&" * 200, b"jobstates=%", b'{"user": "\\ud800"}',
    b"\x1f\x8b\x08\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """The targets: names of sessions by phase, with claims."""

    domain: str
    port: int
    live: str  # with a notebook
    others: tuple[str, ...]  # waiting, ended, unknown
    claims: dict[str, str] = field(default_factory=dict)


# The fields of each call, as far as they are known here.
GOOD = {
    "user": "alice", "cluster": "comet", "scheduler": "slurm", "job_id": "17", "port": 5000, "state": "queued",
    "reason": "ended", "estimate": 1800000000, "cause": "ended", "jobs": {}, "foreign": {}, "names": ["a-b-c"], "on": False,
}  # fmt: skip
WRITES = ("revoke", "drain", "unfinished-jobs", "job-states", "sessions", "update-jobs")


class Grammar:
    """Generates requests for a place.

    Half are well formed, to get past the first checks.
    """

    def __init__(self, random: Random, place: Place, *, admin: bool = False) -> None:
        self._random = random
        self._place = place
        self._admin = admin
        self._calm = False
        self._name = ""  # of the session that is asked for

    def conversation(self) -> list[bytes]:
        """Return the messages of one connection, in parts."""
        random = self._random
        if random.random() < 0.01:
            return [random.randbytes(random.randrange(1, 2000))]
        whole = b"".join(self.request() for _ in range(random.choice((1, 1, 1, 2, 4))))
        if not self._calm and random.random() < 0.2:
            whole = self._damaged(whole)
        if not self._calm and random.random() < 0.1:
            whole = whole[: random.randrange(len(whole) + 1)]
        if random.random() < 0.8:
            return [whole]
        cut = random.randrange(len(whole) + 1)
        return [whole[:cut], whole[cut:]]

    def request(self) -> bytes:
        """Return one request, its header in Latin-1."""
        random = self._random
        self._calm = random.random() < 0.5
        host, path = self.target()
        method = self._mostly(METHODS, ODD_METHODS, 0.06)
        if self._calm and (host.startswith("manage") or self._admin):
            last = path.partition("?")[0].rpartition("/")[2]
            posts = last.partition(".")[0] in WRITES or f"/{last}" in CALLS[1:]
            posts = posts or (last == "jobs" and random.random() < 0.7)
            method = "POST" if posts and not (self._admin and last == "sessions") else "GET"
        version = self._mostly(VERSIONS, ODD_VERSIONS, 0.16)
        if not self._calm and random.random() < 0.04:
            path = random.choice(
                ("*", "", f"https://{host}{path}", f"http://evil.example{path}", host, "a")
            )
        lines = [f"{method} {path} {version}"]
        lines += self._hosts(host)
        lines += [f"{name}: {value}" for name, value in self.fields(host)]
        body, more = self._body()
        lines += more
        if random.random() < 0.6:
            lines.append("Connection: close")
        if not self._calm and random.random() < 0.03:
            random.shuffle(lines)
        if random.random() < 0.01:
            lines += ["X: 1"] * 300
        end = "\n" if not self._calm and random.random() < 0.03 else "\r\n"
        return end.join([*lines, "", ""]).encode("latin-1", "replace") + body

    def target(self) -> tuple[str, str]:
        """Return a host and a path with a query."""
        random, place = self._random, self._place
        name = self._name = random.choice((place.live, *place.others))
        if self._admin:
            host, path = "x", "/" + random.choice(ADMIN)
        else:
            host = f"{random.choice((name, name, 'manage', 'manage', 'manage'))}.{place.domain}"
            path = self._path(host.startswith("manage."), name)
        while not self._calm and random.random() < 0.25:
            at = random.randrange(1, len(path) + 1) if path else 0
            path = path[:at] + random.choice(PARTS) + path[at:]
        return (f"{host}:{place.port}" if random.random() < 0.5 else host), path

    def fields(self, host: str) -> list[tuple[str, str]]:
        """Return some fields with values, also those that open a websocket."""
        random = self._random
        found = []
        claims = self._place.claims
        claim = claims.get(self._name) or claims["feed"]
        if random.random() < 0.2:
            claim = random.choice(list(claims.values()))
        if random.random() < 0.7:
            found.append(("Authorization", f"Bearer {claim}"))
        for _ in range(
            random.choice((0, 0, 0, 1)) if self._calm else random.choice((0, 1, 2, 3, 6))
        ):
            name, values = random.choice(FIELDS)
            value = random.choice(values).replace("{claim}", claim).replace("{host}", host)
            found.append((self._mostly((name,), ODD_NAMES, 0.02), value))
        if random.random() < 0.05:
            found += [
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Version", "13"),
            ]
            found.append(("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="))
        return found

    def content(self) -> bytes:
        """Return a body: JSON with known keys and random values, or something else."""
        random = self._random
        if not self._calm and random.random() < 0.4:
            return random.choice(RAW_BODIES)
        keys = random.sample(KEYS, random.randrange(0, 5))
        if self._calm and random.random() < 0.1:
            return b"jobstates=17%20R%0a18%20Q"
        if self._calm:
            reports = {
                "jobs": {
                    self._name: {
                        "state": "queued",
                        "job_id": "17",
                        "estimate": random.choice(VALUES),
                    }
                }
            }
            if random.random() < 0.2:
                return json.dumps(
                    {**reports, "cluster": "comet"} if self._admin else reports
                ).encode()
            odd = random.choice(KEYS) if random.random() < 0.5 else None
            known = {key: GOOD[key] for key in GOOD if key in keys or random.random() < 0.5}
            return json.dumps({**known, **({odd: random.choice(VALUES)} if odd else {})}).encode()
        return json.dumps({key: random.choice(VALUES) for key in keys}).encode()

    def _path(self, manage: bool, name: str) -> str:
        random = self._random
        if not manage:
            return random.choice(
                ("/", "/lab", "/.rps/", "/.rps/state", "/.rps/events", "/.rps/page.js", "/.rps/not-answering",
                 "/.rps/x", "/echo", "/ws", "/bytes/100", "/.rps")
            )  # fmt: skip
        if random.random() < 0.3:
            query = "&".join(
                f"{key}={random.choice((name, '17', '5000', '', 'x' * 60, '%ff', 'a.b', '1.5'))}"
                for key in random.sample(("token", "jobid", "port", "x"), random.randrange(0, 4))
            )
            return f"/{random.choice(CGI)}.cgi?{query}"
        return random.choice(
            ("/api/v1/sessions", "/api/v1/sessions", "/api/v1/health", "/api/v1/ready", "/", "/api/v1/", "/api/v2/x",
             "/api/v1/clusters/comet/jobs", f"/api/v1/sessions/{name}{random.choice(CALLS)}",
             f"/api/v1/sessions/{name}{random.choice(CALLS)}", f"/api/v1/sessions/{name}{random.choice(CALLS)}")
        )  # fmt: skip

    def _hosts(self, host: str) -> list[str]:
        random = self._random
        if self._calm or random.random() < 0.9:
            return [f"Host: {host}"]
        odd = (
            "",
            "evil.example",
            "[::1]",
            "[",
            "\xff",
            "a b",
            host + ".",
            host.upper(),
            f"{host},{host}",
            "x" * 300,
        )
        return random.choice(
            ([], [f"Host: {host}", f"Host: {host}"], [f"Host: {random.choice(odd)}"])
        )

    def _body(self) -> tuple[bytes, list[str]]:
        """Return a body, and fields about its length, which may be wrong."""
        random = self._random
        draw = random.random()
        if draw < 0.35:
            return b"", []
        if draw < 0.75 or (self._calm and draw < 0.9):
            content = self.content()
            return content, [f"Content-Length: {len(content)}"]
        if draw < 0.85:
            return self.content(), [f"Content-Length: {random.choice(LENGTHS)}"]
        coding = self._mostly(("chunked",), CODINGS, 0.2)
        fields = [f"Transfer-Encoding: {coding}"]
        if random.random() < 0.1:
            fields.append(f"Content-Length: {random.choice(LENGTHS)}")
        if self._calm or random.random() < 0.5:
            content = self.content()
            return b"%x\r\n%s\r\n0\r\n\r\n" % (
                len(content),
                content,
            ) if content else b"0\r\n\r\n", fields
        return random.choice(CHUNKS).encode(), fields

    def _damaged(self, text: bytes) -> bytes:
        """Return the bytes with some changed, added or removed."""
        random = self._random
        damaged = bytearray(text)
        for _ in range(random.randrange(1, 4)):
            at = random.randrange(len(damaged) + 1)
            damaged[at : at + random.randrange(3)] = random.choice(
                (b"", b"\r", b"\n", b"\x00", b" ", b":", b"\xff", b"\r\n\r\n", random.randbytes(1))
            )
        return bytes(damaged)

    def _mostly(self, usual: tuple[str, ...], odd: tuple[str, ...], share: float) -> str:
        wanted = odd if not self._calm and self._random.random() < share else usual
        return self._random.choice(wanted)
