"""The node agent with a real Jupyter: how sessions begin, and each way they end."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
import zmq

from rps_core.diagnosis import rules as why
from rps_core.node.agent.login_link import link as login_link
from rps_core.node.agent.processes import descendants, start_ticks
from rps_core.node.agent.sockets import remove_sockets_directory
from rps_core.plugin import Allocation, Gone, Job, Outcome, SessionSpec
from rps_core.schedulers.local import plugin as local
from tests.stands.agent import (
    CLAIM,
    CORE,
    DOMAIN,
    JUPYTER,
    NAME,
    TOKEN,
    Answer,
    StandIn,
    agent,
    event,
    events,
    gone,
    make_session,
    stand_in,
)
from tests.stands.causes import AGENT_CAUSES
from tests.stands.jupyter import (
    Browser,
    asked,
    call,
    connection_file,
    exchange,
    execute,
    new_kernel,
)
from tests.stands.locked_environment import notebook_6_environment
from tests.stands.waiting import until


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[StandIn]:
    with stand_in(tmp_path / "service") as stand:
        yield stand


@pytest.fixture
def session(tmp_path: Path, stand: StandIn) -> Path:
    return make_session(tmp_path / "session", stand)


def start_kernel(session: Path, stand: StandIn, code: str) -> None:
    """Start a kernel of the notebook and run `code` in it, which prints `up`."""
    assert execute(session, new_kernel(session, stand), code) == "up\n"


def start_busy_kernel(session: Path, stand: StandIn, agent: int) -> dict[int, int]:
    """Start a kernel that ignores signals, with two children in sessions of their own.

    Return the processes below the agent once both children exist: no search finds a process at the moment in
    which it gets a new parent.
    """
    start_kernel(session, stand, BUSY)

    def look() -> dict[int, int]:
        found = descendants(agent)
        commands = []
        for pid in found:
            with suppress(OSError):  # ended since it was listed
                commands.append(Path(f"/proc/{pid}/cmdline").read_bytes())
        both = all(b"sleep\0%d\0" % seconds in commands for seconds in (1001, 1002))
        return found if both else {}

    return until(look, "both children of the kernel")


def tcp_listeners(processes: Iterable[int]) -> set[int]:
    """Return the ports where these processes listen."""
    inodes = set()
    for pid in processes:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed since it was listed
                inodes.add(link.readlink().name)
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def overheard(ports: Iterable[int], seconds: float) -> bytes:
    """Return what any user of the machine hears by subscribing there."""
    heard = b""
    with zmq.Context() as context, context.socket(zmq.SUB) as listener:
        listener.linger = 0
        listener.subscribe(b"")
        for port in ports:
            listener.connect(f"tcp://127.0.0.1:{port}")
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if listener.poll(int(left * 1000)):
                heard += b"".join(listener.recv_multipart())
    return heard


BUSY = """
import signal, subprocess
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
subprocess.Popen(["sleep", "1001"], start_new_session=True)
subprocess.Popen("(setsid sleep 1002 &)", shell=True)
print("up", flush=True)
while True:
    pass
"""


def hang(_: object) -> Answer:
    time.sleep(30)
    return 503, {}


def ended(session: Path) -> dict[str, Any]:
    event = until(lambda: events(session, "ended"), "event ended")[0]
    assert event["cause"] in AGENT_CAUSES
    return event


def cause(session: Path) -> str:
    """Return the cause that `rps why` finds for the agent's real reason."""
    return why.cause_of_the_end(why.Facts(events=events(session)))


def assert_no_secrets_left(session: Path) -> None:
    assert not (session / "run").exists()
    assert not (session / "claim.json").exists()
    for application in events(session, "application"):
        assert not Path(application["sockets"]).exists()


def assert_nothing_says_a_secret(session: Path) -> None:
    for name in ("job.log", "events.jsonl"):
        text = (session / name).read_text()
        assert TOKEN not in text
        assert CLAIM not in text


# The way to a session


def test_a_session_from_start_to_term(session: Path, stand: StandIn) -> None:
    with agent(session, env={"RPS_JOB_ID": "17.local", "SLURM_JOB_ID": "99"}) as process:
        ready = event(session, "ready")
        assert ready["address"] == "127.0.0.1"
        started, application = event(session, "started"), event(session, "application")
        assert started["pid"] == process.pid
        assert started["start_time"] == start_ticks(process.pid)
        assert started["job_id"] == "17.local"
        assert application["start_time"] == start_ticks(application["pid"])
        redeemed = {"port": ready["port"], "job_id": "17.local", "check": True}
        assert ("redeem", redeemed) in stand.calls
        assert os.getsid(application["pid"]) == os.getsid(process.pid)
        assert (session / "run").stat().st_mode & 0o777 == 0o700
        until(lambda: stand.count("renew") >= 3, "renewals")
        process.send_signal(signal.SIGHUP)
        for pid in (
            process.pid,
            application["pid"],
        ):  # as Torque does, to the whole process session: Jupyter asks for confirmation
            os.kill(pid, signal.SIGUSR1)
        left = event(session, "time-nearly-up")["left"]
        assert 600 - 120 < left < 600  # of the walltime; the rest is this test's own time
        renewed = stand.count("renew")
        until(lambda: stand.count("renew") >= renewed + 2, "renewals after the warning")
        processes = descendants(process.pid)
        process.terminate()
        assert process.wait(60) == 0
        assert gone(processes)
    end = ended(session)
    assert (end["cause"], end["exit_code"]) == ("signal", 0)
    assert stand.calls[-1][0] == "revoke"
    names = [event["event"] for event in events(session)]
    steps = ["started", "application", "listening", "applications", "ready", "time-nearly-up"]
    assert names == [*steps, "time-left", "ended"]
    assert_no_secrets_left(session)


def test_origins_that_are_named_may_ask_jupyter(stand: StandIn, tmp_path: Path) -> None:
    named = ["https://dashboard.example.org", "http://localhost:3000"]
    session = make_session(tmp_path / "session", stand, origins=named)
    with agent(session) as process:
        port = event(session, "ready")["port"]
        job = {"port": port, "job_id": None, "check": True}
        assert ("redeem", {**job, "origins": named}) in stand.calls
        for origin, allowed in (
            *((origin, origin) for origin in named),
            ("https://dashboard.example.organ", None),
            ("https://dashboardxexample.org", None),
        ):
            response, _ = exchange(session, stand, "GET", "/api/status", Origin=origin)
            assert response.headers["Access-Control-Allow-Origin"] == allowed
        process.terminate()
        assert process.wait(60) == 0


