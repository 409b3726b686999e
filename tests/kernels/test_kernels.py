"""Real kernels in a session: each starts as in a Jupyter without rps, by the way that shows least."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from tests.stands.agent import StandIn, agent, make_session, stand_in
from tests.stands.jupyter import call, connection_file, exchange, execute, new_kernel
from tests.stands.locked_environment import locked_environment
from tests.stands.waiting import until

# A `python3` that runs it without the node's /tmp, where the session of this test is.
WRAPPER = """#!/bin/sh
exec unshare --mount sh -e -c '
  mount --bind {home} /mnt
  mount -t tmpfs none /tmp
  mkdir -p {home}
  mount --move /mnt {home}
  exec {python} "$@"
' sh "$@"
"""


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    with stand_in(tmp_path_factory.mktemp("stand") / "service") as stand:
        yield stand


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a directory with the kernelspecs of real kernels."""
    home = tmp_path_factory.mktemp("home")
    installed = locked_environment("kernels")
    python = str(installed / "bin/python")

    def kernelspec(name: str, *argv: str, **fields: object) -> None:
        directory = home / "share/kernels" / name
        directory.mkdir(parents=True)
        spec = {"display_name": name, "language": name, "argv": argv, **fields}
        (directory / "kernel.json").write_text(json.dumps(spec))

    wrapper = home / "python3"
    wrapper.write_text(WRAPPER.format(home=home, python=sys.executable))
    wrapper.chmod(0o755)
    connection = "{connection_file}"
    kernelspec("bash", python, "-m", "bash_kernel", "-f", connection, env={"PS1": "$"})
    kernelspec("xpython", python, "-m", "xpython_launcher", "-f", connection)
    kernelspec("deno", f"{installed}/bin/deno", "jupyter", "--kernel", "--conn", connection)
    kernelspec(
        "kotlin",
        python,
        "-m",
        "run_kotlin_kernel",
        connection,
        interrupt_mode="message",
        env=QUICK_JVM,
    )
    # As of a site that starts it by a script of its own.
    kernelspec(
        "jvm",
        "/bin/sh",
        "-c",
        f'exec {python} -m run_kotlin_kernel "$0"',
        connection,
        env=QUICK_JVM,
    )
    kernelspec("broken", "/bin/false", connection)
    kernelspec("wrapped", str(wrapper), "-m", "ipykernel_launcher", "-f", connection)
    # podman takes no more than 50 characters.
    with tempfile.TemporaryDirectory(prefix="rps-", dir="/tmp") as run:
        engine = podman(home, Path(run))
        kernelspec("container", *engine, "-m", "ipykernel_launcher", "-f", connection)
        yield home


def podman(home: Path, run: Path) -> list[str]:
    """Return the command that runs this Python in a container with a /tmp of its own."""
    root = home / "root"
    for name in ("proc", "dev", "sys", "tmp", "etc", "run"):
        (root / name).mkdir(parents=True)
    system = [path for path in map(Path, ("/usr", "/bin", "/lib", "/lib64")) if path.exists()]
    python = [Path(sys.base_prefix), Path(sys.prefix)]
    shared = [path for path in python if Path("/usr") not in [path, *path.parents]]
    volumes = [f"--volume={path}:{path}:ro" for path in (*system, *shared)]
    # runc, because crun refuses hosts with both versions of cgroups; no more rights than the tests' own.
    store = ["--root", str(home / "podman"), "--runroot", str(run)]
    engine = ["--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--runtime=runc"]
    limits = ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000", "--network=host"]
    inside = [*volumes, f"--volume={home}:{home}", "--rootfs", str(root), sys.executable]
    return ["podman", *store, *engine, "run", "--rm", *limits, *inside]


@pytest.fixture(scope="module")
def session(home: Path, stand: StandIn) -> Iterator[Path]:
    kernels = {"tcp": True, "memory": str(home / "kernels.json")}
    session = make_session(home / "session", stand, kernels=kernels)
    with agent(session, env={"JUPYTER_PATH": str(home / "share")}):
        yield session


def way(session: Path, kernel: str) -> str:
    """Return how Jupyter reaches a kernel."""
    connection = json.loads(connection_file(session, kernel).read_text())
    if connection["transport"] == "tcp":
        assert connection["ip"] == "127.0.0.1"
    return "curve" if "curve_publickey" in connection else str(connection["transport"])


