"""The personal service: started when needed, found again, ended when idle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from rps_core.errors import ServiceError, UsageError
from rps_core.proxy_client.client import client_of
from rps_core.proxy_client.endpoint import own_endpoint
from rps_core.proxy_client.rps import RpsClient
from rps_core.state.record import SessionRecord
from rps_proxy.http import listeners
from rps_proxy.personal import daemon
from rps_proxy.personal import running as local
from rps_proxy.personal.find import Endpoint, OnCluster, find_or_start
from rps_proxy.personal.running import Running
from rps_proxy.personal.settings import load
from rps_proxy.private_files import write_private
from tests.stands.service import Service, Session, free_port
from tests.stands.waiting import until

STARTER = "from rps_proxy.personal.find import find_or_start; print(find_or_start().port)"


# Another user of this machine: stdin has what to do, stdout the results.
UNPRIVILEGED = 65534
NEIGHBOUR = f"""
import encodings.idna, http.client, json, os, socket, ssl, sys
asked = json.loads(sys.stdin.readline())
context = ssl.create_default_context(cadata=asked["ca"])
os.setgroups([]); os.setgid({UNPRIVILEGED}); os.setuid({UNPRIVILEGED})
listeners = [socket.create_server(("127.0.0.1", port)) for port in asked["take"]]
seen = []
for key in asked["issue"]:
    client = http.client.HTTPConnection("service")
    plain = socket.create_connection(("127.0.0.1", asked["port"]), 10)
    client.sock = context.wrap_socket(plain, server_hostname="manage.rps.localhost")
    headers = {{"Host": "manage.rps.localhost", **({{"Authorization": "Bearer " + key}} if key else {{}})}}
    client.request("POST", "/api/v1/sessions", "{{}}", headers)
    seen.append(client.getresponse().status)
print(json.dumps(seen), flush=True)
sys.stdin.read()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@contextmanager
def neighbour(endpoint: Endpoint, **asked: object) -> Iterator[list[Any]]:
    """Run code as another user; its listeners last as long as the context."""
    does = {"take": [], "issue": [], "port": endpoint.port, **asked}
    does["ca"] = endpoint.ca_file.read_text()
    process = subprocess.Popen(
        [sys.executable, "-c", NEIGHBOUR], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{json.dumps(does)}\n")
        process.stdin.flush()
        yield json.loads(process.stdout.readline())


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "node-local"
    monkeypatch.setenv(local.DIRECTORY_VARIABLE, str(path))
    configure(tmp_path)
    yield path
    running = local.last(path) if path.is_dir() else None
    if running and local.process_start_time(running.pid) == running.start_time:
        os.kill(running.pid, signal.SIGKILL)


def configure(tmp_path: Path, **settings: object) -> None:
    """Write the user's proxy.yaml, with any free port: the usual one may be in use."""
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "rps" / "proxy.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"listen": {"port": free_port()}, **settings}))


def running(directory: Path) -> Running:
    found = local.find(directory)
    assert found
    return found


class OwnService(Service):
    """A client of the service that was started, which shows its key."""

    def __init__(self, endpoint: Endpoint, directory: Path) -> None:
        super().__init__(directory)
        self.port = endpoint.port
        self.key = endpoint.issue_key

    def issue(self, **fields: str) -> Session:
        status, answer = self.call("POST", "sessions", self.key, fields)
        assert status == 201, answer
        host = answer["url"].removeprefix("https://").removesuffix("/")
        return Session(answer["name"], host, answer["claim"])


def client(endpoint: Endpoint, directory: Path) -> OwnService:
    service = OwnService(endpoint, directory)
    (directory / "ca").symlink_to(endpoint.ca_file.parent)
    return service


def kill(directory: Path) -> None:
    process = running(directory)
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: local.process_start_time(process.pid) is None, "it is dead")


def test_it_is_started_once_and_found_again(directory: Path) -> None:
    first = find_or_start()
    assert (first.domain, first.ca_file.is_file()) == ("rps.localhost", True)
    process = running(directory)
    assert find_or_start() == first
    assert running(directory) == process