def test_the_classic_name_starts_notebook(session: Path) -> None:
    with agent(session, app="notebook") as process:
        event(session, "ready")
        assert event(session, "application")["command"][1] == "notebook"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert_no_secrets_left(session)


def test_under_python_3_6(stand: StandIn, tmp_path: Path) -> None:
    """Test without LANG, as in many batch jobs, and with a non-ASCII name."""
    session = make_session(tmp_path / "Sitzung für später", stand)
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    found = [shutil.which("python3.6"), *home.glob(".pyenv/versions/3.6.*/bin/python")]
    check = ["-c", "import sys; sys.exit(sys.version_info[:2] != (3, 6))"]
    python = next((str(p) for p in found if p and not run([str(p), *check]).returncode), None)
    if python is None:
        pytest.skip("there is no Python 3.6 here; the unit tests check the syntax")
    with agent(session, python=python, env={"LC_ALL": "C"}) as process:
        event(session, "ready")
        assert event(session, "started")["python"].startswith("3.6.")
        process.terminate()
        assert process.wait(60) == 0
    assert_no_secrets_left(session)


def test_no_secret_is_seen_by_others(session: Path, stand: StandIn) -> None:
    with agent(session) as process:
        event(session, "ready")
        start_kernel(session, stand, "print('up', flush=True)\nimport time\ntime.sleep(1000)")
        call(session, stand, "POST", "/api/terminals")
        processes = [process.pid, *descendants(process.pid)]
        assert len(processes) >= 4
        for pid in processes:
            for name in ("cmdline", "environ"):
                content = Path(f"/proc/{pid}/{name}").read_bytes()
                assert TOKEN.encode() not in content
                assert CLAIM.encode() not in content
        call(session, stand, "GET", f"/api/status?token={TOKEN}")
        assert_nothing_says_a_secret(session)
        process.terminate()
        assert process.wait(60) == 0
    assert_nothing_says_a_secret(session)


HOSTILE = """
for section in (c.ServerApp, c.NotebookApp, c.LabApp, c.JupyterNotebookApp):
    section.token = ""
    section.password = ""
    section.ip = "0.0.0.0"
    section.port = 1
    section.port_retries = 0
    section.base_url = "/elsewhere/"
    section.allow_origin = "*"
    section.allow_origin_pat = ".*"
    section.allow_credentials = True
    section.allow_remote_access = False
    section.disable_check_xsrf = True
    section.certfile = "/nowhere.pem"
    section.keyfile = "/nowhere.key"
    section.client_ca = "/nowhere.ca"
    section.ssl_options = {"certfile": "/nowhere.pem"}
    section.open_browser = True
    section.cookie_secret = b"known"
    section.identity_provider_class = "jupyter_server.auth.identity.IdentityProvider"
for section in (c.IdentityProvider, c.PasswordIdentityProvider):
    section.token = ""
    section.hashed_password = "argon2:nonsense"
    section.password_required = True
    section.cookie_name = "login"
    section.secure_cookie = False
    section.cookie_options = {"domain": "rps.localhost", "path": "/elsewhere"}
c.MappingKernelManager.cull_interval = 4321
for section in (c.KernelManager, c.AsyncKernelManager, c.AsyncIOLoopKernelManager,
                c.IOLoopKernelManager, c.ServerKernelManager):
    section.transport = "tcp"
    section.ip = "127.0.0.1"
"""


@pytest.fixture(scope="session")
def notebook_6() -> str:
    """Return the `jupyter` of a Notebook 6, as old environments on clusters still have it."""
    return os.environ.get("NOTEBOOK_6") or f"{notebook_6_environment()}/bin/jupyter"


CONFIGURATIONS = (
    "jupyter_config",
    "jupyter_server_config",
    "jupyter_lab_config",
    "jupyter_notebook_config",
)


@pytest.mark.parametrize("app", ["lab", "notebook", "notebook 6"])
def test_the_users_configuration_cannot_open_the_session(
    stand: StandIn, tmp_path: Path, app: str, notebook_6: str
) -> None:
    """Test a configuration without token, for all addresses and any origin."""
    config = tmp_path / "jupyter"
    config.mkdir()
    opened = {name: {"token": "", "ip": "0.0.0.0"} for name in ("ServerApp", "NotebookApp")}
    for name in CONFIGURATIONS:
        hostile = HOSTILE
        if app == "notebook 6":
            hostile = HOSTILE.replace(
                "jupyter_server.auth.identity.IdentityProvider", "builtins.int"
            )
        (config / f"{name}.py").write_text(hostile)
        (config / f"{name}.json").write_text(json.dumps(opened))
    jupyter = notebook_6 if app == "notebook 6" else str(JUPYTER)
    session = make_session(tmp_path / "session", stand, jupyter=jupyter)
    with agent(session, app.split()[0], env={"JUPYTER_CONFIG_DIR": str(config)}) as process:
        port = event(session, "ready")["port"]  # the agent looked at token, origin and certificate
        with socket.socket() as other, pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.2", port))
        assert call(session, stand, "GET", "/api/status")["kernels"] == 0
        connection = json.loads(connection_file(session, new_kernel(session, stand)).read_text())
        assert ("curve_publickey" in connection) == (app != "notebook 6")
        assert connection["transport"] == ("ipc" if app == "notebook 6" else "tcp")
        if app != "notebook 6":
            cookies = asked(session, stand, "GET", f"/login?token={TOKEN}")[0].get_all("Set-Cookie")
            (login,) = [cookie for cookie in cookies or () if not cookie.startswith("_xsrf=")]
            name, _, fields = login.partition("=")
            assert name == "__Host-login"  # a browser takes it with these, and with no Domain
            assert {"HttpOnly", "Path=/", "Secure"} <= set(fields.split("; "))
            assert "domain" not in login.lower()
            for site, status in ("same-site", 403), ("cross-site", 403), ("same-origin", 200):
                response, _ = exchange(session, stand, "GET", "/logout", Sec_Fetch_Site=site)
                assert response.status == status
                assert bool(response.headers["Set-Cookie"]) == (status == 200)
            # Only the agent may show text in the tabs, and no page.
            for said in {"Origin": f"https://{NAME}.{DOMAIN}"}, {"Sec_Fetch_Site": "same-site"}:
                response, _ = exchange(session, stand, "POST", "/api/rps/tabs", {}, **said)
                assert response.status == 403
            assert call(session, stand, "POST", "/api/rps/tabs", {})["tabs"] == 0
        process.terminate()
        assert process.wait(60) == 0
    assert_no_secrets_left(session)
    assert_nothing_says_a_secret(session)


