"""Jupyter's API, once it listens: what it must answer before it is published, what it is asked later, and
what the browser's tabs are told by way of it."""

import json
import socket
from typing import Any, Dict, Optional, Set, Tuple

from rps_core.node.agent.events import End, Events
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import log, plain

SAVE_TIME = 10.0  # seconds for the browser's tabs to save what is open in them


class Unready(Exception):
    """The application does not answer yet, and how it does not."""


class JupyterApi:
    """What listens at a port of `address`: over TLS that is verified for `host`, or plain HTTP where
    `context` is None."""

    def __init__(
        self,
        watch: Watch,
        events: Events,
        address: str,
        port: int,
        host: str,
        context: Any,
        token: str,
    ) -> None:
        self.port = port
        self._watch = watch
        self._events = events
        self._address = address
        self._host = host
        self._context = context
        self._authorization = {"Authorization": "token " + token}
        self._absent: Set[str] = set()  # paths that this Jupyter does not have

    def call(
        self,
        method: str,
        path: str,
        headers: Dict[str, str],
        content: Optional[bytes] = None,
        timeout: float = 10.0,
    ) -> Tuple[int, Optional[str], bytes]:
        """Status, Access-Control-Allow-Origin and body of the answer to one call (Unready: no answer)."""
        import http.client

        connection: http.client.HTTPConnection = http.client.HTTPConnection(
            self._host, self.port, timeout=timeout
        )
        if self._context is not None:
            connection = http.client.HTTPSConnection(
                self._host, self.port, timeout=timeout, context=self._context
            )
        try:
            raw = socket.create_connection((self._address, self.port), timeout)
            connection.sock = raw  # closed with the connection, whatever comes of the next line
            if self._context is not None:
                connection.sock = self._context.wrap_socket(raw, server_hostname=self._host)
            connection.request(method, path, body=content, headers=headers)
            response = connection.getresponse()
            origin = response.getheader("Access-Control-Allow-Origin")
            return response.status, origin, response.read(1 << 20)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise Unready(plain(error)) from None
        finally:
            connection.close()

    def check_protected(self, origin: str) -> None:
        """See that what listens there is our application: it holds the certificate for `host`, lets the
        token in, and nobody without it, nor another site's page; over plain HTTP but `origin`'s.

        There it can prove nothing: that its process has this port is what its own runtime file says,
        which names no port before it has it.

        Raises:
            Unready: it does not answer (yet), or not with our certificate.
            End: it answers, and is not to be published.
        """
        if self.call("GET", "/api", {})[0] != 200:
            raise Unready("it answers, but not as Jupyter does")
        status = self.call("GET", "/api/status", {})[0]
        if status not in (401, 403):
            raise End(
                "start-failed",
                "Jupyter answers without the token (status %d): something in its configuration or its"
                " extensions opens it, and so it was not published" % status,
            )
        allowed = self.call("GET", "/login", {"Origin": "https://stranger.invalid"})[1]
        if allowed and (self._context is not None or allowed != origin):
            raise End(
                "start-failed",
                "Jupyter lets pages of other sites in (Access-Control-Allow-Origin: %s): something in its"
                " configuration or its extensions says so, and so it was not published" % allowed,
            )
        status = self.call("GET", "/api/status", self._authorization)[0]
        if status != 200:
            raise End(
                "start-failed",
                "Jupyter does not take the session's token (status %d): something in its configuration or"
                " its extensions overrides it" % status,
            )

    def ask(self, path: str, body: Any = None, timeout: float = 10.0) -> Any:
        """The answer, without going deaf meanwhile (Unready: none). None: Jupyter has no such thing."""
        content = None if body is None else json.dumps(body).encode()
        method = "GET" if body is None else "POST"
        headers = {**self._authorization, "Content-Type": "application/json"}

        def call() -> Any:
            status, _, text = self.call(method, path, headers, content, timeout)
            if status == 404:
                self._absent.add(path)
                return None
            try:
                if status == 200:
                    return json.loads(text.decode())
            except ValueError:
                pass
            raise Unready("it answered with status %d" % status)

        return None if path in self._absent else self._watch.aside(call)

    def tell_tabs(self, message: Dict[str, Any], timeout: float = 10.0) -> Dict[str, Any]:
        """Tell the browser's tabs something (tabs.py); the answer, empty where that cannot be done."""
        try:
            return self.ask("/api/rps/tabs", message, timeout) or {}
        except Unready as unready:
            log("the browser's tabs could not be told: %s" % unready)
            return {}

    def save_tabs(self, text: str, seconds: float = SAVE_TIME) -> None:
        """Have what is open in the browser saved, within so many seconds, and say there why: the session is
        about to end."""
        answer = self.tell_tabs({"save": seconds}, seconds + 5)
        if answer.get("tabs"):
            left = answer.get("left", [])
            self._events.add("saved", tabs=answer["tabs"], saved=answer.get("saved"), left=left)
            text += " Not saved: %s" % ", ".join(left) if left else " Open documents are saved."
            self.tell_tabs({"show": {"kind": "end", "text": text}})
