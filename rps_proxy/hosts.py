"""The host names of the service: sessions' and its own."""

from __future__ import annotations

import re

MANAGEMENT = "manage"  # the label of the API's host; a session's name has three words


class Hosts:
    """Names below `domain`, as they stand in a Host header, and in URLs that reach `public_port`."""

    def __init__(self, domain: str, public_port: int) -> None:
        self.domain = domain
        self.port = public_port
        self._form = re.compile(rf"([a-z0-9-]{{1,100}})\.{re.escape(domain)}(?::{public_port})?")

    def host(self, name: str) -> str:
        """A session's host name."""
        return f"{name}.{self.domain}"

    def is_domain(self, host: str) -> bool:
        """Whether a Host header, lower-cased, is the domain itself."""
        return host in (self.domain, f"{self.domain}:{self.port}")

    def label(self, host: str) -> str | None:
        """The label in front of our domain of a Host header, lower-cased; None: not one of ours."""
        match = self._form.fullmatch(host)
        return match[1] if match else None

    def public(self, host: str) -> str:
        """`host` as it stands in a URL: with the public port, unless that is 443."""
        return host if self.port == 443 else f"{host}:{self.port}"