LOUD = """
import sys, time
print("mine", len(sys.argv), flush=True)
while True:
    print("canary", flush=True)
    time.sleep(0.1)
"""


@pytest.mark.parametrize("app", ["lab", "notebook", "notebook 6"])
def test_no_other_user_hears_what_kernels_print(
    stand: StandIn, tmp_path: Path, app: str, notebook_6: str
) -> None:
    jupyter = notebook_6 if app == "notebook 6" else str(JUPYTER)
    session = make_session(tmp_path / "session", stand, jupyter=jupyter)
    with agent(session, app.split()[0]) as process:
        port = event(session, "ready")["port"]
        sockets = Path(event(session, "application")["sockets"])
        assert sockets.stat().st_mode & 0o777 == 0o700
        assert (session / "run" / "sockets").read_text() == str(sockets)

        with ThreadPoolExecutor(3) as pool:  # at once: none may get another's sockets
            kernels = list(pool.map(lambda _: new_kernel(session, stand), range(3)))
        answers = [execute(session, kernel, "import os; print(os.getpid())") for kernel in kernels]
        assert len(set(answers)) == 3
        for kernel in kernels:
            connection = json.loads(connection_file(session, kernel).read_text())
            if app == "notebook 6":  # its Jupyter Client cannot encrypt
                assert connection["transport"] == "ipc"
                assert Path(connection["ip"]).parent == sockets
            else:
                assert connection["curve_publickey"]
        call(session, stand, "POST", f"/api/kernels/{kernels[0]}/restart")
        restarted = until(
            lambda: execute(session, kernels[0], "import os; print(os.getpid())"), "an answer"
        )
        assert restarted not in answers

        for kernel in kernels:
            execute(session, kernel, LOUD)
        ports = tcp_listeners([process.pid, *descendants(process.pid)])
        assert port in ports
        assert overheard(ports - {port}, 2) == b""
        process.terminate()
        assert process.wait(60) == 0
    assert_no_secrets_left(session)


def test_notebook_6(stand: StandIn, tmp_path: Path, notebook_6: str) -> None:
    session = make_session(tmp_path / "session", stand, jupyter=notebook_6)
    with agent(session, "notebook") as process:
        event(session, "ready")
        assert list((session / "run").glob("nbserver-*.json"))
        processes = start_busy_kernel(session, stand, process.pid)
        process.terminate()
        assert process.wait(60) == 0
        assert gone(processes)
    assert_no_secrets_left(session)
    assert_nothing_says_a_secret(session)


def test_a_jupyter_without_login_links_is_not_published(
    stand: StandIn, tmp_path: Path, notebook_6: str
) -> None:
    """Test Notebook 6, where the token would open the session for ever."""
    session = make_session(tmp_path / "session", stand, jupyter=notebook_6, link="once")
    with agent(session, "notebook") as process:
        assert process.wait(90) == 1
    end = ended(session)
    assert end["cause"] == "start-failed"
    assert "`notebook.link: once` needs Jupyter Server 2 or newer" in end["reason"]
    assert stand.count("redeem") == 0
    assert_no_secrets_left(session)


def test_the_oldest_jupyter_server_with_login_links(
    stand: StandIn, tmp_path: Path, notebook_6: str
) -> None:
    """Test Jupyter Server 2.0, whose Jupyter Client cannot encrypt, and whose log has queries whole."""
    jupyter = tmp_path / "jupyter"  # `jupyter lab`, without the pages of JupyterLab
    jupyter.write_text(f'#!/bin/sh\nshift\nexec {Path(notebook_6).parent}/jupyter-server "$@"\n')
    jupyter.chmod(0o755)
    session = make_session(
        tmp_path / "session", stand, jupyter=str(jupyter), link="once", shares=True
    )
    with agent(session) as process:
        owner, other = Browser(session, stand), Browser(session, stand)
        once = login_link(TOKEN, "once-1")
        assert other.visit(once)[0] == 200
        assert owner.log_in(once) == 302
        assert owner.is_in
        assert other.log_in(once) == 403
        assert not other.is_in
        kernel = new_kernel(session, stand)
        connection = json.loads(connection_file(session, kernel).read_text())
        assert connection["transport"] == "ipc"
        assert "curve_publickey" not in connection
        assert execute(session, kernel, "print(17)") == "17\n"
        process.terminate()
        assert process.wait(60) == 0
    assert "GET /login?token=once-1-[secret]" in (session / "job.log").read_text()
    assert_nothing_says_a_secret(session)


def test_the_rest_of_the_users_configuration_counts(session: Path, tmp_path: Path) -> None:
    config = tmp_path / "jupyter"
    config.mkdir()
    (config / "jupyter_server_config.py").write_text(
        "c.ServerApp.shutdown_no_activity_timeout = 1\nprint('the user was here')\n"
    )
    (config / "jupyter_server_config.json").write_text('{"ServerApp": "damaged"')
    with agent(session, env={"JUPYTER_CONFIG_DIR": str(config)}):
        until(lambda: "the user was here" in (session / "job.log").read_text(), "the configuration")
        event(session, "ready")


DIRECTORIES = """
c.ServerApp.root_dir = c.LabApp.root_dir = c.NotebookApp.notebook_dir = "/nowhere"
c.ServerApp.preferred_dir = {preferred!r}
c.FileContentsManager.preferred_dir = {preferred!r}
c.ContentsManager.root_dir = c.FileContentsManager.root_dir = "/usr"
c.AsyncFileContentsManager.root_dir = c.AsyncLargeFileManager.root_dir = "/usr"
c.LargeFileManager.root_dir = "/nowhere"
"""


