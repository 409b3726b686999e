"""A personal service on a cluster: no operator, browsers through ssh to a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.cluster.conftest import Login
from tests.cluster.lab import ALICE
from tests.cluster.network import ADDRESSES, NODES
from tests.e2e.visitor import Answer, Visitor
from tests.stands.waiting import until

OWN = ("--set", "proxy=personal")


@dataclass(frozen=True)
class TunnelVisitor(Visitor):
    """Visits a session through the Unix socket, as a browser behind ssh does."""

    socket: Path

    def _run(self, visit: Callable[[aiohttp.ClientSession], Coroutine[Any, Any, Answer]]) -> Answer:
        async def through_the_socket() -> Answer:
            connector = aiohttp.UnixConnector(str(self.socket))
            timeout = aiohttp.ClientTimeout(total=90)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                return await visit(session)

        return asyncio.run(through_the_socket())


def service_files(login: Login) -> Path:
    """Return the directory of alice's service on her login node, where this process sees it."""
    return login.host.directory / "var-tmp" / f"rps-{ALICE.uid}" / "cluster"


def socket_of(login: Login, session: dict[str, Any]) -> Path:
    """Return the browsers' socket of a session, where this process sees it."""
    file = service_files(login) / "browser.sock"
    assert session["tunnel"]["socket"] == f"/var/tmp/rps-{ALICE.uid}/cluster/{file.name}"
    return file


def service_of(login: Login) -> dict[str, Any]:
    """Return what the service says of itself; its process id is the host's."""
    found: dict[str, Any] = json.loads((service_files(login) / "service.json").read_text())
    return found


def kill_service(login: Login) -> None:
    """Kill the service, and wait for its end."""
    pid = str(service_of(login)["pid"])
    login.run("kill", "-KILL", pid)
    until(lambda: login.run("test", "-e", f"/proc/{pid}", check=False).returncode, "its end")


@pytest.fixture
def anywhere(comet: Login) -> Iterator[Login]:
    """Log in on Comet; afterwards the sessions are stopped, and the service of this test ends."""
    yield comet
    comet.rps("stop", "--all", check=False)
    with contextlib.suppress(FileNotFoundError):
        comet.run("kill", str(service_of(comet)["pid"]), check=False)


def test_a_notebook_without_an_operator(anywhere: Login, bob: Login) -> None:
    printed = anywhere.rps("start", "--wait", "--json", *OWN, "--cluster", "comet")
    session = json.loads(printed.stdout)
    assert session["state"] == "ready"
    name, tunnel = session["name"], session["tunnel"]
    assert re.fullmatch(
        rf"http://{name}\.rps\.localhost:{tunnel['port']}/\?token=\w+", session["url"]
    )
    assert tunnel["host"] == "comet-ln2.local"
    file = socket_of(anywhere, session)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert anywhere.record(name)["endpoint"]["connect"] == ADDRESSES["comet-ln2"][0]
    visitor = TunnelVisitor(session["url"], Path(os.devnull), file)
    assert visitor.get("/api/status")[0] == 200
    assert visitor.get("/api/status", token=False)[0] == 403
    printed_there = visitor.run_cell("import socket; print(socket.gethostname())")
    assert printed_there.strip() in ("comet-14-01", "comet-14-02")
    for command in (("status", name), ("url", name)):
        assert json.loads(anywhere.rps(*command, "--json").stdout)["tunnel"] == tunnel
    (listed,) = json.loads(anywhere.rps("list", "--json").stdout)
    assert listed["tunnel"] == tunnel
    found = anywhere.rps("doctor", "--json", env={"RPS_PROXY_OWN": "on"}, check=False).stdout
    said = [line["text"] for line in json.loads(found)["lines"] if line["check"] == "service"]
    assert any(text.startswith("ready (rps ") for text in said), said
    another_user_gets_nothing(anywhere, bob, session)
    another_login_node_finds_it(anywhere, session)
    a_killed_service_comes_back(anywhere, session, visitor)
    a_restarted_login_node_brings_it_back(anywhere, session, visitor)
    a_taken_port_is_reported(anywhere, bob, session)


# What another user can send to the agents' port: Host, method, path. Names are public.
_PROBE = """
import http.client, json, ssl, sys
address, port, name = sys.argv[1:]
context = ssl._create_unverified_context()
found = []
for host in ("manage.rps.localhost", f"{name}.rps.localhost", "rps.localhost", address):
    for method, path in (("GET", "/"), ("GET", "/api/v1/health"), ("GET", "/api/v1/ready"),
                         ("GET", f"/api/v1/sessions/{name}"), ("POST", "/api/v1/sessions"),
                         ("POST", f"/api/v1/sessions/{name}/revoke"), ("GET", "/.rps/state"),
                         ("POST", f"/api/v1/sessions/{name}/redeem")):
        for secret in ({}, {"Authorization": "Bearer " + "A" * 43}):
            connection = http.client.HTTPSConnection(address, int(port), context=context, timeout=30)
            connection.request(method, path, headers={"Host": f"{host}:{port}", **secret})
            answer = connection.getresponse()
            found.append((host, path, answer.status, answer.read().decode()))
            connection.close()
print(json.dumps(found))
"""
_CONNECT = """
import socket, sys
try:
    socket.socket(socket.AF_UNIX).connect(sys.argv[1])
except PermissionError:
    print("refused")
"""


