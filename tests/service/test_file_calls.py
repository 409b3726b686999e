"""Calls as files: an agent whose node reaches no port of the personal service on the login node."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rps_core.node.agent import call_files, calls
from rps_core.node.agent.calls import FileCalls, SessionCalls
from rps_core.node.agent.protocol import ACKNOWLEDGED, CERTIFICATE, LEASE
from rps_core.node.agent.service import ServiceAway, ServiceRefused
from rps_core.proxy_client.endpoint import own_endpoint
from rps_core.proxy_client.models import Issued
from rps_core.proxy_client.rps import RpsClient
from rps_proxy.api.file_calls import DISCOVER_EVERY, LOOK_EVERY
from rps_proxy.personal import running as local
from rps_proxy.personal.find import OnCluster
from tests.stands.service import Notebook, free_port
from tests.stands.waiting import until

ADDRESS = "127.0.0.1"
ON_CLUSTER = OnCluster(lambda: ADDRESS)


class Node:
    """A session on a node that reaches no port of the service, and shares its user's home."""

    def __init__(self, client: RpsClient, issued: Issued, sessions: Path) -> None:
        self.client = client
        self.name, self.claim = issued.name, issued.claim
        self.path = sessions / self.name
        self.path.mkdir(parents=True, mode=0o700)
        self.calls = self.path / call_files.DIRECTORY
        endpoint = client.endpoint
        self.session = cast(Any, SimpleNamespace(
            name=self.name, claim=self.claim, path=str(self.path), file_calls=True,
            service=(endpoint.host, free_port(), ADDRESS, endpoint.ca_file),
        ))  # fmt: skip

    def phase(self) -> str:
        return self.client.state(self.name, self.claim).phase

    def put(self, content: bytes, number: int, mode: int = 0o600) -> Path:
        """Write a request's file as an agent does."""
        if not self.calls.exists():
            self.calls.mkdir(mode=0o700)
        path = self.calls / call_files.file_name(call_files.REQUEST, number)
        beside = path.with_suffix(".new")
        beside.write_bytes(content)
        beside.chmod(mode)
        beside.rename(path)
        return path

    def request(self, number: int, *, claim: Any = None, **changed: Any) -> bytes:
        content = {
            "session": self.name, "number": number, "call": "renew", "from": ADDRESS, "body": {}, **changed,
        }  # fmt: skip
        digest = call_files.claim_digest(claim or self.claim)
        return call_files.sign(digest, call_files.REQUEST, content)

    def answer(self, number: int) -> dict[str, Any]:
        """Wait for the answer to a request, and remove it."""
        path = self.calls / call_files.file_name(call_files.ANSWER, number)
        until(path.exists, "the answer")
        digest = call_files.claim_digest(self.claim)
        found = call_files.verified(digest, call_files.ANSWER, path.read_bytes())
        path.unlink()
        return found


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    directory = tmp_path / "node-local"
    monkeypatch.setenv(local.DIRECTORY_VARIABLE, str(directory))
    for name in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    endpoint, key = own_endpoint(ON_CLUSTER)
    client = RpsClient(endpoint, 10, key, on_cluster=ON_CLUSTER)
    issued = client.issue(cluster="comet", scheduler="slurm", user="alice")
    yield Node(client, issued, tmp_path / "state" / "rps" / "sessions")
    end()


def end() -> None:
    """Kill the personal service."""
    running = local.last(local.service_directory(on_cluster=True))
    if running and local.process_start_time(running.pid) == running.start_time:
        os.kill(running.pid, signal.SIGKILL)
        until(lambda: local.process_start_time(running.pid) is None, "its end")


def test_a_session_lives_by_files_alone(node: Node, tmp_path: Path) -> None:
    agent = SessionCalls(node.session)
    pem = agent.call("certificate", CERTIFICATE, {})
    assert agent.local_address == ADDRESS
    assert stat.S_IMODE(node.calls.stat().st_mode) == 0o700
    assert list(node.calls.iterdir()) == []
    with Notebook(pem, tmp_path) as notebook:
        redeem = {"port": notebook.port, "job_id": "17", "check": True}
        assert agent.call("redeem", LEASE, redeem)["renew_every"] == 15
        assert node.phase() == "ready"
        assert agent.call("renew", LEASE, None)["renew_every"] == 15
        # The same again is answered as the first, as over the network.
        agent.call("redeem", LEASE, redeem)
    agent.call("revoke", ACKNOWLEDGED, {"reason": "done", "cause": "signal"})
    assert node.phase() == "gone"
    with pytest.raises(ServiceRefused) as refused:
        agent.call("renew", LEASE, None)
    assert refused.value.code == "gone"
    assert list(node.calls.iterdir()) == []


def test_a_route_leads_only_to_a_server_with_the_sessions_certificate(node: Node) -> None:
    agent = SessionCalls(node.session)
    agent.call("certificate", CERTIFICATE, {})
    with socket.create_server((ADDRESS, 0)) as other:
        port = other.getsockname()[1]
        redeem = {"port": port, "job_id": "17", "check": False}  # it is checked all the same
        with pytest.raises(ServiceRefused) as refused:
            agent.call("redeem", LEASE, redeem)
    assert refused.value.code == "unreachable"
    assert node.phase() != "ready"
    for address, code in (
        ("169.254.7.7", "excluded-address"),
        ("224.0.0.1", "excluded-address"),
        ("node-1", "bad-request"),
    ):
        with pytest.raises(ServiceRefused) as refused:
            agent.call("redeem", LEASE, {**redeem, "address": address})
        assert refused.value.code == code


