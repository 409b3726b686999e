"""The calls of a session: over the network, or as files where no port of the service is reached.

Files are for a personal service on a login node, whose home the nodes share, behind a firewall.
"""

import os
import socket
import time
from typing import Any, Dict, Optional

from rps_core.node.agent import call_files
from rps_core.node.agent.files import read_file, write_secret
from rps_core.node.agent.protocol import Form, Malformed, is_number
from rps_core.node.agent.service import (
    NotTheService,
    Service,
    ServiceAway,
    ServiceRefused,
    judged,
)
from rps_core.node.agent.session import Session
from rps_core.node.agent.words import log, plain

PATIENCE = 30.0  # seconds for an answer; the service looks every second, and NFS takes a moment
PAUSE = 0.3  # seconds between two looks
_LATEST = 1e19  # of a number


class SessionCalls:
    """Makes one session's calls."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._service = Service(*session.service)
        self._files = FileCalls(session) if session.file_calls else None
        self._by_file = False  # the last answer came as a file

    @property
    def local_address(self) -> str:
        """Our address on the way to the service."""
        if self._by_file and self._files:
            return self._files.address
        return self._service.local_address

    def call(self, call: str, form: Form, body: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        """Make one call (ServiceRefused, ServiceAway).

        The network comes first, until an answer has come as a file; and again after none has.
        """
        if self._by_file and self._files:
            try:
                return self._files.call(call, form, body)
            except ServiceAway:
                self._by_file = False
                raise
        path = "/api/v1/sessions/%s/%s" % (self._session.name, call)
        try:
            return self._service.request("POST", path, form, body, self._session.claim)
        except NotTheService:
            raise
        except ServiceAway as away:
            if self._files is None or away.code:
                raise
            answer = self._as_file(self._files, call, form, body, away)
        return answer

    def remove_answers(self) -> None:
        """Remove the files of answers that were not read: one may hold the notebook's key."""
        if self._files:
            self._files.remove_answers()

    def _as_file(
        self,
        files: "FileCalls",
        call: str,
        form: Form,
        body: Optional[Dict[str, Any]],
        away: ServiceAway,
    ) -> Dict[str, Any]:
        """Make a call as a file, since it had no answer (`away`) over the network."""
        try:
            answer = files.call(call, form, body)
        except ServiceAway as silent:
            raise ServiceAway("%s; %s" % (away.reason, silent.reason)) from None
        except ServiceRefused:
            self._by_file = True
            raise
        self._by_file = True
        log("the service is not reached (%s): its calls are made as files" % away.reason)
        return answer


class FileCalls:
    """Makes a session's calls as files in its directory (docs/protocol.md)."""

    def __init__(self, session: Session) -> None:
        self._name = session.name
        self._digest = call_files.claim_digest(session.claim)
        self._path = os.path.join(session.path, call_files.DIRECTORY)
        host, port, connect, _ = session.service
        self._to = (connect or host, port)
        self._last = 0
        self.address = ""  # ours, as the last call stated it

    def call(self, call: str, form: Form, body: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        """Make one call; the answer's file is removed (ServiceRefused, ServiceAway)."""
        content = dict(body or {})
        self.address = content.pop("address", "") or _address_towards(*self._to)
        try:
            answer = self._exchange(call, content)
            if answer.get("error") == call_files.REPLAYED and is_number(
                answer.get("last"), 0, _LATEST
            ):
                # This node's clock is behind that of the node of an earlier call.
                self._last = max(self._last, int(answer["last"]))
                answer = self._exchange(call, content)
        except OSError as error:
            raise ServiceAway("its calls cannot be made as files: %s" % plain(error)) from None
        status = answer.pop("status", None)
        if not is_number(status, 200, 599):
            raise ServiceAway("its answer's file is malformed")
        return judged(int(status), answer, form)

    def remove_answers(self) -> None:
        """Remove the files of answers, as far as they can be."""
        try:
            for name in os.listdir(self._path):
                if call_files.number_of(call_files.ANSWER, name) is not None:
                    _remove(os.path.join(self._path, name))
        except FileNotFoundError:
            pass
        except OSError as error:
            log("could not remove answers in %s: %s" % (self._path, plain(error)))

    def _exchange(self, call: str, body: Dict[str, Any]) -> Dict[str, Any]:
        """Write a request; return the answer to it (ServiceAway, OSError)."""
        self._last = number = max(self._last + 1, int(time.time() * 1e6))
        request = {
            "session": self._name, "number": number, "call": call, "from": self.address, "body": body,
        }  # fmt: skip
        if not os.path.isdir(self._path):
            os.mkdir(self._path, 0o700)
            os.chmod(self._path, 0o700)  # whatever the umask leaves
        name = call_files.file_name(call_files.REQUEST, number)
        path = os.path.join(self._path, name)
        write_secret("%s.new" % path, call_files.sign(self._digest, call_files.REQUEST, request))
        os.rename("%s.new" % path, path)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            answer = self._answer(number)
            if answer is not None:
                return answer
            time.sleep(PAUSE)
        if call != "revoke":  # the end is to be read even after us
            _remove(path)
        raise ServiceAway("no answer came as a file in %s" % self._path)

    def _answer(self, number: int) -> Optional[Dict[str, Any]]:
        """Return the answer to a request; None: it is not there yet.

        The directory is opened for each look: only then does NFS ask its server for changes (nfs(5),
        close-to-open).
        """
        wanted = call_files.file_name(call_files.ANSWER, number)
        directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            if wanted not in os.listdir(directory):
                return None
        finally:
            os.close(directory)
        path = os.path.join(self._path, wanted)
        content = read_file(path, secret=True)
        _remove(path)
        try:
            found = call_files.verified(self._digest, call_files.ANSWER, content)
        except Malformed as error:
            raise ServiceAway("its answer's file is not to be believed: %s" % error) from None
        if (found.pop("session", None), found.pop("number", None)) != (self._name, number):
            raise ServiceAway("its answer's file is to another request")
        return found


def _address_towards(host: str, port: int) -> str:
    """Return our address on the route to a host (OSError); nothing is sent."""
    family, kind, protocol, _, to = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(to)
        return str(probe.getsockname()[0])


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