def another_user_gets_nothing(login: Login, bob: Login, session: dict[str, Any]) -> None:
    port, name = session["tunnel"]["port"], session["name"]
    python = "/usr/bin/python3"
    for host in ("comet-ln2", "comet-14-01"):
        there = bob.on(host)
        printed = there.run(python, "-c", _PROBE, ADDRESSES["comet-ln2"][0], str(port), name)
        answers = json.loads(printed.stdout)
        assert len(answers) == 64
        for asked, path, status, text in answers:
            assert status in (401, 403, 404, 421), (asked, path, status, text)
            assert ALICE.name not in text
            assert "ready" not in text
    socket = session["tunnel"]["socket"]
    assert bob.run(python, "-c", _CONNECT, socket).stdout == "refused\n"
    assert login.run(python, "-c", _CONNECT, socket).stdout == ""


def another_login_node_finds_it(login: Login, session: dict[str, Any]) -> None:
    """Commands on another login node of the cluster use the service where it is, and start none."""
    name = session["name"]
    other = login.on("tscc-login1")
    there = other.host.directory / "var-tmp" / f"rps-{ALICE.uid}"
    found = json.loads(other.rps("status", name, "--json", "--cluster", "comet").stdout)
    assert (found["state"], found["tunnel"]) == ("ready", session["tunnel"])
    assert json.loads(other.rps("url", name, "--json").stdout)["tunnel"] == session["tunnel"]
    kill_service(login)
    away = other.rps("status", name, "--cluster", "comet")
    assert "Your personal service on comet-ln2.local does not answer" in away.stdout + away.stderr
    assert not there.exists()


def a_killed_service_comes_back(
    login: Login, session: dict[str, Any], visitor: TunnelVisitor
) -> None:
    """The next command says what may have killed it, and starts it with its routes."""
    listed = login.rps("list", "--json")
    assert "KillUserProcesses=yes" in listed.stderr
    until(lambda: login.status(session["name"])["state"] == "ready", "its route")
    assert visitor.get("/api/status")[0] == 200
    assert service_of(login)["port"] == session["tunnel"]["port"]


def a_restarted_login_node_brings_it_back(
    login: Login, session: dict[str, Any], visitor: TunnelVisitor
) -> None:
    login.host.end()
    login.cluster.revive(login.host.name)
    listed = login.rps("list", "--json")
    assert "killed" not in listed.stderr
    until(lambda: login.status(session["name"])["state"] == "ready", "its route")
    assert visitor.get("/api/status")[0] == 200


def a_taken_port_is_reported(login: Login, bob: Login, session: dict[str, Any]) -> None:
    """While sessions are reached by that port; `rps stop` ends them, and the next start has another."""
    port, name = session["tunnel"]["port"], session["name"]
    kill_service(login)
    listen = f"import socket, time; s = socket.create_server(('', {port})); print(1, flush=True); "
    listen += "time.sleep(999)"
    taker = bob.host.popen(["/usr/bin/python3", "-c", listen], bob.account, stdout=subprocess.PIPE)
    with taker, taker.stdout or contextlib.nullcontext() as printed:
        try:
            assert printed is not None
            assert printed.readline() == "1\n"
            shown = login.rps("status", name)
            assert f"another program uses its port {port}" in shown.stdout + shown.stderr
            login.rps("stop", name)
            started = json.loads(login.rps("start", "--no-wait", "--json", *OWN).stdout)
            assert started["tunnel"]["port"] != port
        finally:
            taker.kill()


def test_no_domain_is_enough(anywhere: Login) -> None:
    started = anywhere.rps("start", "--no-wait", "--cluster", "generic")
    name, port = re.findall(r"http://([a-z-]+)\.rps\.localhost:(\d+)/", started.stdout)[0]
    record = anywhere.record(name)
    socket = record["tunnel"]["socket"]
    assert f"ssh -N -L {port}:{socket} {ALICE.name}@comet-ln2.local\n" in started.stderr
    anywhere.rps("stop", name, "--cluster", "generic")