@pytest.mark.parametrize(
    ("app", "preferred"),
    [
        ("lab", "{top}/below"),
        ("lab", "/usr/share"),
        ("notebook", "/nowhere"),
        ("notebook 6", "/usr/share"),
    ],
)
def test_the_sessions_directory_is_the_one_whatever_the_users_configuration_says(
    stand: StandIn, tmp_path: Path, app: str, preferred: str, notebook_6: str
) -> None:
    """Test settings that ended every session or showed other files.

    Jupyter also reads some of these files late.
    """
    jupyter = notebook_6 if app == "notebook 6" else str(JUPYTER)
    session = make_session(tmp_path / "session", stand, jupyter=jupyter)
    top = tmp_path / "session-notebooks"
    (top / "below").mkdir()
    config = tmp_path / "jupyter"
    config.mkdir()
    for name in CONFIGURATIONS:
        (config / f"{name}.py").write_text(DIRECTORIES.format(preferred=preferred.format(top=top)))
    with agent(session, app.split()[0], env={"JUPYTER_CONFIG_DIR": str(config)}):
        event(session, "ready")
        content = call(session, stand, "GET", "/api/contents/")["content"]
        assert [one["path"] for one in content] == ["below"]
        if app == "lab":  # where a page opens: below the session's directory, as the user likes it
            page = asked(session, stand, "GET", f"/lab?token={TOKEN}")[1].decode()
            opened = "below" if preferred.endswith("below") else "/"
            assert f'"preferredPath": "{opened}"' in page


OF_ANOTHER_MACHINE = {
    "root_dir": "/nowhere", "preferred_dir": "/nowhere", "notebook_dir": "/nowhere", "allow_root": False,
    "ip": "192.0.2.1", "port": 443, "port_retries": 0, "open_browser": True, "password": "sha1:0:0",
    "certfile": "/nowhere/cert.pem", "keyfile": "/nowhere/key.pem", "base_url": "/user/alice",
}  # fmt: skip


@pytest.mark.parametrize(
    ("app", "place", "written"),
    [
        ("lab", "home", "py"),
        ("lab", "environment", "json"),
        ("notebook", "environment", "py"),
        ("notebook 6", "home", "json"),
    ],
)
def test_a_configuration_made_for_another_machine_ends_no_session(
    stand: StandIn, tmp_path: Path, app: str, place: str, written: str, notebook_6: str
) -> None:
    """Test each of Jupyter's files, with directories and addresses that do not exist."""
    jupyter = notebook_6 if app == "notebook 6" else str(JUPYTER)
    session = make_session(tmp_path / "session", stand, jupyter=jupyter)
    config = tmp_path / (".jupyter" if place == "home" else "etc")
    config.mkdir()
    sections = dict.fromkeys(("ServerApp", "NotebookApp", "LabApp"), OF_ANOTHER_MACHINE)
    sections["FileContentsManager"] = {"root_dir": "/nowhere", "preferred_dir": "/nowhere"}
    lines = [
        f"c.{section}.{trait} = {value!r}\n"
        for section, values in sections.items()
        for trait, value in values.items()
    ]
    for name in CONFIGURATIONS:
        text = json.dumps(sections) if written == "json" else "".join(lines)
        (config / f"{name}.{written}").write_text(text)
    env = {"HOME": str(tmp_path)} if place == "home" else {"JUPYTER_CONFIG_PATH": str(config)}
    with agent(session, app.split()[0], env=env):
        event(session, "ready")
        assert call(session, stand, "GET", "/api/contents/")["content"] == []
        kernel = new_kernel(session, stand)
        said = execute(session, kernel, "import os; print(os.environ.get('JUPYTER_CONFIG_PATH'))")
        assert said.strip() == env.get("JUPYTER_CONFIG_PATH", "None")


def test_the_whole_file_system_as_the_sessions_directory(stand: StandIn, tmp_path: Path) -> None:
    session = make_session(tmp_path / "session", stand, directory="/")
    with agent(session):
        event(session, "ready")
        content = call(session, stand, "GET", "/api/contents/")["content"]
        assert {"etc", "usr"} <= {one["path"] for one in content}


def test_an_open_notebook_is_not_published(session: Path, stand: StandIn, tmp_path: Path) -> None:
    """An extension that opens what no configuration can: a patched identity provider."""
    (tmp_path / "sitecustomize.py").write_text(
        "import jupyter_server.auth.identity as i\n"
        "i.IdentityProvider.get_user = lambda self, handler: i.User('anybody')\n"
        "i.PasswordIdentityProvider.get_user = i.IdentityProvider.get_user\n"
    )
    with agent(session, env={"PYTHONPATH": str(tmp_path)}) as process:
        assert process.wait(60) == 1
    end = ended(session)
    assert end["cause"] == "start-failed"
    assert "without the token" in end["reason"]
    assert cause(session) == "jupyter-open"
    assert stand.count("redeem") == 0
    assert_no_secrets_left(session)


def test_an_application_at_another_address_is_not_published(
    session: Path, stand: StandIn, tmp_path: Path
) -> None:
    jupyter = tmp_path / "jupyter"
    jupyter.write_text(f'#!/bin/sh\nexec {JUPYTER} "$@" --ServerApp.ip=0.0.0.0\n')
    jupyter.chmod(0o755)
    shutil.rmtree(session)
    shutil.rmtree(session.parent / "session-notebooks")
    session = make_session(session, stand, jupyter=str(jupyter))
    with agent(session) as process:
        assert process.wait(60) == 1
    assert "0.0.0.0" in ended(session)["reason"]
    assert cause(session) == "jupyter-open"
    assert stand.count("redeem") == 0


# Bad starts


def again(session: Path, stand: StandIn, **launch: object) -> Path:
    return make_session(session.with_name("another"), stand, **launch)


def test_a_port_that_was_taken(session: Path, stand: StandIn) -> None:
    with agent(session) as process, socket.socket() as taken:
        event(session, "application")
        settings = json.loads((session / "run" / "settings.json").read_text())
        taken.bind(("127.0.0.1", settings["port"]))  # while Jupyter still imports
        taken.listen()
        ready = event(session, "ready")
        assert [e["port"] for e in events(session, "port-taken")] == [settings["port"]]
        assert ready["port"] != settings["port"]
        assert len(events(session, "application")) == 2
        process.terminate()
        assert process.wait(60) == 0