def test_a_request_is_answered_once_also_after_a_restart(node: Node) -> None:
    number = 7
    node.put(node.request(number, call="certificate"), number)
    assert node.answer(number)["status"] == 200
    replayed = {"status": 409, "error": "replayed", "message": "", "last": number}
    for restart in (False, True):
        if restart:
            end()
            own_endpoint(ON_CLUSTER)
        for again in (number, number - 1):
            node.put(node.request(again, call="certificate"), again)
            assert node.answer(again).items() >= replayed.items()
    agent = FileCalls(node.session)
    assert agent.call("revoke", ACKNOWLEDGED, {}) == {}
    # The end is answered too, also to an agent that was asleep.
    end()
    own_endpoint(ON_CLUSTER)
    with pytest.raises(ServiceRefused, match="gone"):
        agent.call("renew", LEASE, None)


def test_an_agent_whose_clock_is_behind_goes_on(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    FileCalls(node.session).call("certificate", CERTIFICATE, {})
    monkeypatch.setattr(calls.time, "time", lambda: 1000.0)  # type: ignore[attr-defined]
    FileCalls(node.session).call("certificate", CERTIFICATE, {})


def test_what_is_not_the_agents_is_not_answered(node: Node) -> None:
    number = 10
    for content in (b"", node.request(number, claim=secrets.token_urlsafe(32))):
        path = node.put(content, number)
        until(lambda path=path: not path.exists(), "its removal")  # type: ignore[misc]
        assert list(node.calls.iterdir()) == []
    # What others can read is not looked at, and no link: neither a file's nor the directory's.
    target = node.path / "target"
    target.write_bytes(node.request(21, call="certificate"))
    target.chmod(0o600)
    for case in (
        "a file of others",
        "a file's link",
        "a directory of others",
        "a directory's link",
    ):
        if case == "a file's link":
            (node.calls / call_files.file_name(call_files.REQUEST, 21)).symlink_to(target)
        else:
            mode = 0o640 if case == "a file of others" else 0o600
            node.put(node.request(20, call="certificate"), 20, mode)
        if case == "a directory of others":
            node.calls.chmod(0o750)
        if case == "a directory's link":
            node.calls.symlink_to(node.calls.rename(node.path / "elsewhere"))
        time.sleep(DISCOVER_EVERY + LOOK_EVERY)  # in which it looks
        (left,) = node.calls.iterdir()
        assert left.name.startswith(call_files.REQUEST), case
        left.unlink()
        node.calls.chmod(0o700)
    node.calls.unlink()
    node.put(node.request(30, call="certificate"), 30)
    assert node.answer(30)["status"] == 200


@pytest.mark.parametrize("forged", ["unsigned", "as-a-request", "another"])
def test_an_agent_believes_no_answer_but_the_services(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    monkeypatch.setattr(calls, "PATIENCE", 20.0)
    claim = secrets.token_urlsafe(32)
    digest = call_files.claim_digest(claim)
    session = cast(Any, SimpleNamespace(
        name="a-b-c", claim=claim, path=str(tmp_path), file_calls=True,
        service=("manage.x", 1, ADDRESS, None),
    ))  # fmt: skip

    def forge() -> None:
        directory = tmp_path / call_files.DIRECTORY
        until(lambda: directory.exists() and any(directory.glob("request-*[0-9]")), "a request")
        (request,) = directory.glob("request-*[0-9]")
        number = int(request.name.partition("-")[2])
        answer = {"session": "a-b-c", "number": number, "status": 200, "renew_every": 1}
        content = {
            "unsigned": b"0" * 64 + b"\n{}",
            "as-a-request": call_files.sign(digest, call_files.REQUEST, answer),
            "another": call_files.sign(digest, call_files.ANSWER, {**answer, "number": number - 1}),
        }[forged]
        path = directory / call_files.file_name(call_files.ANSWER, number)
        descriptor = os.open(path.with_suffix(".new"), os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        path.with_suffix(".new").rename(path)

    forger = threading.Thread(target=forge)
    forger.start()
    with pytest.raises(ServiceAway, match=r"not to be believed|another request"):
        FileCalls(session).call("renew", LEASE, None)
    forger.join()


def test_where_no_service_answers_both_ways_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PATIENCE", 0.5)
    session = cast(Any, SimpleNamespace(
        name="a-b-c", claim=secrets.token_urlsafe(32), path=str(tmp_path), file_calls=True,
        service=("manage.rps.localhost", free_port(), ADDRESS, None),
    ))  # fmt: skip
    agent = SessionCalls(session)
    with pytest.raises(ServiceAway, match=r"Connection refused.*no answer came as a file"):
        agent.call("renew", LEASE, None)
    assert list((tmp_path / "calls").iterdir()) == []
    with pytest.raises(ServiceAway):
        agent.call("revoke", ACKNOWLEDGED, {})
    (left,) = (tmp_path / "calls").iterdir()  # the service reads it later
    assert left.name.startswith("request-")
    session.file_calls = False  # a service that an operator runs
    with pytest.raises(ServiceAway) as away:
        SessionCalls(session).call("renew", LEASE, None)
    assert "file" not in str(away.value)
