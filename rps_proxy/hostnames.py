"""The host names of the service: sessions' and its own."""

from __future__ import annotations

import re

MANAGEMENT = "manage"  # the label of the API's host; a session's name has three words

# A host name or address, and perhaps a port: what a client may have asked for. No more is concluded from it.
_WELL_FORMED = re.compile(r"(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")

_ANY_PORT = re.compile("(?::[0-9]{1,5})?")


class Hosts:
    """Host names below `domain`, and their URLs on `public_port`.

    `tunnelled`: browsers come through a port that ssh forwards, over plain HTTP. That port may be any: it is
    free on the user's machine, where this one may not be.
    """

    def __init__(self, domain: str, public_port: int, *, tunnelled: bool = False) -> None:
        self.domain = domain
        self.port = public_port
        self.scheme = "http" if tunnelled else "https"
        self._port = _ANY_PORT if tunnelled else re.compile(f"(?::{public_port})?")
        self._form = re.compile(rf"([a-z0-9-]{{1,100}})\.{re.escape(domain)}{self._port.pattern}")

    def host(self, name: str) -> str:
        """Return a session's host name."""
        return f"{name}.{self.domain}"

    def is_domain(self, host: str) -> bool:
        """Whether a Host header, lower-cased, is the domain itself."""
        return self.without_port(host) == self.domain

    def label(self, host: str) -> str | None:
        """Return the label in front of our domain, lower-cased; None: another domain."""
        match = self._form.fullmatch(host)
        return match[1] if match else None

    def without_port(self, host: str) -> str | None:
        """Return a Host header without the port; None: that port is not ours."""
        name, colon, port = host.partition(":")
        return name if self._port.fullmatch(colon + port) else None

    @staticmethod
    def is_well_formed(host: str) -> bool:
        """Return whether a Host header is well formed: a host name or an address."""
        return len(host) <= 300 and _WELL_FORMED.fullmatch(host) is not None

    def without_dot(self, host: str) -> str | None:
        """Drop the trailing dot of a Host header of ours; None: it has none.

        Browsers take `name.` for an origin of its own, whose pages could open no websocket.
        """
        name, colon, port = host.partition(":")
        bare = name.removesuffix(".") + colon + port
        known = self.label(bare) is not None or self.is_domain(bare)
        return bare if known and name.endswith(".") else None

    def of_plain_http(self, host: str) -> str | None:
        """Return the host of ours that a Host header of plain HTTP names, on any port, without it."""
        match = re.fullmatch(r"([a-z0-9.-]+?)\.?(?::[0-9]{1,5})?", host)
        if match is None:
            return None
        ours = self.label(match[1]) is not None or self.is_domain(match[1])
        return match[1] if ours else None

    def public(self, host: str) -> str:
        """`host` as it stands in a URL: with the public port, unless that is 443."""
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"

    def url(self, name: str) -> str:
        """Return a session's URL, without the notebook's token."""
        return f"{self.scheme}://{self.public(self.host(name))}/"

    def seen_by_browser(self, asked: str, public: str) -> str:
        """Return the host in a browser's address bar.

        `asked` is the request's Host header, lower-cased; `public` is the session's host on the public port.
        """
        return asked if self._port is _ANY_PORT else public
