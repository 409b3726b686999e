"""The node agent's parts: files, processes, the service's client, its syntax."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rps_core
from rps_core.node import archive
from rps_core.node.agent import sockets as kernel_sockets
from rps_core.node.agent.events import End
from rps_core.node.agent.files import UnsafeFile, check_directory, read_file, write_secret
from rps_core.node.agent.jupyter import check_port_range, free_port
from rps_core.node.agent.processes import descendants, send, start_ticks
from rps_core.node.agent.service import Service, ServiceAway, ServiceRefused
from rps_core.node.agent.wake import in_thread
from tests.faults.agent_stand import CLAIM, DOMAIN, NAME, StandIn, stand_in

CORE = Path(rps_core.__file__).parent


# Files


def test_a_secret_is_read_where_it_is_ours_alone(tmp_path: Path) -> None:
    write_secret(str(tmp_path / "claim.json"), b"secret")
    assert (tmp_path / "claim.json").stat().st_mode & 0o777 == 0o600
    assert read_file(str(tmp_path / "claim.json"), secret=True) == b"secret"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_secret_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "claim.json"
    path.write_bytes(b"secret")
    path.chmod(mode)
    with pytest.raises(UnsafeFile, match="others"):
        read_file(str(path), secret=True)


def test_a_link_is_refused(tmp_path: Path) -> None:
    write_secret(str(tmp_path / "elsewhere"), b"secret")
    (tmp_path / "claim.json").symlink_to("elsewhere")
    with pytest.raises(UnsafeFile, match="link"):
        read_file(str(tmp_path / "claim.json"), secret=True)


def test_a_pipe_does_not_hang_the_agent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "claim.json", 0o600)
    with pytest.raises(UnsafeFile):
        read_file(str(tmp_path / "claim.json"), secret=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    write_secret(str(tmp_path / "claim.json"), b"secret")
    os.chown(tmp_path / "claim.json", 12345, -1)
    with pytest.raises(UnsafeFile, match="12345"):
        read_file(str(tmp_path / "claim.json"), secret=True)


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    check_directory(str(tmp_path))
    tmp_path.chmod(0o777)
    with pytest.raises(UnsafeFile):
        check_directory(str(tmp_path))


# Processes


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def test_a_process_has_one_start_time(child: subprocess.Popen[bytes]) -> None:
    ticks = start_ticks(child.pid)
    assert ticks is not None
    assert ticks == start_ticks(child.pid)
    assert descendants(os.getpid())[child.pid] == ticks


def test_a_zombie_is_no_process(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert start_ticks(child.pid) is None
    assert child.pid not in descendants(os.getpid())


def test_a_command_may_be_called_anything(tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    shutil.copy("/bin/sleep", program)
    with subprocess.Popen([program, "1000"]) as process:
        assert descendants(os.getpid())[process.pid] == start_ticks(process.pid)
        process.kill()


def test_a_process_whose_first_thread_has_ended_still_lives() -> None:
    code = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(1000,)).start()
print("up", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        stat = Path(f"/proc/{process.pid}/stat")
        deadline = time.monotonic() + 10
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert start_ticks(process.pid) is not None
        process.kill()


def test_nothing_is_sent_to_a_reused_pid(child: subprocess.Popen[bytes]) -> None:
    ticks = start_ticks(child.pid)
    assert ticks is not None
    send(child.pid, ticks - 1, signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.2)
    send(child.pid, ticks, signal.SIGKILL)
    assert child.wait(10) == -signal.SIGKILL


def test_without_a_thread_the_work_is_done_all_the_same() -> None:
    done: list[bool] = []
    worker = in_thread(lambda: done.append(threading.current_thread().daemon))
    assert worker is not None
    worker.join()
    size = threading.stack_size(1 << 46)  # more than there is room for
    try:
        assert in_thread(lambda: done.append(threading.current_thread().daemon)) is None
    finally:
        threading.stack_size(size)
    assert done == [True, False]


def test_a_free_port_is_within_its_range() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", [port, port]) is None
    assert free_port("127.0.0.1", [port, port]) == port
    assert free_port("127.0.0.1", None) not in (None, 0)


@pytest.mark.parametrize(
    "damaged", [7, "20000-40000", [], [20000], [1, 2, 3], [40000, 20000], [0, 9], [9, 65536],
                ["1", "2"], [1.5, 2.5], [True, 9], [None, None]],
)  # fmt: skip
def test_a_port_range_that_is_none_is_said_to_be_none(damaged: object) -> None:
    with pytest.raises(End, match="port range"):
        check_port_range(damaged)


@pytest.mark.parametrize("given", [None, [1, 65535], [20000, 20000]])
def test_a_port_range(given: object) -> None:
    check_port_range(given)


# The kernels' sockets


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Path]:
    path = Path(kernel_sockets.make_sockets_directory(str(tmp_path)))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_the_sockets_have_a_short_private_directory(sockets: Path, tmp_path: Path) -> None:
    assert sockets.stat().st_mode & 0o777 == 0o700
    assert len(str(sockets / "kernel-99999-5")) < 107
    assert (tmp_path / "sockets").stat().st_mode & 0o777 == 0o600
    kernel_sockets.remove_sockets_directory(str(tmp_path))
    assert not sockets.exists()
    kernel_sockets.remove_sockets_directory(str(tmp_path))


def test_a_place_where_others_could_replace_it_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "mine").mkdir(0o700)
    places = (str(tmp_path / "nowhere"), str(tmp_path / "open"), str(tmp_path / "mine"))
    monkeypatch.setattr(kernel_sockets, "SOCKET_BASES", places)
    assert kernel_sockets.make_sockets_directory(str(tmp_path)).startswith(places[2])
    monkeypatch.setattr(kernel_sockets, "SOCKET_BASES", places[:2])
    with pytest.raises(OSError, match="is a place for the kernels"):
        kernel_sockets.make_sockets_directory(str(tmp_path))


def test_nothing_but_sockets_is_removed(sockets: Path, tmp_path: Path) -> None:
    note = tmp_path / "sockets"
    (tmp_path / "kept").mkdir()
    for planted in (str(tmp_path / "kept"), f"{sockets}/../{tmp_path.name}", "", "\udcff"):
        note.write_bytes(os.fsencode(planted))
        kernel_sockets.remove_sockets_directory(str(tmp_path))
    note.write_text(str(sockets))
    note.chmod(0o666)
    kernel_sockets.remove_sockets_directory(str(tmp_path))
    assert (tmp_path / "kept").exists()
    assert sockets.exists()


# The service's client


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(tmp_path_factory.mktemp("stand") / "service") as stand:
        yield stand


@pytest.fixture(autouse=True)
def _no_faults(stand: StandIn) -> Iterator[None]:
    yield
    stand.answers.clear()


def service(stand: StandIn, **options: Any) -> Service:
    values: dict[str, Any] = {"connect": "127.0.0.1", "ca_file": str(stand.ca_file)}
    return Service(f"manage.{DOMAIN}", stand.port, **(values | options))


PATH = f"/api/v1/sessions/{NAME}/renew"


def test_a_call_is_answered(stand: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody is there
    client = service(stand)
    assert client.request("POST", PATH, {}, CLAIM)["lease"] == 45
    assert client.local_address == "127.0.0.1"


def test_a_refusal_has_its_code(stand: StandIn) -> None:
    with pytest.raises(ServiceRefused) as caught:
        service(stand).request("POST", PATH, {}, "wrong")
    assert (caught.value.status, caught.value.code) == (403, "wrong-claim")
    assert "wrong" not in str(caught.value).replace("wrong-claim", "")


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_overload_passes(stand: StandIn, status: int) -> None:
    stand.answers["renew"] = lambda _: (status, {"error": "busy", "message": ""})
    with pytest.raises(ServiceAway, match=str(status)):
        service(stand).request("POST", PATH, {}, CLAIM)


@pytest.mark.parametrize(("status", "code"), [(429, "limit"), (503, "busy")])
def test_overload_is_told_in_the_services_words(stand: StandIn, status: int, code: str) -> None:
    answer = {"error": code, "message": "You have 100 names already."}
    stand.answers["renew"] = lambda _: (status, answer)
    with pytest.raises(ServiceAway, match="100 names already") as caught:
        service(stand).request("POST", PATH, {}, CLAIM)
    assert (caught.value.code, caught.value.message) == (code, answer["message"])


def test_an_error_that_is_not_the_services_own_decides_nothing(stand: StandIn) -> None:
    """A web server in front that has lost the service answers 404 for it."""
    stand.answers["renew"] = lambda _: (404, {"page": "not found"})
    with pytest.raises(ServiceAway, match="not the service"):
        service(stand).request("POST", PATH, {}, CLAIM)


def test_nobody_there(stand: StandIn) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = Service("localhost", unused.getsockname()[1])
        with pytest.raises(ServiceAway, match="refused"):
            client.request("GET", "/api/v1/health")


def test_somebody_silent(stand: StandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = Service("localhost", silent.getsockname()[1], "127.0.0.1", timeout=0.2)
        with pytest.raises(ServiceAway, match="timed out"):
            client.request("GET", "/api/v1/health")


def test_somebody_else(stand: StandIn) -> None:
    with pytest.raises(ServiceAway, match="certificate"):
        service(stand, ca_file=None).request("POST", PATH, {}, CLAIM)
    other = Service(f"other.{DOMAIN}", stand.port, "127.0.0.1", str(stand.ca_file))
    with pytest.raises(ServiceAway, match="other"):
        other.request("POST", PATH, {}, CLAIM)


def test_one_who_speaks_no_http(tmp_path: Path, stand: StandIn) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    leaf = stand.upstream.issue([f"manage.{DOMAIN}"], 1)
    (tmp_path / "pem").write_bytes(leaf.certificate + leaf.key)
    context.load_cert_chain(tmp_path / "pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with context.wrap_socket(connection, server_side=True) as secure:
                secure.recv(4096)
                secure.sendall(b"220 mail.example.org\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        ca_file = str(stand.upstream.certificate_file)
        client = Service(f"manage.{DOMAIN}", listener.getsockname()[1], "127.0.0.1", ca_file)
        with pytest.raises(ServiceAway, match="HTTP"):
            client.request("POST", PATH, {}, CLAIM)
        thread.join()


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"


@pytest.mark.parametrize(
    ("answers", "connections"),
    [
        ([[ANSWER + b"\r\n{}"] * 3], 1),
        ([[ANSWER + b"\r\n{}"] * 2, [ANSWER + b"\r\n{}"]], 2),  # closed while nobody asks
        ([[ANSWER + b"Connection: close\r\n\r\n{}"]] * 3, 3),
    ],
    ids=["kept", "closed meanwhile", "not to be kept"],
)
def test_a_connection_is_kept_for_as_long_as_the_service_does(
    tmp_path: Path, stand: StandIn, answers: list[list[bytes]], connections: int
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    leaf = stand.upstream.issue([f"manage.{DOMAIN}"], 1)
    (tmp_path / "pem").write_bytes(leaf.certificate + leaf.key)
    context.load_cert_chain(tmp_path / "pem")
    served = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            for texts in answers:
                connection, _ = listener.accept()
                with context.wrap_socket(connection, server_side=True) as secure:
                    served.append(secure)
                    for text in texts:
                        secure.recv(4096)
                        secure.sendall(text)

        thread = threading.Thread(target=answer)
        thread.start()
        ca_file = str(stand.upstream.certificate_file)
        port = listener.getsockname()[1]
        client = Service(f"manage.{DOMAIN}", port, "127.0.0.1", ca_file, keep=True)
        for _ in range(3):
            assert client.request("GET", PATH, None, CLAIM) == {}
        thread.join()
    assert len(served) == connections


def test_a_damaged_claim_is_not_quoted(stand: StandIn) -> None:
    with pytest.raises(ValueError, match="damaged") as caught:
        service(stand).request("POST", PATH, {}, "canary\r\nX: y")
    assert "canary" not in repr(caught.value)


# The archive


def test_importing_it_is_cheap() -> None:
    code = "import sys, rps_core.node.agent.life; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"ssl", "http.client", "asyncio", "argparse", "ctypes", "email"} & set(loaded)


def test_it_runs_under_python_3_6() -> None:
    checker = Path(sys.executable).with_name("vermin")
    sources = sorted((CORE / "node" / "agent").glob("*.py"))
    assert len(sources) > 20
    subprocess.run([checker, "-q", "--violations", "-t=3.6-", *sources], check=True)


def test_it_is_one_file_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    packed = archive.build()
    assert packed == archive.build()
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        held = {info.filename: info for info in opened.infolist()}
        main = (CORE / "node" / "agent" / "__main__.py").read_bytes()
        assert opened.read("__main__.py") == main
    here = {path.name for path in (CORE / "node" / "agent").iterdir() if path.is_file()}
    prefix = "rps_core/node/agent/"
    assert {name[len(prefix) :] for name in held if name.startswith(prefix)} | {
        "__main__.py"
    } == here
    # A node's Python may have no zlib.
    assert {info.compress_type for info in held.values()} == {zipfile.ZIP_STORED}


def test_nothing_is_taken_from_elsewhere(tmp_path: Path) -> None:
    """The interpreter that runs it has an rps of its own, of another version by then."""
    packed = tmp_path / archive.NAME
    packed.write_bytes(archive.build())
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import rps_core.node.agent.life\n"
        "ours = [m for name, m in sys.modules.items() if name.split('.')[0] == 'rps_core']\n"
        "assert len(ours) > 15\n"
        "assert all(m.__file__.startswith(sys.argv[1]) for m in ours), ours\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code, packed], check=True)


def test_a_defect_is_told_with_its_lines(tmp_path: Path) -> None:
    """From within the archive too."""
    packed = tmp_path / archive.NAME
    packed.write_bytes(archive.build())
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import traceback\n"
        "from rps_core.node.agent.files import read_file\n"
        "try:\n    read_file(None)\nexcept TypeError:\n    traceback.print_exc()\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, packed], check=True, capture_output=True, text=True
    )
    assert "agent.pyz/rps_core/node/agent/files.py" in done.stderr
    assert "descriptor = os.open(path" in done.stderr


def run_agent_sh(session: Path, path: str) -> subprocess.CompletedProcess[str]:
    source = CORE / "batch" / "run-agent.sh"
    shutil.copy(source, session)
    (session / archive.NAME).write_text("import sys\nprint([sys.executable, *sys.argv[1:]])\n")
    return subprocess.run(
        ["/bin/sh", str(session / "run-agent.sh"), "--app", "lab"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": path, "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"},
    )


@pytest.fixture
def session(tmp_path: Path) -> Path:
    directory = tmp_path / "it's a $(session)"
    directory.mkdir()
    (directory / "interpreters").write_text("")
    return directory


def test_the_first_python_that_is_there_runs_the_agent(session: Path) -> None:
    old = session / "python2"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    candidates = ["/nowhere/python", str(session), str(old), "$(touch ran)", sys.executable]
    (session / "interpreters").write_text("\n".join(candidates))
    done = run_agent_sh(session, "/usr/bin:/bin")
    assert done.stdout == f"{[sys.executable, str(session), '--app', 'lab']}\n", done.stderr


@pytest.mark.parametrize(
    "head",
    [
        "#!{python}\n",
        "#! {python}\n",
        "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n",
        "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_else_the_python_of_jupyter(session: Path, tmp_path: Path, head: str) -> None:
    python = tmp_path / "python3.99"
    python.symlink_to(sys.executable)
    jupyter = tmp_path / "jupyter"
    jupyter.write_text(head.format(python=python) + "import sys\n")
    jupyter.chmod(0o755)
    done = run_agent_sh(session, f"{tmp_path}:/usr/bin:/bin")
    assert done.stdout.startswith(f"['{python}'"), done.stderr


def test_else_python3(session: Path, tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    done = run_agent_sh(session, f"{tmp_path}:/usr/bin:/bin")
    assert done.stdout.startswith(f"['{tmp_path / 'python3'}'"), done.stderr


def test_else_it_says_so(session: Path, tmp_path: Path) -> None:
    for program in ("dirname", "sed", "sh"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    done = run_agent_sh(session, str(tmp_path))
    assert done.returncode == 1
    assert "no Python 3.6 or newer" in done.stderr


def test_the_batch_scripts_pass_shellcheck(need: Callable[[str], str]) -> None:
    scripts = [CORE / "batch" / "run-agent.sh"]
    scripts += (CORE / "batch" / "local").glob("*.sh")
    assert len(scripts) == 3
    subprocess.run([need("shellcheck"), *scripts], check=True)


# Refusals that need neither the service nor Jupyter


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    directory = tmp_path / "session"
    directory.mkdir(mode=0o700)
    service = {"host": "localhost", "port": 9, "connect": "127.0.0.1", "ca_file": None}
    launch = {"version": 1, "name": NAME, "host": f"{NAME}.{DOMAIN}", "service": service}
    launch |= {"directory": "/", "jupyter": "jupyter", "port_range": None, "start_timeout": 5}
    (directory / "launch.json").write_text(json.dumps(launch))
    write_secret(str(directory / "claim.json"), b'{"claim": "canary", "token": "canary"}')
    (directory / archive.NAME).write_bytes(archive.build())
    return directory


def run_bare(session: Path, python: str = sys.executable) -> tuple[int, dict[str, Any], str]:
    """Exit status, the event `ended`, and all that was written."""
    done = subprocess.run(
        [python, "-I", str(session / archive.NAME), str(session), "--app", "lab"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    lines = (session / "events.jsonl").read_text()
    ended = json.loads(lines.splitlines()[-1])
    assert ended["event"] == "ended"
    return done.returncode, ended, lines + done.stdout + done.stderr


def test_a_claim_that_is_a_link_ends_the_session(bare: Path) -> None:
    (bare / "claim.json").rename(bare / "elsewhere")
    (bare / "claim.json").symlink_to("elsewhere")
    code, ended, _ = run_bare(bare)
    assert (code, ended["cause"]) == (1, "start-failed")
    assert "claim.json is a symbolic link" in ended["reason"]


def test_a_claim_that_the_group_can_read_ends_the_session(bare: Path) -> None:
    (bare / "claim.json").chmod(0o640)
    code, ended, _ = run_bare(bare)
    assert (code, ended["cause"]) == (1, "start-failed")
    assert "others" in ended["reason"]


@pytest.mark.parametrize(
    "damaged", ['{"claim": "canary', '{"claim": "canary"}', '{"claim": "a\\nb", "token": "canary"}']
)
def test_a_damaged_claim_ends_the_session(bare: Path, damaged: str) -> None:
    (bare / "claim.json").write_text(damaged)
    code, ended, written = run_bare(bare)
    assert (code, ended["cause"]) == (1, "start-failed")
    assert "damaged" in ended["reason"]
    assert "canary" not in written


def test_a_session_without_files_ends(bare: Path) -> None:
    (bare / "launch.json").unlink()
    code, ended, _ = run_bare(bare)
    assert code == 1
    assert "launch.json" in ended["reason"]