def test_a_range_without_a_free_port(session: Path, stand: StandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        session = again(session, stand, port_range=[port, port])
        with agent(session) as process:
            assert process.wait(60) == 1
    assert "No port is free" in ended(session)["reason"]
    assert cause(session) == "port-taken"
    assert stand.calls[-1][0] == "revoke"
    assert_no_secrets_left(session)


@pytest.mark.parametrize(
    ("mode", "output"),
    [
        (None, "There is no program `{}` on this node"),
        (0o644, "`{}` is not executable on this node"),
    ],
    ids=["not there", "not executable"],
)
def test_a_path_that_is_no_program(
    session: Path, stand: StandIn, tmp_path: Path, mode: int | None, output: str
) -> None:
    """Named by its path: what is on the PATH is of no interest."""
    jupyter = tmp_path / "jupyter"
    if mode is not None:
        jupyter.touch(mode)
    session = again(session, stand, jupyter=str(jupyter))
    with agent(session) as process:
        assert process.wait(30) == 1
    assert ended(session)["reason"] == output.format(jupyter)
    assert cause(session) == "no-jupyter"


@pytest.mark.parametrize("head", ["#!{}\n", "#!/bin/sh\n'''exec' {} \"$0\" \"$@\"\n"])
def test_a_jupyter_whose_python_is_gone(
    session: Path, stand: StandIn, tmp_path: Path, head: str
) -> None:
    jupyter = tmp_path / "jupyter"
    jupyter.write_text(head.format("/gone/bin/python"))
    jupyter.chmod(0o755)
    session = again(session, stand, jupyter=str(jupyter))
    with agent(session) as process:
        assert process.wait(30) == 1
    output = f"`{jupyter}` cannot be run on this node: its interpreter /gone/bin/python is missing"
    assert ended(session)["reason"] == output
    assert cause(session) == "no-jupyter"


def test_no_jupyter(session: Path, stand: StandIn) -> None:
    session = again(session, stand, jupyter="no-such-jupyter")
    with agent(session) as process:
        assert process.wait(60) == 1
    end = ended(session)
    assert end["cause"] == "start-failed"
    assert "no-such-jupyter" in end["reason"]
    assert cause(session) == "no-jupyter"
    assert stand.calls[-1][0] == "revoke"
    assert_no_secrets_left(session)


# The environment of the session


def test_the_kernel_of_the_environment_is_the_default(
    session: Path, stand: StandIn, tmp_path: Path
) -> None:
    """Test it against a user's default, kernels of that environment, and another environment's Python."""
    home = tmp_path / "home"
    (home / ".jupyter").mkdir(parents=True)
    (home / ".jupyter" / "jupyter_config.py").write_text(
        "for s in (c.MultiKernelManager, c.MappingKernelManager): s.default_kernel_name = 'other'\n"
    )
    prefix = tmp_path / "a prefix"
    run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    (site,) = prefix.glob("lib/python*/site-packages")
    (site / "ours.pth").write_text(f"{Path(zmq.__file__).parents[1]}\n")
    command = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
    other = prefix / "share" / "jupyter" / "kernels" / "other" / "kernel.json"
    other.parent.mkdir(parents=True)
    other.write_text(
        json.dumps({"argv": ["R", *command], "display_name": "Other", "language": "R"})
    )
    kernel = {
        "name": "python3",
        "display_name": "größe (Python 3.12.3)",
        "language": "python",
        "argv": [str(prefix / "bin" / "python"), *command],
        "env": {"PATH": f"{prefix}/bin:${{PATH}}"},
        "also": [str(prefix / "share" / "jupyter")],
    }
    session = again(session, stand, kernel=kernel, environment={"line": "", "prefix": str(prefix)})
    with agent(session, env={"HOME": str(home)}) as process:
        event(session, "ready")
        # `pip` typed in a terminal is the environment's too, and not that of Jupyter's own Python.
        call(session, stand, "POST", "/api/terminals")
        variables = [f"VIRTUAL_ENV={prefix}", f"PATH={prefix}/bin:"]

        def in_the_environment(pid: int) -> bool:
            with suppress(OSError):  # ended since it was listed
                seen = os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes()).split("\0")
                return all(any(entry.startswith(one) for entry in seen) for one in variables)
            return False

        until(lambda: any(map(in_the_environment, descendants(process.pid))), "the terminal")
        found = call(session, stand, "GET", "/api/kernelspecs")
        assert found["default"] == "python3"
        assert found["kernelspecs"]["python3"]["spec"]["display_name"] == kernel["display_name"]
        assert "other" in found["kernelspecs"]
        started = call(session, stand, "POST", "/api/kernels", {})
        code = "import os, sys; print(sys.prefix, os.environ['PATH'].split(':')[0], flush=True)"
        assert execute(session, started["id"], code) == f"{prefix} {prefix}/bin\n"
        process.terminate()
        assert process.wait(60) == 0
    assert [path.name for path in home.rglob("*kernel*")] == []
    assert_no_secrets_left(session)


def test_a_kernelspec_that_is_none_ends_the_session(session: Path, stand: StandIn) -> None:
    session = again(session, stand, kernel={"name": "../up", "argv": []})
    with agent(session) as process:
        assert process.wait(30) == 1
    assert ended(session)["reason"] == "The session's files are damaged (ValueError)"


@pytest.mark.parametrize("made", [True, False])
def test_the_jupyter_that_was_found_serves_where_the_job_made_none(
    session: Path, stand: StandIn, made: bool
) -> None:
    fallback = "/nowhere/jupyter" if made else str(JUPYTER)
    session = again(session, stand, jupyter="jupyter", fallback=fallback)
    (session / "path-before").write_text("/usr/bin:/bin\n")
    path = f"{JUPYTER.parent}:/usr/bin:/bin" if made else "/usr/bin:/bin"
    with agent(session, env={"PATH": path}) as process:
        assert event(session, "application")["command"][:2] == [str(JUPYTER), "lab"]
        event(session, "ready")
        process.terminate()
        assert process.wait(60) == 0


# What `apptainer exec [--bind PLACE] IMAGE COMMAND` does with an image that is a directory (a sandbox), but
# for the namespaces: Apptainer is not to be had here. apptainer.org/docs/user/main/cli/apptainer_exec.html
APPTAINER = """#!/bin/bash
[ "$1" = exec ] || exit 255
shift
while [ "$1" = --bind ]; do [ -d "$2" ] || exit 255; shift 2; done
image=$1; shift
export PATH=$image/bin IN_THE_IMAGE=$image
exec "$@"
"""