def state(session: Path, stand: StandIn, kernel: str) -> str:
    return str(call(session, stand, "GET", f"/api/kernels/{kernel}")["execution_state"])


QUICK_JVM = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}  # compiles little
CELLS = [
    ("python3", "curve", "print('up')"),
    ("bash", "ipc", "echo up"),
    ("ir", "ipc", "cat('up')"),
    ("xpython", "ipc", "print('up')"),
    ("wrapped", "tcp", "print('up')"),
    ("container", "tcp", "print('up')"),
    ("deno", "tcp", "console.log('up')"),
    ("jvm", "tcp", 'println("up")'),
]


@pytest.mark.parametrize(("name", "expected", "code"), CELLS, ids=[cell[0] for cell in CELLS])
def test_a_kernel_starts_by_the_way_that_shows_least(
    session: Path, stand: StandIn, need: Callable[[str], str], name: str, expected: str, code: str
) -> None:
    need({"ir": "R", "jvm": "java", "container": "podman"}.get(name, "sh"))
    kernel = new_kernel(session, stand, name)
    assert execute(session, kernel, code).strip() == "up"
    assert way(session, kernel) == expected
    until(lambda: state(session, stand, kernel) == "idle", "that Jupyter hears the kernel")
    call(session, stand, "DELETE", f"/api/kernels/{kernel}")
    shown = f"rps: kernel {name} runs over TCP on the loopback: other users of this node can read"
    assert (shown in (session / "job.log").read_text()) == (expected == "tcp")


@pytest.mark.parametrize(("name", "code", "heard"), [
    ("python3", "print('canary')", False),
    ("deno", "console.log('canary')", True),
])  # fmt: skip
def test_what_others_hear_of_a_kernel(
    session: Path, stand: StandIn, name: str, code: str, heard: bool
) -> None:
    """Test that docs/kernels.md says no more and no less: each client hears a TCP kernel."""
    kernel = new_kernel(session, stand, name)
    connection = json.loads(connection_file(session, kernel).read_text())
    with zmq.Context() as context, context.socket(zmq.SUB) as stranger:
        stranger.linger = 0
        stranger.subscribe(b"")
        stranger.connect(f"tcp://127.0.0.1:{connection['iopub_port']}")
        received = b""

        def hears() -> bool:
            nonlocal received
            assert execute(session, kernel, code).strip() == "canary"
            while stranger.poll(500):
                received += b"".join(stranger.recv_multipart())
            return b"canary" in received

        if heard:
            until(hears, "what a kernel prints over TCP")
        else:
            assert not hears()
            assert received == b""
    call(session, stand, "DELETE", f"/api/kernels/{kernel}")


def test_without_a_path_kernels_and_terminals_start_in_the_notebook_directory(
    session: Path, stand: StandIn
) -> None:
    notebooks = f"{session}-notebooks"
    kernel = new_kernel(session, stand)
    assert execute(session, kernel, "import os; print(os.getcwd())") == f"{notebooks}\n"
    call(session, stand, "DELETE", f"/api/kernels/{kernel}")
    before = shells_in(notebooks)
    for body in {}, {"cwd": ""}:  # what a program sends, and JupyterLab's Launcher
        call(session, stand, "POST", "/api/terminals", body)
    until(lambda: len(shells_in(notebooks) - before) == 2, "two shells in the notebook directory")


def shells_in(directory: str) -> set[str]:
    """Return the processes with a terminal as standard input whose directory this is."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            terminal = str((process / "fd/0").readlink()).startswith("/dev/pts/")
            if terminal and str((process / "cwd").readlink()) == directory:
                found.add(process.name)
        except OSError:  # it has ended
            continue
    return found


def test_a_site_without_tcp_kernels(home: Path, stand: StandIn) -> None:
    session = make_session(home / "closed", stand, kernels={"tcp": False})
    with agent(session, env={"JUPYTER_PATH": str(home / "share")}):
        response, text = exchange(session, stand, "POST", "/api/kernels", {"name": "deno"})
        assert response.status == 403
        assert "limits.tcp_kernels), and kernel deno needs it" in json.loads(text)["message"]
        # Learned only by trying that it needs TCP.
        response, text = exchange(session, stand, "POST", "/api/kernels", {"name": "broken"})
        assert response.status == 403
        assert call(session, stand, "GET", "/api/kernels") == []
