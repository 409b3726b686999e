"""The client of the Reverse Proxy Service's API (docs/protocol.md), which the launcher uses too."""

import json
import re
import socket
from typing import Any, Callable, Dict, Optional, Tuple

from rps_core.node.agent.words import plain

is_printable = re.compile("[!-~]*").fullmatch  # as a claim and a token are


class ServiceRefused(Exception):
    """The service answered, and said no: HTTP `status`, its `code` (docs/protocol.md), its words; and
    for the older service, what to do."""

    def __init__(self, status: int, code: str, message: str, advice: str = "") -> None:
        super().__init__("%s (%s)" % (message, code))
        self.advice = advice
        self.status = status
        self.code = code
        self.message = message


class ServiceAway(Exception):
    """No answer of the service's own, or a passing one (overload): the same call may do later.

    `code` and `message` are the service's own words where it answered, else empty.
    """

    def __init__(self, reason: str, code: str = "", message: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.message = message


class NotTheService(ServiceAway):
    """Over TLS that was verified something answered, and not as this API does: HTTP `status`, the
    answer's content type and its text."""

    def __init__(self, status: int, content_type: str, text: str) -> None:
        super().__init__("status %d came from something that is not the service" % status)
        self.status = status
        self.content_type = content_type
        self.text = text


class Service:
    """The Reverse Proxy Service's API. Each call has a connection of its own, or with `keep` one serves
    for several: a call that finds it closed by the service meanwhile is made again on a new one (each
    call of a session may be repeated).

    `connect` is the address to connect to in place of resolving `host`; certificate, SNI and the Host
    header keep `host`. `ca_file` is trusted in place of the system's store. `timeout` is in seconds, for
    each step of the network. Proxies of the environment are not used: they are for the way out of the
    cluster.
    """

    def __init__(
        self,
        host: str,
        port: int,
        connect: Optional[str] = None,
        ca_file: Optional[str] = None,
        timeout: float = 10.0,
        keep: bool = False,
    ) -> None:
        self._kept: Any = None  # the connection, between two calls
        self.host = host
        self.port = port
        self.timeout = timeout
        self.local_address = ""  # our end of the last connection
        self._connect = connect or host
        self._ca_file = ca_file
        self._context: Any = None
        self._keep = keep

    def __del__(self) -> None:
        if self._kept is not None:
            self._kept.close()

    def request(
        self,
        method: str,
        path: str,
        body: Optional[Dict[str, Any]] = None,
        claim: Optional[str] = None,
        prove: Optional[Callable[[bytes], str]] = None,
    ) -> Dict[str, Any]:
        """One call; answers the JSON object of a 2xx. `prove` makes a MUNGE credential for its body.

        Raises:
            ServiceRefused: the service answered with an error.
            ServiceAway: it did not, or is overloaded.
        """
        if not is_printable(claim or ""):  # http.client would quote it in its own error
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
        answer: Optional[Dict[str, Any]] = None
        try:
            read = json.loads(text.decode())
            answer = read if isinstance(read, dict) else None
        except ValueError:
            pass
        if 200 <= status < 300 and answer is not None:
            return answer
        passing = status in (429, 502, 503, 504)
        if answer is None or not isinstance(answer.get("error"), str):
            if passing:
                raise ServiceAway("it answered with status %d" % status)
            # A web server in front of it that has lost it, or somebody else altogether.
            raise NotTheService(status, content_type, text.decode("utf-8", "replace"))
        code, message = answer["error"], str(answer.get("message", ""))
        if passing:
            reason = "it answered with status %d, %s: %s" % (status, code, message)
            raise ServiceAway(reason, code, message)
        raise ServiceRefused(status, code, message)

    def _exchange(
        self, method: str, path: str, content: Optional[bytes], headers: Dict[str, str]
    ) -> Tuple[int, str, bytes]:
        """Status, content type and body of the answer to one call (ServiceAway: there is none)."""
        import http.client

        try:
            if self._context is None:
                self._context = tls_context(self._ca_file)
            return self._answer(method, path, content, headers)
        except http.client.HTTPException as error:  # who hangs up without an answer, too
            raise ServiceAway("it does not speak HTTP: " + type(error).__name__) from None
        except (OSError, ValueError) as error:  # ValueError: a certificate's under Python 3.6
            raise ServiceAway(plain(error)) from None

    def _answer(
        self, method: str, path: str, content: Optional[bytes], headers: Dict[str, str]
    ) -> Tuple[int, str, bytes]:
        import http.client
        import ssl

        connection, self._kept = self._kept, None
        if connection is not None:
            try:
                return self._send(connection, method, path, content, headers)
            except (ConnectionError, ssl.SSLError):
                pass
        connection = http.client.HTTPSConnection(
            self.host, self.port, timeout=self.timeout, context=self._context
        )
        # As bytes: Python takes a text for an international name, and loads what those need.
        address = (self._connect.encode(), self.port)  # type: Any
        raw = socket.create_connection(address, self.timeout)
        # Else a request of two packets waits 40 ms for the first one's delayed acknowledgement.
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.sock = self._context.wrap_socket(raw, server_hostname=self.host.encode())
        except BaseException:
            raw.close()
            raise
        self.local_address = connection.sock.getsockname()[0]
        return self._send(connection, method, path, content, headers)

    def _send(
        self,
        connection: Any,
        method: str,
        path: str,
        content: Optional[bytes],
        headers: Dict[str, str],
    ) -> Tuple[int, str, bytes]:
        try:
            connection.request(method, path, body=content, headers=headers)
            response = connection.getresponse()
            text = response.read(1 << 20)
            if self._keep and response.isclosed() and not response.will_close:
                self._kept = connection
        finally:
            if self._kept is not connection:
                connection.close()
        return response.status, response.getheader("Content-Type", ""), text


def tls_context(ca_file: Optional[str] = None, ca_data: Optional[str] = None) -> Any:
    """An ssl.SSLContext that verifies servers against this CA alone, or else the system's."""
    import ssl

    return ssl.create_default_context(cafile=ca_file, cadata=ca_data)
