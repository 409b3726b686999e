"""A node vanishes, and the next user gets the same address and port.

The route ends with its lease, and until then the name leads to no other host. In a network namespace. The
lease is 3 s, renewed every second; by default these are 45 s and 15 s.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.engines.stand import PROGRAMS, Stand, running
from tests.stands.namespaces import own_network, within
from tests.stands.service import DOMAIN, Notebook, Session, read_exactly, read_head, upgrade_request
from tests.stands.waiting import until

SERVICE, NODE, PORT = "10.99.0.1", "10.99.0.2", 40001
SETTINGS: dict[str, Any] = {
    "listen.address": "0.0.0.0",
    "networks.redeem": f"[{NODE}]",
    "advanced.connect_timeout": 1,
    "lease.length": 3,
    "lease.renew_every": 1,
    "advanced.sweep_every": 0.2,
}


@pytest.fixture(autouse=True)
def _network(need: Callable[[str], str]) -> Iterator[None]:
    need("ip")
    if os.geteuid() != 0:
        pytest.skip("only root can have a network of its own")
    with own_network():
        for command in (
            "link add cluster type bridge forward_delay 0",
            f"address add {SERVICE}/24 dev cluster",
            "link set cluster up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        yield


class Node:
    """A machine with the node's address: a network of its own at the end of a cable."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        own = Path("/proc/self/ns/net").readlink()
        theirs = Path(f"/proc/{self._process.pid}/ns/net")
        until(lambda: theirs.readlink() != own, "the node's network")
        self.pid = self._process.pid
        # The same MAC address as before: a node that returns has it, so no ARP entry is stale.
        card = f"peer name eth0 address 02:00:00:00:00:02 netns {self.pid}"
        self._ip(f"link add cable type veth {card}")
        self._ip("link set cable master cluster up")
        with within(self.pid):
            self._ip("link set lo up")
            self._ip(f"address add {NODE}/24 dev eth0")
            self._ip("link set eth0 up")

    def vanish(self) -> None:
        """Disconnect the node without a further packet."""
        self._ip("link delete cable")
        self._process.kill()
        self._process.wait()

    def notebook(self, stand: Stand, session: Session) -> Notebook:
        certificate = self.call(stand, session, "certificate")
        with within(self.pid):
            return Notebook(certificate, stand.directory, PORT, NODE)

    def call(self, stand: Stand, session: Session, call: str) -> dict[str, str]:
        """Call the API from the node; return the answer."""
        host = f"manage.{DOMAIN}"
        context = ssl.create_default_context(cafile=str(stand.directory / "ca" / "ca.pem"))
        client = http.client.HTTPConnection(host)
        with within(self.pid):
            plain = socket.create_connection((SERVICE, stand.port), 20)
        client.sock = context.wrap_socket(plain, server_hostname=host)
        body = json.dumps({"port": PORT, "job_id": "1"})
        headers = {"Host": f"{host}:{stand.port}", "Authorization": f"Bearer {session.claim}"}
        client.request("POST", f"/api/v1/sessions/{session.name}/{call}", body, headers)
        response = client.getresponse()
        answer: dict[str, str] = json.loads(response.read())
        client.close()
        assert response.status == 200, answer
        return answer

    def _ip(self, command: str) -> None:
        subprocess.run(["ip", *command.split()], check=True)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_next_user_of_address_and_port(
    kind: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    with running(tmp_path, kind, need, **SETTINGS) as stand:
        old, new = stand.issue(), stand.issue()
        node = Node()
        with node.notebook(stand, old) as first, stand.connect(old.host) as websocket:
            node.call(stand, old, "redeem")
            answered = partial(renewed_and_answered, node, stand, old)
            until(answered, "the route")
            websocket.sendall(upgrade_request(old.host, Origin=f"https://{old.host}"))
            assert " 101 " in read_head(websocket)
            websocket.sendall(b"\x81\x82\0\0\0\0hi")
            assert read_exactly(websocket, 2)
            for _ in range(5):  # connections that are kept, to be used again
                until(answered, "it answers")
            seen = len(first.requests)
            node.call(stand, old, "renew")
            node.vanish()
            node = Node()
            with node.notebook(stand, new) as second:
                while stand.state(old)["live"]:
                    assert leads_nowhere(stand, old)
                until(lambda: status(stand, old) == 503, "the page that says so")
                with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
                    websocket.settimeout(60)
                    while websocket.recv(1000):
                        pass
                assert second.requests == []
                node.call(stand, new, "redeem")
                until(lambda: status(stand, new) == 200, "the next user's route")
                assert status(stand, old) == 503
                assert set(second.requests) == {f"GET /{new.name} HTTP/1.1"}
                assert len(first.requests) == seen
            node.vanish()


def renewed_and_answered(node: Node, stand: Stand, session: Session) -> bool:
    """Renew the lease, which may have expired on a loaded machine; request again."""
    node.call(stand, session, "renew")
    return status(stand, session) == 200


def leads_nowhere(stand: Stand, session: Session) -> bool:
    """Return whether a page of rps answers, or none.

    The route may end during the request.
    """
    try:
        return status(stand, session) in (502, 503, 504)
    except (ConnectionError, ssl.SSLEOFError):
        return True


def status(stand: Stand, session: Session) -> int:
    return stand.request(session.host, "GET", f"/{session.name}").status