def test_it_runs_under_environment_modules_for_another_python(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aiohttp.py").write_text("raise SystemExit('for another Python')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    assert find_or_start().port


def test_it_is_a_daemon_and_holds_nothing_of_ours(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_TOKEN", "canary")
    find_or_start()
    process = Path("/proc") / str(running(directory).pid)
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    parent, session = int(fields[1]), int(fields[3])
    assert parent != os.getpid()
    assert session not in (os.getsid(0), os.getpid())
    assert b"canary" not in (process / "environ").read_bytes()
    assert (process / "cwd").readlink() == Path("/")
    assert (process / "fd" / "0").readlink() == Path("/dev/null")
    assert (process / "fd" / "1").readlink() == directory / "service.log"


def test_two_starters_end_up_with_one_service(directory: Path) -> None:
    starters = [
        subprocess.Popen([sys.executable, "-c", STARTER], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    ports = {starter.communicate(timeout=60)[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    assert ports == {f"{running(directory).port}\n"}


def test_it_comes_back_on_its_port_with_its_sessions(directory: Path) -> None:
    endpoint = find_or_start()
    service = client(endpoint, directory)
    with service.notebook() as (session, _):
        assert service.request(session.host, "GET", "/").status == 200
        kill(directory)
        assert find_or_start() == endpoint
        assert service.request(session.host, "GET", "/").status == 200


def test_a_command_that_carries_it_takes_it_over_from_the_background(
    directory: Path, tmp_path: Path
) -> None:
    """Test `--foreground` on a login node, and a second command with it."""
    directory = directory / local.CLUSTER_DIRECTORY
    behind = OnCluster(lambda: "127.0.0.1")
    first = find_or_start(behind)
    session = client(first, tmp_path).issue()
    before = running(directory)
    assert find_or_start(behind) == first
    carries = "from rps_proxy.personal.find import OnCluster, find_or_start as start; import sys\n"
    carries += "found = start(OnCluster(lambda: '127.0.0.1', carried=True))\n"
    carries += "print(found.port, found.carried, found.taken_over, flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", carries], stdin=pipe, stdout=pipe, text=True
    ) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline().split() == [str(first.port), "True", "True"]
        carried = running(directory)
        assert carried.pid != before.pid
        assert local.process_start_time(before.pid) is None
        assert OwnService(first, tmp_path).state(session)["name"] == session.name
        # Another command leaves it where it is.
        found = find_or_start(OnCluster(lambda: "127.0.0.1", carried=True))
        assert (found.carried, found.taken_over, found.was_killed) == (False, False, False)
        assert running(directory) == carried
        other.stdin.close()
        until(lambda: (last := local.last(directory)) and last.ended == "carrier", "its end")
    found = find_or_start(OnCluster(lambda: "127.0.0.1", carried=True))
    assert (found.port, found.carried, found.taken_over) == (first.port, True, False)
    assert not found.was_killed
    kill(directory)


def test_without_sessions_another_port_will_do(directory: Path) -> None:
    port = find_or_start().port
    kill(directory)
    with socket.create_server(("127.0.0.1", port)):
        assert find_or_start().port != port


def test_a_port_that_another_program_takes_between_bind_and_listen_is_left(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.mkdir(0o700)
    bind = listeners.listen
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        configure(directory, listen={"port": port})

        def bind_too_late(address: str, asked: int) -> socket.socket:
            listener = bind(address, asked)
            if asked == port:
                other.listen()
            return listener

        monkeypatch.setattr(listeners, "listen", bind_too_late)
        settings = load(directory, "127.0.0.1", on_cluster=False, idle=None)
        with daemon._listener(daemon.Order(directory, "127.0.0.1"), settings) as listener:
            assert listener.getsockname()[1] != port


def test_of_two_that_bind_a_port_the_one_that_listens_first_has_it() -> None:
    with listeners.listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with listeners.listen("127.0.0.1", port) as second:
            listeners.take_connections(first)
            with pytest.raises(ServiceError) as error:
                listeners.take_connections(second)
    assert f"port {port}: Address already in use" in error.value.message
    assert "ss -tlnp" in error.value.hint


def test_while_a_notebook_runs_no_other_port_will_do(directory: Path) -> None:
    endpoint = find_or_start()
    with client(endpoint, directory).notebook() as (session, _):
        kill(directory)
        taken = socket.create_server(("127.0.0.1", endpoint.port))
        with taken, pytest.raises(ServiceError) as error:
            find_or_start()
        assert f"port {endpoint.port}" in error.value.message
        assert session.name in error.value.message
        assert "ss -tlnp" in error.value.hint
        assert find_or_start() == endpoint


def test_sessions_without_a_notebook_block_nothing(directory: Path) -> None:
    endpoint = find_or_start()
    service = client(endpoint, directory)
    waiting = service.issue()
    with service.notebook():
        pass
    kill(directory)
    with socket.create_server(("127.0.0.1", endpoint.port)):
        moved = find_or_start()
        assert moved.port != endpoint.port
        service.port = moved.port
        assert service.state(waiting)["phase"] == "issued"


@as_root
def test_a_neighbour_on_the_notebooks_port_blocks_nothing(directory: Path) -> None:
    endpoint = find_or_start()
    with client(endpoint, directory).notebook() as (_, notebook):
        port = notebook.port
    kill(directory)
    with neighbour(endpoint, take=[endpoint.port, port]):
        assert find_or_start().port != endpoint.port


def record_of(session: Session, endpoint: Endpoint, **more: Any) -> SessionRecord:
    service, _ = own_endpoint()
    values = {
        "name": session.name, "tag": f"rps:{session.name}:1", "cluster": "local", "site": "local",
        "scheduler": "local", "url": f"https://{session.host}/", "endpoint": service,
        "own_service": True, "app": "lab", "directory": "/", "walltime": 60, "created": 0.0,
    }  # fmt: skip
    assert service.port == endpoint.port
    return SessionRecord(**{**values, **more})


def test_the_launcher_asks_the_service_where_it_is_now(directory: Path) -> None:
    endpoint = find_or_start()
    session = client(endpoint, directory).issue()
    record = record_of(session, endpoint)
    kill(directory)
    with socket.create_server(("127.0.0.1", endpoint.port)):
        launcher = client_of(record, None)
        assert launcher.endpoint.port != endpoint.port
        assert launcher.state(session.name, session.claim).phase == "issued"
        launcher.revoke(session.name, session.claim, "stopped")
        assert launcher.state(session.name, session.claim).phase == "gone"


def test_the_launcher_starts_again_what_ended_before_it_could_ask(directory: Path) -> None:
    service, key = own_endpoint()
    launcher = RpsClient(service, 10, key)
    kill(directory)
    issued = launcher.issue(cluster="local", scheduler="local", user="alice")
    assert launcher.state(issued.name, issued.claim).phase == "issued"
    kill(directory)
    with pytest.raises(
        ServiceError, match="does not answer"
    ) as error:  # a site's: not ours to start
        RpsClient(service, 10).state(issued.name, issued.claim)
    assert error.value.transient
    assert local.find(directory) is None


def test_names_are_for_who_knows_the_key(directory: Path) -> None:
    service, key = own_endpoint()
    for wrong, refused in ((None, "no-claim"), ("0" * 64, "wrong-claim")):
        with pytest.raises(ServiceError, match="rejected the call") as error:
            RpsClient(service, 10, wrong).issue(cluster="local", scheduler="local", user="alice")
        assert error.value.code == refused
    RpsClient(service, 10, key).issue(cluster="local", scheduler="local", user="alice")


def test_a_key_that_was_cleaned_away_is_created_again(directory: Path) -> None:
    _, old = own_endpoint()
    (directory / local.KEY_FILE).unlink()
    service, key = own_endpoint()
    assert key != old
    RpsClient(service, 10, key).issue(cluster="local", scheduler="local", user="alice")


def test_the_key_is_in_its_file_alone(directory: Path) -> None:
    endpoint = find_or_start()
    key = endpoint.issue_key
    assert len(key) == 64
    service, _ = own_endpoint()
    issued = RpsClient(service, 10, key).issue(cluster="local", scheduler="local", user="alice")
    assert key not in repr(endpoint) + repr(asdict(service)) + repr(issued)
    process = Path("/proc") / str(running(directory).pid)
    for path in (process / "cmdline", process / "environ", *directory.rglob("*")):
        if path.is_file() and path.name != local.KEY_FILE:
            assert key.encode() not in path.read_bytes(), path
    assert (directory / local.KEY_FILE).stat().st_mode & 0o777 == 0o600


@as_root
def test_another_user_of_the_machine_gets_no_name(directory: Path) -> None:
    endpoint = find_or_start()
    with neighbour(endpoint, issue=[None, "0" * 64]) as seen:
        assert seen == [401, 403]


def test_it_ends_when_it_has_had_no_session_for_a_while(directory: Path, tmp_path: Path) -> None:
    configure(tmp_path, idle_exit=1, advanced={"sweep_every": 0.2})
    endpoint = find_or_start()
    service = client(endpoint, directory)
    session = service.issue()
    process = running(directory)
    with pytest.raises(AssertionError, match="within"):
        until(lambda: local.process_start_time(process.pid) is None, "it ended", seconds=3)
    service.revoke(session)
    until(lambda: local.process_start_time(process.pid) is None, "it ended")
    assert find_or_start() == endpoint


def test_a_pid_that_was_given_to_another_process_is_not_taken_for_it(directory: Path) -> None:
    find_or_start()
    process = running(directory)
    kill(directory)
    other = Running(os.getpid(), 1, process.port, process.ca_file, process.version)
    (directory / local.RUNNING_FILE).write_bytes(other.to_json())
    with socket.create_server(("127.0.0.1", process.port)):
        assert local.find(directory) is None


def test_a_directory_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir(mode=0o777)
    (tmp_path / "theirs").chmod(0o777)
    monkeypatch.setenv(local.DIRECTORY_VARIABLE, str(tmp_path / "theirs"))
    for mode, output in ((0o777, "is writable for everyone"), (0o755, "Other users can enter")):
        (tmp_path / "theirs").chmod(mode)
        with pytest.raises(ServiceError, match=output) as error:
            find_or_start()
        assert local.DIRECTORY_VARIABLE in error.value.hint
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    monkeypatch.setenv(local.DIRECTORY_VARIABLE, str(tmp_path / "link"))
    with pytest.raises(ServiceError, match="not a link"):
        find_or_start()


def test_a_relative_directory_is_meant_from_where_one_is(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(local.DIRECTORY_VARIABLE, directory.name)
    endpoint = find_or_start()
    assert (running(directory).port, local.service_directory()) == (endpoint.port, directory)


def test_a_service_that_ended_and_was_not_reaped_is_none(directory: Path) -> None:
    directory.mkdir(0o700)
    with (
        subprocess.Popen(["sleep", "60"]) as child,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        ticks = local.process_start_time(child.pid)
        assert ticks
        process = Running(child.pid, ticks, server.getsockname()[1], "", "1")
        write_private(directory / local.RUNNING_FILE, process.to_json())
        assert local.find(directory) == process
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert local.find(directory) is None


def test_a_mistake_in_the_users_file_is_reported_at_start(directory: Path, tmp_path: Path) -> None:
    configure(tmp_path, idle_exitt=1)
    with pytest.raises(UsageError) as error:
        find_or_start()
    assert "idle_exitt" in error.value.message
    assert "idle_exit" in error.value.hint


def test_finding_it_loads_nothing_that_costs(directory: Path) -> None:
    find_or_start()
    code = (
        "import sys; from rps_proxy.personal.find import find_or_start; find_or_start();"
        "print(sorted({'asyncio', 'ssl', 'sqlite3', 'aiohttp', 'omegaconf', 'yaml', 'structlog',"
        "'importlib.metadata', 'cryptography'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.returncode) == ("[]\n", 0), run.stderr