@pytest.mark.parametrize("has", ["jupyter", "kernel", "nothing"])
def test_an_image_without_jupyter_is_served_from_outside(
    session: Path, stand: StandIn, tmp_path: Path, has: str
) -> None:
    image = tmp_path / "an image"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "apptainer").write_text(APPTAINER)
    (tmp_path / "bin" / "apptainer").chmod(0o755)
    run([sys.executable, "-m", "venv", "--without-pip", image], check=True)
    for name in ("sh", "bash"):
        (image / "bin" / name).symlink_to(f"/bin/{name}")
    (site,) = image.glob("lib/python*/site-packages")
    if has != "nothing":
        (site / "ours.pth").write_text(f"{Path(zmq.__file__).parents[1]}\n")
    if has == "jupyter":
        for name in ("jupyter", "jupyter-lab"):
            (image / "bin" / name).symlink_to(JUPYTER.with_name(name))
    session = again(
        session, stand, container=[str(image)], jupyter="jupyter", fallback=str(JUPYTER)
    )
    with agent(session, env={"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}) as process:
        if has == "nothing":
            assert process.wait(60) == 1
            words = f"There is no program `jupyter-lab` and no ipykernel in the image {image}"
            assert ended(session)["reason"] == words
            assert cause(session) == "no-jupyter"
            return
        inside = event(session, "application")["command"][0].endswith("/apptainer")
        assert inside == (has == "jupyter")
        event(session, "ready")
        if has == "kernel":
            spec = call(session, stand, "GET", "/api/kernelspecs")["kernelspecs"]["python3"]["spec"]
            assert spec["display_name"] == "an image (Python)"
            code = "import os, sys; print(os.environ['IN_THE_IMAGE'], sys.prefix, flush=True)"
            started = call(session, stand, "POST", "/api/kernels", {})
            assert execute(session, started["id"], code) == f"{image} {image}\n"
        process.terminate()
        assert process.wait(60) == 0


def test_no_directory(session: Path, stand: StandIn) -> None:
    session = again(session, stand, directory="/no/such/directory")
    with agent(session) as process:
        assert process.wait(60) == 1
    assert "/no/such/directory" in ended(session)["reason"]
    assert cause(session) == "no-directory"


def test_a_directory_whose_name_is_no_text(session: Path, stand: StandIn, tmp_path: Path) -> None:
    directory = os.fsdecode(os.fsencode(tmp_path) + b"/m\xfcsic")
    Path(directory).mkdir()
    Path(directory, "song.txt").write_text("la")
    session = again(session, stand, directory=directory)
    with agent(session) as process:
        contents = call(session, stand, "GET", "/api/contents")["content"]
        assert [entry["name"] for entry in contents] == ["song.txt"]
        process.terminate()
        assert process.wait(60) == 0


def test_a_port_range_that_is_none(session: Path, stand: StandIn) -> None:
    session = again(session, stand, port_range=[40000, 20000])
    with agent(session) as process:
        assert process.wait(60) == 1
    end = ended(session)
    assert end["cause"] == "start-failed"
    assert "[40000, 20000]" in end["reason"]
    assert stand.calls[-1][0] == "revoke"
    assert_no_secrets_left(session)


def test_a_reason_is_what_the_service_takes(session: Path, stand: StandIn) -> None:
    session = again(session, stand, directory="/no/" + "long/" * 60 + "\n\udcff")
    with agent(session) as process:
        assert process.wait(60) == 1
    name, body = stand.calls[-1]
    assert name == "revoke"
    assert len(body["reason"]) <= 256
    assert body["reason"].isprintable()
    assert "/no/long/" in body["reason"]


def test_a_service_that_dislikes_the_reason_ends_the_session(session: Path, stand: StandIn) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        if "reason" in body:
            return 400, {"error": "bad-request", "message": "what?"}
        return 200, {"name": NAME, "phase": "gone"}

    stand.answers["revoke"] = answer
    session = again(session, stand, jupyter="no-such-jupyter")
    with agent(session) as process:
        assert process.wait(60) == 1
    assert stand.calls[-1] == ("revoke", {})


@pytest.mark.parametrize("code", ["gone", "unknown-name", "wrong-claim"])
def test_a_session_that_is_over_is_not_ended_again(
    session: Path, stand: StandIn, code: str
) -> None:
    stand.answers["revoke"] = lambda _: (410, {"error": code, "message": ""})
    session = again(session, stand, jupyter="no-such-jupyter")
    with agent(session) as process:
        assert process.wait(60) == 1
    assert stand.count("revoke") == 1


def test_a_jupyter_that_dies_says_why(session: Path, stand: StandIn, tmp_path: Path) -> None:
    jupyter = tmp_path / "jupyter"
    jupyter.write_text(f"#!/bin/sh\necho this environment is broken {TOKEN}\nexit 7\n")
    jupyter.chmod(0o755)
    session = again(session, stand, jupyter=str(jupyter))
    with agent(session) as process:
        assert process.wait(60) == 1
    end = ended(session)
    assert (end["cause"], end["exit_code"]) == ("start-failed", 7)
    assert end["log"] == "this environment is broken [secret]"
    assert cause(session) == "jupyter-failed"
    assert "this environment is broken" in (session / "job.log").read_text()
    assert_nothing_says_a_secret(session)


def test_a_jupyter_that_never_answers(session: Path, stand: StandIn, tmp_path: Path) -> None:
    jupyter = tmp_path / "jupyter"
    jupyter.write_text("#!/bin/sh\nexec sleep 1000\n")
    jupyter.chmod(0o755)
    session = again(session, stand, jupyter=str(jupyter), start_timeout=1)
    with agent(session) as process:
        assert process.wait(60) == 1
    assert ended(session)["cause"] == "timeout"
    assert cause(session) == "jupyter-silent"
    assert_no_secrets_left(session)


# The service


def test_the_service_is_away_at_the_start(session: Path, stand: StandIn) -> None:
    stand.stop()
    with agent(session) as process:
        event(session, "service-away")
        assert not (session / "run").exists()
        stand.start()
        event(session, "ready")
        process.terminate()
        assert process.wait(60) == 0
    assert len(events(session, "service-away")) == len(events(session, "service-back")) == 1


def test_term_ends_the_wait_for_the_service(session: Path, stand: StandIn) -> None:
    stand.answers["certificate"] = hang
    with agent(session) as process:
        event(session, "started")
        until(lambda: stand.count("certificate"), "the call")
        process.terminate()
        assert process.wait(25) == 0  # before the call comes back
    assert ended(session)["cause"] == "signal"


def test_the_service_is_away_in_the_middle(session: Path, stand: StandIn) -> None:
    with agent(session) as process:
        event(session, "ready")
        stand.stop()
        event(session, "service-away")
        stand.answers["renew"] = lambda _: (503, {"error": "busy", "message": ""})
        stand.start()
        until(lambda: stand.count("renew") >= 2, "renewals that are not answered")
        assert not events(session, "service-back")
        del stand.answers["renew"]
        event(session, "service-back")
        assert call(session, stand, "GET", "/api/status")["kernels"] == 0
        process.terminate()
        assert process.wait(60) == 0
    assert len(events(session, "service-away")) == len(events(session, "service-back")) == 1


@pytest.mark.parametrize(
    ("status", "code"), [(403, "outside-networks"), (403, "from-a-page"), (404, "no-such-call")]
)
def test_a_refusal_that_says_nothing_of_the_claim_is_waited_out(
    session: Path, stand: StandIn, status: int, code: str
) -> None:
    with agent(session) as process:
        event(session, "ready")
        stand.answers["renew"] = lambda _: (status, {"error": code, "message": "a mistake"})
        assert "a mistake" in event(session, "service-away")["reason"]
        renewed = stand.count("renew")
        until(lambda: stand.count("renew") >= renewed + 2, "renewals that are refused")
        del stand.answers["renew"]
        event(session, "service-back")
        process.terminate()
        assert process.wait(60) == 0
    assert ended(session)["cause"] == "signal"
    assert len(events(session, "service-away")) == len(events(session, "service-back")) == 1


@pytest.mark.parametrize(
    ("status", "code"), [(410, "gone"), (403, "wrong-claim"), (404, "unknown-name")]
)
def test_a_revoked_session_ends(session: Path, stand: StandIn, status: int, code: str) -> None:
    with agent(session) as process:
        event(session, "ready")
        processes = descendants(process.pid)
        stand.answers["renew"] = lambda _: (status, {"error": code, "message": "it is over"})
        assert process.wait(60) == 0
        assert gone(processes)
    end = ended(session)
    assert end["cause"] == "revoked"
    assert "it is over" in end["reason"]
    assert stand.count("revoke") == 0
    assert_no_secrets_left(session)


@pytest.mark.parametrize(
    ("code", "output"),
    [("outside-networks", "port-refused"), ("excluded-address", "port-refused"),
     ("bad-request", "refused-by-service")],
)  # fmt: skip
def test_a_refused_redeem_ends_the_session(
    session: Path, stand: StandIn, code: str, output: str
) -> None:
    assert f"`{code}`" in Path(__file__).parents[2].joinpath("docs/protocol.md").read_text()
    refusal = {"error": code, "message": "127.0.0.1 is not to be reached"}
    stand.answers["redeem"] = lambda _: (403, refusal)
    with agent(session) as process:
        assert process.wait(60) == 1
    end = ended(session)
    assert end["cause"] == "refused"
    assert refusal["message"] in end["reason"]
    assert cause(session) == output
    assert_no_secrets_left(session)


@pytest.mark.parametrize("refusing", ["certificate", "redeem"])
def test_a_second_job_of_a_session_does_the_first_no_harm(
    session: Path, stand: StandIn, refusing: str
) -> None:
    taken = {"error": "already-redeemed", "message": "another job has it"}
    stand.answers[refusing] = lambda _: (409, taken)
    with agent(session) as process:
        assert process.wait(60) == 1
    assert ended(session)["cause"] == "refused"
    assert stand.count("revoke") == 0
    assert (session / "claim.json").exists()
    assert not any(Path(e["sockets"]).exists() for e in events(session, "application"))


def test_the_service_hangs_at_the_end(session: Path, stand: StandIn) -> None:
    with agent(session) as process:
        event(session, "ready")
        processes = descendants(process.pid)
        stand.answers["revoke"] = hang
        process.terminate()
        assert process.wait(25) == 0  # before the call comes back
        assert gone(processes)
    assert_no_secrets_left(session)


# Ends


def test_a_busy_kernel_that_ignores_everything_is_gone(session: Path, stand: StandIn) -> None:
    with agent(session) as process:
        event(session, "ready")
        processes = start_busy_kernel(session, stand, process.pid)
        sessions = {os.getsid(pid) for pid in processes}
        assert len(processes) >= 4
        assert len(sessions) >= 3  # the kernel's own, and those of its children
        process.terminate()
        assert process.wait(60) == 0
        assert gone(processes)
    assert_no_secrets_left(session)


def test_a_second_term_waits_for_nothing(session: Path, stand: StandIn) -> None:
    with agent(session) as process:
        event(session, "ready")
        processes = start_busy_kernel(session, stand, process.pid)
        stand.answers["revoke"] = hang
        process.terminate()
        until(lambda: stand.count("revoke"), "the first call of the end")
        time.sleep(0.6)  # two at once count as one
        process.terminate()
        assert process.wait(25) == 0
        assert gone(processes)
    assert_no_secrets_left(session)


def test_a_session_whose_directory_was_removed_ends(session: Path, stand: StandIn) -> None:
    with agent(session) as process:
        event(session, "ready")
        sockets = Path(event(session, "application")["sockets"])
        processes = descendants(process.pid)
        shutil.rmtree(session)
        assert process.wait(60) == 1
        assert gone(processes)
    assert stand.calls[-1][0] == "revoke"
    assert "directory is gone" in stand.calls[-1][1]["reason"]
    assert not sockets.exists()


def test_a_killed_application_ends_the_session(session: Path, stand: StandIn) -> None:
    with agent(session) as process:
        event(session, "ready")
        processes = start_busy_kernel(session, stand, process.pid)
        os.kill(event(session, "application")["pid"], signal.SIGKILL)
        assert process.wait(60) == 1
        assert gone(processes)
    end = ended(session)
    assert (end["cause"], end["exit_code"]) == ("application-exit", -9)
    assert cause(session) == "killed"
    assert "signal 9" in end["reason"]
    assert stand.calls[-1][0] == "revoke"
    assert_no_secrets_left(session)


def test_shutting_down_from_the_browser_is_a_good_end(session: Path, stand: StandIn) -> None:
    with agent(session) as process:
        event(session, "ready")
        with contextlib.suppress(AssertionError, json.JSONDecodeError, OSError):
            call(session, stand, "POST", "/api/shutdown")  # it may end before it has answered
        assert process.wait(60) == 0
    end = ended(session)
    assert (end["cause"], end["exit_code"]) == ("application-exit", 0)
    assert cause(session) == "closed"


# Under the local scheduler


def submit(session: Path, walltime: float = 600) -> Job:
    spec = SessionSpec(
        name=NAME,
        tag="tag",
        app="lab",
        template=CORE / "batch" / "jupyterlab.sh",
        session_dir=session,
        directory=session,
        allocation=Allocation(walltime=timedelta(seconds=walltime)),
    )
    script = session / "batch.sh"
    script.write_text(local.rps_render_batch(spec))
    return Job(id=local.rps_submit(spec, script), tag="tag", session_dir=session)


def over(job: Job) -> Gone:
    def look() -> Gone | None:
        status = local.rps_poll([job])[job.id]
        return status if isinstance(status, Gone) else None

    found = until(look, "the end of the job")
    assert found is not None
    return found


@pytest.fixture
def submitted(session: Path) -> Iterator[Callable[..., Job]]:
    jobs: list[Job] = []

    def submit_here(walltime: float = 600) -> Job:
        jobs.append(submit(session, walltime))
        return jobs[-1]

    yield submit_here
    for job in jobs:
        local.rps_cancel(job)


def job_tree(job: Job) -> dict[int, int]:
    pid = int(job.id.partition(".")[0])
    ticks = start_ticks(pid)
    assert ticks is not None
    return {pid: ticks, **descendants(pid)}


def test_a_job_is_cancelled(session: Path, stand: StandIn, submitted: Callable[..., Job]) -> None:
    job = submitted()
    event(session, "ready")
    assert event(session, "started")["job_id"] == job.id
    start_kernel(session, stand, BUSY)
    processes = job_tree(job)
    assert local.rps_cancel(job) is True
    until(lambda: gone(processes), "the end of all of its processes")
    assert ended(session)["cause"] == "signal"
    assert over(job).outcome is Outcome.CANCELLED
    assert_no_secrets_left(session)
    assert_nothing_says_a_secret(session)


def test_a_job_whose_walltime_is_over(
    session: Path, stand: StandIn, submitted: Callable[..., Job]
) -> None:
    job = submitted(walltime=10)
    # Do not wait for more: on a loaded machine Jupyter may take longer to be ready.
    event(session, "application")
    processes = job_tree(job)
    assert len(processes) >= 3
    assert over(job).outcome is Outcome.TIMEOUT
    until(lambda: gone(processes), "the end of all of its processes")
    assert stand.calls[-1][0] == "revoke"
    assert_no_secrets_left(session)


def test_a_killed_agent_takes_everything_with_it(
    session: Path, stand: StandIn, submitted: Callable[..., Job]
) -> None:
    """Test SIGKILL: the kernel signals Jupyter, the supervisor ends the rest.

    The secrets stay for the launcher to remove, which sees in exit.json that it must.
    """
    job = submitted()
    event(session, "ready")
    start_kernel(session, stand, BUSY)
    processes = job_tree(job)
    os.kill(event(session, "started")["pid"], signal.SIGKILL)
    end = over(job)
    assert end.outcome is Outcome.FAILED
    assert json.loads((session / "exit.json").read_text())["signal"] == 9
    until(lambda: gone(processes), "the end of all of its processes")
    assert stand.count("revoke") == 0
    assert (session / "claim.json").stat().st_mode & 0o777 == 0o600
    assert (session / "run").stat().st_mode & 0o777 == 0o700
    assert not Path(event(session, "application")["sockets"]).exists()


def test_a_killed_agent_without_a_supervisor_takes_jupyter_with_it(
    session: Path, stand: StandIn
) -> None:
    with agent(session) as process:
        event(session, "ready")
        application = event(session, "application")
        process.kill()
        process.wait()
        until(lambda: start_ticks(application["pid"]) is None, "the end of Jupyter")
        assert Path(application["sockets"]).exists()
        remove_sockets_directory(str(session / "run"))
        assert not Path(application["sockets"]).exists()


def test_a_killed_supervisor_ends_the_session(
    session: Path, stand: StandIn, submitted: Callable[..., Job]
) -> None:
    job = submitted()
    event(session, "ready")
    processes = job_tree(job)
    os.kill(int(job.id.partition(".")[0]), signal.SIGKILL)
    assert ended(session)["cause"] == "signal"
    until(lambda: gone(processes), "the end of all processes")
    assert over(job).outcome is Outcome.ENDED
    assert_no_secrets_left(session)


@pytest.mark.parametrize("place", ["above", "session"])
def test_a_session_that_others_can_replace_by_now_is_not_run(
    place: str, stand: StandIn, tmp_path: Path
) -> None:
    """Test a path that was safe for the launcher, but is not on the node."""
    above = tmp_path / "above"
    above.mkdir()
    session = make_session(above / "session", stand)
    opened = above if place == "above" else session
    opened.chmod(0o777)
    with agent(session) as process:
        assert process.wait(60) == 1
    assert ended(session)["cause"] == "start-failed"
    output = f"{opened} is writable for everyone (mode 0777). chmod go-w {opened}: refused"
    assert ended(session)["reason"] == output
    assert stand.calls == []  # the claim was not even read


def test_requests_from_outside_fill_no_home(session: Path, stand: StandIn) -> None:
    """Test a hundred requests without the token, with paths of 30 KB: they wrote 3 MB."""
    with agent(session) as process:
        event(session, "ready")
        log = session / "job.log"
        before = log.stat().st_size
        for number in range(100):
            path = f"/{number:03d}{'x' * 30_000}"
            response, _ = exchange(
                session, stand, "GET", path, Authorization="", Referer="y" * 30_000
            )
            assert response.status in (302, 403, 404)
        until(lambda: "GET /099" in log.read_text(), "the last request's line")
        assert log.stat().st_size - before < 200_000
        process.terminate()
        assert process.wait(60) == 0
    text = log.read_text()
    assert max(len(line) for line in text.splitlines() if "GET /0" in line) < 1100
    assert "bytes left out]" in text
    sizes = {path.name: path.stat().st_size for path in session.iterdir() if path.is_file()}
    assert sizes["events.jsonl"] < 4000, sizes
    assert sum(sizes.values()) - sizes["job.log"] - sizes["agent.pyz"] < 100_000, sizes