def test_a_service_in_the_foreground_ends_with_its_command(anywhere: Login) -> None:
    command = [str(anywhere.clone / "rps"), "start", "--foreground", "--json", *OWN]
    process = anywhere.host.popen(
        command, anywhere.account, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        try:
            assert process.stdout is not None
            name = json.loads(process.stdout.readline())["name"]
            until(lambda: anywhere.status(name)["state"] == "ready", "the notebook")
            process.send_signal(signal.SIGKILL)  # as the end of a terminal's ssh may
            until(lambda: service_of(anywhere)["ended"] == "carrier", "the service's end")
        finally:
            process.kill()
    assert not (service_files(anywhere) / "browser.sock").exists()
    listed = anywhere.rps("list", "--json")
    assert "killed" not in listed.stderr
    until(lambda: anywhere.status(name)["state"] == "ready", "the route")
    # That command started it in the background: a terminal takes it over, with the route.
    behind = service_of(anywhere)
    command = [str(anywhere.clone / "rps"), "status", "--watch", "--foreground", name]
    process = anywhere.host.popen(command, anywhere.account, stderr=subprocess.PIPE)
    with process:
        try:
            until(lambda: service_of(anywhere)["pid"] != behind["pid"], "the other service")
            assert service_of(anywhere)["port"] == behind["port"]
            until(lambda: anywhere.status(name)["state"] == "ready", "the route")
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            said = process.stderr.read()
        finally:
            process.kill()
    assert "Your personal service ran in the background. It was started again in this" in said


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("limits.personal=off",), 2, "comet allows no personal services on its login nodes"),
        (("limits.personal_sessions=1",), 2, "comet allows 1 of a user's sessions"),
        (("proxy.listen=10.77.0.11",), 4, "Cannot assign requested address"),
    ],
)
def test_what_the_site_does_not_allow_is_refused(
    anywhere: Login, options: tuple[str, ...], code: int, words: str
) -> None:
    if "limits.personal_sessions=1" in options:
        anywhere.rps("start", "--no-wait", *OWN)
    given = [text for option in ("proxy.own=on", *options) for text in ("--set", option)]
    refused = anywhere.rps("start", "--no-wait", *given, check=False)
    assert (refused.returncode, refused.stdout) == (code, ""), refused.stderr
    assert words in refused.stderr


def test_a_full_disk_of_the_login_node_is_said(anywhere: Login) -> None:
    small = anywhere.host.directory / "full"
    small.mkdir()
    inside = "/srv/full"
    script = (
        f"mount -t tmpfs -o size=16k,mode=700,uid={ALICE.uid} full {inside} && "
        f"dd if=/dev/zero of={inside}/ballast bs=4k 2>/dev/null; true"
    )
    anywhere.host.run(["sh", "-c", script], check=True)
    try:
        refused = anywhere.rps(
            "start", "--no-wait", *OWN, env={"RPS_LOCAL_SERVICE_DIR": f"{inside}/d"}, check=False
        )
    finally:
        anywhere.host.run(["umount", inside], check=True)
    assert refused.returncode == 4, refused.stderr
    assert "No space left on device" in refused.stderr
    assert "Traceback" not in refused.stderr


@contextmanager
def closed_to_nodes(login: Login) -> Iterator[None]:
    """Drop what compute nodes send to the login node, but answers, for the length of the block."""
    nodes = ", ".join(ADDRESSES[node][0] for node in NODES)
    rules = f"""
        table inet closed {{
          chain input {{
            type filter hook input priority filter
            ct state established,related accept
            ip saddr {{ {nodes} }} counter drop
          }}
        }}
    """
    login.host.run(["nft", "--file", "-"], input=rules, check=True)
    try:
        yield
    finally:
        login.host.run(["nft", "delete", "table", "inet", "closed"], check=True)


def test_nodes_that_reach_no_port_of_the_login_node(anywhere: Login) -> None:
    """Test calls as files: from the certificate to the end, through a restart of the service."""
    with closed_to_nodes(anywhere):
        session = anywhere.started(*OWN, "--cluster", "comet")
        assert session["state"] == "ready"
        name = session["name"]
        directory = anywhere.sessions / name
        assert "its calls are made as files" in (directory / "job.log").read_text()
        visitor = TunnelVisitor(session["url"], Path(os.devnull), socket_of(anywhere, session))
        assert visitor.run_cell("print(6 * 7)").strip() == "42"
        calls = directory / "calls"
        for path in (calls, *calls.iterdir()):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0

        def last() -> int:
            found: dict[str, int] = json.loads(
                (service_files(anywhere) / "file-calls.json").read_text()
            )
            return found[name]

        before = last()
        until(lambda: last() > before, "a renewal")
        kill_service(anywhere)
        anywhere.rps("list", "--cluster", "comet")  # starts it again
        before = last()
        until(lambda: last() > before, "a renewal by the new one")
        until(lambda: anywhere.status(name)["state"] == "ready", "its route")
        assert visitor.get("/api/status")[0] == 200
        anywhere.rps("stop", name, "--cluster", "comet")
        dropped = anywhere.host.run(["nft", "list", "table", "inet", "closed"], capture_output=True)
        assert int(re.findall(r"packets (\d+)", dropped.stdout)[0]) > 0
