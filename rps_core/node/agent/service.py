"""Call the service's API (docs/protocol.md), for the agent and the launcher."""

import json
from typing import Any, Callable, Dict, Optional, Tuple

from rps_core.node.agent.protocol import (
    LONGEST_ANSWER,
    REFUSAL,
    Form,
    Malformed,
    is_secret,
    read_object,
)
from rps_core.node.agent.words import one_line, plain, quoted

PASSING = (429, 502, 503, 504)  # statuses of an overload, or of a service that is restarted


class ServiceRefused(Exception):
    """The service refused: HTTP `status`, `code` (docs/protocol.md), its words.

    `advice`: what to do, of a satellite's refusal.
    """

    def __init__(self, status: int, code: str, message: str, advice: str = "") -> None:
        super().__init__("%s (%s)" % (quoted(message), code))
        self.advice = advice
        self.status = status
        self.code = code
        self.message = message


class ServiceAway(Exception):
    """No answer of the service, or a temporary one: the call may succeed later.

    `code` and `message` are the service's own words where it answered, else empty.
    """

    def __init__(self, reason: str, code: str = "", message: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.message = message


class NotTheService(ServiceAway):
    """An answer over verified TLS that is not this API's.

    It holds the HTTP `status`, the content type and the text as received.
    """

    def __init__(self, status: int, content_type: str, text: str) -> None:
        super().__init__("status %d came from something that is not the service" % status)
        self.status = status
        self.content_type = content_type
        self.text = text


class Service:
    """The Reverse Proxy Service's API.

    Each call has a connection of its own, or with `keep` one serves several: a call that finds it
    closed by the service is repeated on a new one (each call of a session may be repeated).

    `connect` is the address to connect to in place of resolving `host`; certificate, SNI and the Host
    header keep `host`. `ca_file` is trusted in place of the system's store. `timeout` is in seconds, for
    each step of the network; a whole call takes at most three times that, and its answer has at most
    `longest` bytes. Redirects are not followed. Proxies of the environment are not used: they are for the
    way out of the cluster.
    """

    def __init__(
        self,
        host: str,
        port: int,
        connect: Optional[str] = None,
        ca_file: Optional[str] = None,
        timeout: float = 10.0,
        keep: bool = False,
        longest: int = LONGEST_ANSWER,
    ) -> None:
        self._kept: Any = None  # the connection, between two calls
        self.host = host
        self.port = port
        self.timeout = timeout
        self.local_address = ""  # our end of the last connection
        self._connect = connect or host
        self._ca_file = ca_file
        self._context: Any = None
        self._by_directory = False  # whether `tls.by_directory` made the context
        self._keep = keep
        self._longest = longest

    def __del__(self) -> None:
        if self._kept is not None:
            self._kept.close()

    def request(
        self,
        method: str,
        path: str,
        form: Form,
        body: Optional[Dict[str, Any]] = None,
        claim: Optional[str] = None,
        prove: Optional[Callable[[bytes], str]] = None,
    ) -> Dict[str, Any]:
        """Make one call; return what `form` takes of the JSON object of a 2xx.

        `prove` makes a MUNGE credential for its body.

        Raises:
            ServiceRefused: the service answered with an error.
            ServiceAway: it did not, or is overloaded, or its answer is not in that form.
        """
        if claim is not None and not is_secret(claim):
            raise ValueError("the claim is damaged")
        headers = {"Accept": "application/json"}
        if not self._keep:
            headers["Connection"] = "close"
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        if claim is not None:
            headers["Authorization"] = "Bearer " + claim
        if prove is not None:
            headers["X-Rps-Munge"] = prove(content or b"")
        status, content_type, text = self._exchange(method, path, content, headers)
        try:
            answer = read_object(text)
            if not 200 <= status < 300:
                REFUSAL(answer)
        except Malformed:
            if status in PASSING:
                raise ServiceAway("it answered with status %d" % status) from None
            # A web server in front of a service that is down, or another server altogether.
            raise NotTheService(status, content_type, text.decode("utf-8", "replace")) from None
        return judged(status, answer, form)

    def status(self, path: str) -> int:
        """Return the HTTP status of a GET (ServiceAway: there is no answer)."""
        return self._exchange("GET", path, None, {"Connection": "close"})[0]

    def _exchange(
        self, method: str, path: str, content: Optional[bytes], headers: Dict[str, str]
    ) -> Tuple[int, str, bytes]:
        """Make one call; return status, content type and body (ServiceAway: none)."""
        from rps_core.node.agent.answer import NotHttp

        try:
            return self._answer(method, path, content, headers)
        except NotHttp as error:
            raise ServiceAway("it does not speak HTTP: %s" % error) from None
        except (OSError, ValueError) as error:  # ValueError: a certificate's under Python 3.6
            raise ServiceAway(one_line(plain(error))) from None

    def _answer(
        self, method: str, path: str, content: Optional[bytes], headers: Dict[str, str]
    ) -> Tuple[int, str, bytes]:
        import ssl

        connection, self._kept = self._kept, None
        if connection is not None:
            try:
                return self._call(connection, method, path, content, headers)
            except (ConnectionError, ssl.SSLError):
                pass
        return self._call(self._connected(), method, path, content, headers)

    def _connected(self) -> Any:
        """Return a new connection (OSError, ValueError: there is none)."""
        import ssl

        from rps_core.node.agent.tls import by_directory, tls_context

        if self._context is None:
            self._context = None if self._ca_file else by_directory()
            self._by_directory = self._context is not None
            if not self._by_directory:
                self._context = tls_context(self._ca_file)
        if self._by_directory:
            try:
                return self._opened()
            except ssl.SSLCertVerificationError:  # novermin - `by_directory` is None without it
                self._by_directory = False
                self._context = tls_context()
        return self._opened()

    def _opened(self) -> Any:
        from rps_core.node.agent.exchange import Connection

        connection = Connection(self.host, self.port, self._context)
        self.local_address = connection.open(self._connect, self.timeout)
        return connection

    def _call(
        self,
        connection: Any,
        method: str,
        path: str,
        content: Optional[bytes],
        headers: Dict[str, str],
    ) -> Tuple[int, str, bytes]:
        answer = connection.call(method, path, content, headers, self.timeout, self._longest)
        if connection.kept and self._keep:
            self._kept = connection
        else:
            connection.close()
        return answer.status, answer.headers.get("content-type", ""), answer.body


def judged(status: int, answer: Dict[str, Any], form: Form) -> Dict[str, Any]:
    """Return what `form` takes of a 2xx (ServiceRefused, ServiceAway: see `Service.request`)."""
    try:
        if 200 <= status < 300:
            return form(answer)
        code = REFUSAL(answer)["error"]
    except Malformed as error:
        raise ServiceAway("its answer is malformed: %s" % error) from None
    message = one_line(str(answer.get("message", "")))
    if status in PASSING:
        reason = "it answered with status %d, %s: %s" % (status, code, quoted(message))
        raise ServiceAway(reason, code, message)
    raise ServiceRefused(status, code, message)
