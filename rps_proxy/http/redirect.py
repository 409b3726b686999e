"""Redirects from plain HTTP to https, at the service's hosts; nothing else is answered."""

from __future__ import annotations

from aiohttp import web

from rps_proxy.hostnames import MANAGEMENT, Hosts
from rps_proxy.http.answers import moved, plain_answer


class Redirects:
    """Answers what comes by plain HTTP to the hosts of a domain."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer one request; the web.Server's handler.

        Calls of the API are refused: a redirect would hide that they send their secrets in the clear.
        """
        named, path = request.headers.getall("Host", ()), request.raw_path
        if len(named) != 1 or not path.startswith("/"):
            return plain_answer(400)
        host = named[0].lower() if named[0].isascii() else ""
        host = self._hosts.of_plain_http(host) or ""
        if not host:
            return plain_answer(421)
        if request.method not in ("GET", "HEAD") or self._hosts.label(host) == MANAGEMENT:
            return plain_answer(403)
        return moved(f"https://{self._hosts.public(host)}{path}")
