"""Call Jupyter's API: check its protection, ask for activity, reach the tabs."""

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
    """Jupyter at a port of `address`, over TLS verified for `host`.

    Plain HTTP if `context` is None.
    """

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
        """Return an answer's status, Access-Control-Allow-Origin and body.

        Raises:
            Unready: there is no answer.
        """
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
        """Check that this is our Jupyter, and that only the token gives access.

        It holds the certificate for `host`, refuses a call without the token, and lets in no page of another
        site (over plain HTTP: but `origin`'s). Over plain HTTP it cannot prove its identity: its runtime file
        names the port, and does so only once it has bound it.

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
                "Jupyter answers without the token (status %d), so it was not published: its configuration"
                " or an extension disables the token" % status,
            )
        allowed = self.call("GET", "/login", {"Origin": "https://stranger.invalid"})[1]
        if allowed and (self._context is not None or allowed != origin):
            raise End(
                "start-failed",
                "Jupyter accepts pages of other sites (Access-Control-Allow-Origin: %s), so it was not"
                " published: its configuration or an extension allows them" % allowed,
            )
        status = self.call("GET", "/api/status", self._authorization)[0]
        if status != 200:
            raise End(
                "start-failed",
                "Jupyter rejects the session's token (status %d): its configuration or an extension"
                " overrides it" % status,
            )

    def check_once(self, token: str) -> None:
        """Check that the token opens no page: only a link that works once does (End: it does)."""
        status = self.call("GET", "/login?token=" + token, {})[0]
        if status != 403:
            raise End(
                "start-failed",
                "Jupyter accepts the token in a page's address (status %d), so it was not published:"
                " `notebook.link: once` needs Jupyter Server 2 or newer, and no configuration or extension"
                " that replaces its login" % status,
            )

    def ask(self, path: str, body: Any = None, timeout: float = 10.0) -> Any:
        """Return the answer, while signals are handled (Unready). None: no such path."""
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
            except (ValueError, RecursionError):
                pass
            raise Unready("it answered with status %d" % status)

        return None if path in self._absent else self._watch.aside(call)

    def tell_tabs(self, message: Dict[str, Any], timeout: float = 10.0) -> Dict[str, Any]:
        """Send a message to the browser's tabs (tabs.py); return the answer, or empty."""
        try:
            return self.ask("/api/rps/tabs", message, timeout) or {}
        except Unready as unready:
            log("could not reach the browser's tabs: %s" % unready)
            return {}

    def save_tabs(self, text: str, seconds: float = SAVE_TIME) -> None:
        """Have the tabs save their documents and show `text`."""
        answer = self.tell_tabs({"save": seconds}, seconds + 5)
        if answer.get("tabs"):
            left = answer.get("left", [])
            self._events.add("saved", tabs=answer["tabs"], saved=answer.get("saved"), left=left)
            text += " Not saved: %s" % ", ".join(left) if left else " Open documents are saved."
            self.tell_tabs({"show": {"kind": "end", "text": text}})
