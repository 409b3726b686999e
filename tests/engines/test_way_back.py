"""A node behind source NAT, where the service sees the translator's address.

No session is ready before the service has connected to its notebook; the node may announce another address.
The networks are the test's: the service's, a gateway that translates (nftables), and a node behind it.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engines.stand import PROGRAMS, Stand, running
from tests.stands.agent import TOKEN, agent, event, events, session_directory
from tests.stands.namespaces import own_network, within
from tests.stands.service import DOMAIN, Notebook, Session
from tests.stands.waiting import until

SERVICE, GATEWAY, INSIDE, NODE, PORT = (
    "10.99.0.1",
    "10.99.0.9",
    "192.168.77.1",
    "192.168.77.2",
    40001,
)
SETTINGS: dict[str, Any] = {
    "listen.address": "0.0.0.0",
    "networks.redeem": f"[{GATEWAY}]",
    "networks.announce": "[192.168.77.0/24]",
    "advanced.connect_timeout": 2,
}
NAT = (
    "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100 ; };"
    'add rule ip nat out oifname "eth0" masquerade'
)


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


@contextmanager
def network(*commands: str) -> Iterator[int]:
    """Make a network for the process in it; `commands` have its id as {pid}."""
    process = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    try:
        own = Path("/proc/thread-self/ns/net").readlink()
        until(lambda: Path(f"/proc/{process.pid}/ns/net").readlink() != own, "a network")
        for command in commands:
            ip(command.format(pid=process.pid))
        with within(process.pid):
            ip("link set lo up")
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def node(need: Callable[[str], str]) -> Iterator[int]:
    """Yield the process whose network is the node's."""
    need("ip")
    need("nft")
    if os.geteuid() != 0:
        pytest.skip("only root can have a network of its own")
    with ExitStack() as stack:
        stack.enter_context(own_network())
        gateway = stack.enter_context(
            network("link add cluster type veth peer name eth0 netns {pid}")
        )
        ip(f"address add {SERVICE}/24 dev cluster")
        ip("link set cluster up")
        ip(f"route add 192.168.77.0/24 via {GATEWAY}")
        node = stack.enter_context(network())
        with within(gateway):
            ip(f"link add inside type veth peer name ib0 netns {node}")
            for card, address in (("eth0", GATEWAY), ("inside", INSIDE)):
                ip(f"address add {address}/24 dev {card}")
                ip(f"link set {card} up")
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            subprocess.run(["nft", NAT], check=True)
        with within(node):
            ip(f"address add {NODE}/24 dev ib0")
            ip("link set ib0 up")
            ip(f"route add default via {INSIDE}")
        yield node


def call(
    node: int, stand: Stand, session: Session, call: str, **body: object
) -> tuple[int, dict[str, Any]]:
    """Call the API from the node; return status and answer."""
    host = f"manage.{DOMAIN}"
    context = ssl.create_default_context(cafile=str(stand.directory / "ca" / "ca.pem"))
    client = http.client.HTTPConnection(host)
    with within(node):
        plain = socket.create_connection((SERVICE, stand.port), 20)
    client.sock = context.wrap_socket(plain, server_hostname=host)
    content = json.dumps({"port": PORT, "job_id": "1", **body})
    headers = {"Host": f"{host}:{stand.port}", "Authorization": f"Bearer {session.claim}"}
    client.request("POST", f"/api/v1/sessions/{session.name}/{call}", content, headers)
    response = client.getresponse()
    answer: dict[str, Any] = json.loads(response.read())
    client.close()
    return response.status, answer


def page(stand: Stand, session: Session) -> tuple[int, str]:
    answer = stand.request(session.host, "GET", f"/{session.name}", headers={"Accept": "text/html"})
    return answer.status, answer.body.decode()


@pytest.mark.parametrize("kind", PROGRAMS)
def test_no_session_is_ready_before_the_service_has_reached_its_notebook(
    kind: str, tmp_path: Path, need: Callable[[str], str], node: int
) -> None:
    with running(tmp_path, kind, need, **SETTINGS) as stand:
        session, other = stand.issue(), stand.issue()
        status, certificate = call(node, stand, session, "certificate")
        assert status == 200, certificate
        with within(node):
            notebook = Notebook(certificate, stand.directory, PORT, NODE)
        with notebook:
            # Its own address, as the service sees it, is the gateway's.
            status, answer = call(node, stand, session, "redeem", check=True)
            assert (status, answer["error"]) == (409, "unreachable")
            assert f"cannot connect to {GATEWAY}:{PORT}: " in answer["message"]
            assert (stand.state(session)["phase"], stand.state(session)["live"]) == (
                "issued",
                False,
            )
            shown, text = page(stand, session)
            assert shown == 503
            assert "Your job is running, but the service cannot connect to its notebook" in text
            assert GATEWAY not in text
            # Another session's notebook cannot be claimed by its address.
            status, answer = call(node, stand, other, "redeem", address=NODE)
            assert (status, answer["error"]) == (409, "unreachable")
            assert "certificate" in answer["message"]
            for address in ("192.168.78.2", SERVICE, "127.0.0.1"):
                status, answer = call(node, stand, other, "redeem", address=address)
                assert (status, answer["error"]) == (403, "outside-networks")
                assert f" It is {address}." in answer["message"]
            assert notebook.requests == []
            # One that leads to it is made, also for those that renew from another of the gateway's addresses.
            status, answer = call(node, stand, session, "redeem", check=True, address=NODE)
            assert (status, answer.get("address")) == (200, NODE), answer
            until(lambda: page(stand, session)[0] == 200, "the route")
            assert notebook.requests == [f"GET /{session.name} HTTP/1.1"]
            assert call(node, stand, session, "renew")[0] == 200


def test_a_notebook_that_cannot_be_reached_is_not_ready_and_the_address_is_shown(
    tmp_path: Path, need: Callable[[str], str], node: int
) -> None:
    """Test the agent's events and log, and that it is ready with `node_address`."""
    with running(tmp_path, "embedded", need, **SETTINGS) as stand:
        for announced in (None, "ib0"):
            session = stand.issue()
            service = {
                "host": f"manage.{DOMAIN}", "port": stand.port, "connect": SERVICE,
                "ca_file": "service-ca.pem", "node_address": announced,
            }  # fmt: skip
            directory = session_directory(
                tmp_path / session.name, session.name, session.claim, TOKEN, stand.port,
                stand.directory / "ca" / "ca.pem", service=service,
            )  # fmt: skip
            with within(node), agent(directory):
                if announced:
                    assert event(directory, "ready")["address"] == NODE
                    assert events(directory, "unreachable") == []
                else:
                    reason = event(directory, "unreachable")["reason"]
                    assert f"cannot connect to {GATEWAY}:" in reason
                    assert f"Jupyter listens on {NODE}, port " in reason
                    assert f"rps: not ready: {reason}" in (directory / "job.log").read_text()
                    assert events(directory, "ready") == []
            if announced:
                assert stand.state(session)["address"] == NODE
            else:
                assert stand.state(session)["phase"] == "issued"
