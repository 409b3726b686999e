"""The user's own service on one machine: started when needed, found again, gone when idle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rps_core.errors import ServiceError, UsageError
from rps_proxy import local
from rps_proxy.local import Endpoint, Running, find_or_start
from tests.faults.service_stand import Service, until

STARTER = "from rps_proxy.local import find_or_start; print(find_or_start().port)"


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
    """The user's own proxy.yaml. The port is any: the usual one may be in use on this machine."""
    file = Path(os.environ["XDG_CONFIG_HOME"]) / "rps" / "proxy.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"listen": {"port": 0}, **settings}))


def running(directory: Path) -> Running:
    found = local.find(directory)
    assert found
    return found


def client(endpoint: Endpoint, directory: Path) -> Service:
    """A client of the service that was started."""
    service = Service(directory)
    service.port = endpoint.port
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


def test_it_is_nobodys_child_and_holds_nothing_of_ours(
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


def test_without_sessions_another_port_will_do(directory: Path) -> None:
    port = find_or_start().port
    kill(directory)
    with socket.create_server(("127.0.0.1", port)):
        assert find_or_start().port != port


def test_with_sessions_no_other_port_will_do(directory: Path) -> None:
    endpoint = find_or_start()
    client(endpoint, directory).issue()
    kill(directory)
    with socket.create_server(("127.0.0.1", endpoint.port)), pytest.raises(ServiceError) as error:
        find_or_start()
    assert f"port {endpoint.port}" in error.value.message
    assert "ss -tlnp" in error.value.hint
    assert find_or_start() == endpoint


def test_it_ends_when_it_has_had_no_session_for_a_while(directory: Path, tmp_path: Path) -> None:
    configure(tmp_path, idle_exit=1, lease={"sweep_every": 0.2})
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


def test_a_directory_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "theirs").mkdir(mode=0o777)
    (tmp_path / "theirs").chmod(0o777)
    monkeypatch.setenv(local.DIRECTORY_VARIABLE, str(tmp_path / "theirs"))
    with pytest.raises(ServiceError, match="Other users can enter"):
        find_or_start()
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    monkeypatch.setenv(local.DIRECTORY_VARIABLE, str(tmp_path / "link"))
    with pytest.raises(ServiceError, match="no link"):
        find_or_start()


def test_a_mistake_in_the_users_file_is_told_to_who_starts_it(
    directory: Path, tmp_path: Path
) -> None:
    configure(tmp_path, idle_exitt=1)
    with pytest.raises(UsageError) as error:
        find_or_start()
    assert "idle_exitt" in error.value.message
    assert "idle_exit" in error.value.hint


def test_finding_it_loads_nothing_that_costs(directory: Path) -> None:
    find_or_start()
    code = (
        "import sys; from rps_proxy.local import find_or_start; find_or_start();"
        "print(sorted({'asyncio', 'ssl', 'sqlite3', 'aiohttp', 'omegaconf', 'yaml', 'structlog',"
        "'importlib.metadata', 'cryptography'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.returncode) == ("[]\n", 0), run.stderr
