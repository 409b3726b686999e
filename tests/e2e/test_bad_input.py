"""Errors: what failed, why and what to do; the exit code; nothing left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rps_proxy.registry.session import Phase
from tests.stands.service import free_port
from tests.stands.waiting import until


def left_behind(installed: Any) -> list[str]:
    """Sessions that live: by the records, by the service's registry, by the processes."""
    found = []
    sessions = Path(installed.user.home) / ".local/state/rps/sessions"
    for path in sessions.glob("*/session.json"):
        if not (path.parent / "end.json").exists():
            found.append(f"record {path.parent.name}")
    found += [f"half-made {path}" for path in sessions.glob("*/.*")]
    found += [
        f"no record in {path}" for path in sessions.iterdir() if not (path / "session.json").exists()
    ] if sessions.exists() else []  # fmt: skip
    registry = Path(f"/var/tmp/rps-{installed.user.uid}/registry.db")
    if registry.exists():
        with sqlite3.connect(f"file:{registry}?mode=ro", uri=True) as connection:
            rows = connection.execute(
                "SELECT name FROM sessions WHERE phase != ?", [Phase.GONE]
            ).fetchall()
        connection.close()
        found += [f"name {name}" for (name,) in rows]
    for pid in installed.user.processes():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"supervisor" in command or b"agent.pyz" in command or b"jupyter" in command:
            found.append(f"process {pid} {command!r}")
    return found


@pytest.fixture(autouse=True)
def _nothing_left(installed: Any) -> Iterator[None]:
    yield
    assert left_behind(installed) == []


CASES = [
    (["--cluster", "comte"], 3, ["No plugin serves a cluster `comte`", "Did you mean `comet`?"]),
    (["--set", "job.waltime=3"], 2, ["unknown key `job.waltime`", "job.walltime"]),
    (["--set", "job.nodes=many"], 2, ["job.nodes", "many"]),
    (["--set", "job.nodes=0"], 2, ["`job.nodes` is 0", "1 or more"]),
    (["--set", "nonsense"], 2, ["not `key=value`"]),
    (["-t", "0"], 2, ["`0` is zero"]),
    (["-t", "-5"], 2, ["`-5` is not a walltime", "HH:MM:SS"]),
    (["-t", "abc"], 2, ["`abc` is not a walltime"]),
    (["-t", "99:99:99"], 2, ["`99:99:99` is not a walltime"]),
    (["--set", "limits.walltime=01:00:00", "-t", "61"], 2, ["01:01:00 exceeds the limit 01:00:00"]),
    (["-d", "/nowhere/at/all"], 2, ["directory not found: /nowhere/at/all"]),
    (["-d", "/root"], 2, ["no permission to read /root"]),
    (["-s", "emacs"], 2, ["there is no application `emacs`", "lab, notebook, command"]),
    (["-s", "$(x) é"], 2, ["`notebook.app` is $(x) é", "must be a name"]),
    (["-s", "command"], 2, ["needs arguments", "streamlit run app.py"]),
    (["--", "x"], 2, ["lab takes no arguments: x"]),
    (["-s", "command", "--", "no such program"], 2, ["there is no program `no such program`"]),
    (
        ["-b", "nowhere.sh"],
        2,
        ["--batch: batch script not found: nowhere.sh", "local/jupyterlab.sh"],
    ),
    (["-b", "slurm/notebook.sh"], 2, ["is for slurm, but this cluster runs local"]),
    (
        ["--set", "notebook.jupyter=/nowhere/jupyter"],
        2,
        ["program not found: /nowhere/jupyter", "leave --set notebook.jupyter out"],
    ),
    (["--set", "proxy.own=false", "--set", "proxy.domain=-"], 2, ["proxy.domain"]),
    (["--set", "proxy=mine"], 2, ["`proxy` must be a mapping"]),
    (["--set", "proxy.listen=login2"], 2, ["proxy.listen", "an IP address of this host"]),
    (["--foreground"], 2, ["--foreground is for a personal service on a login node"]),
    (["--nonsense"], 2, ["No such option"]),
]


@pytest.mark.parametrize(("options", "code", "messages"), CASES, ids=lambda case: str(case)[:40])
def test_bad_options(installed: Any, options: list[str], code: int, messages: list[str]) -> None:
    done = installed.rps("start", *options, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    for text in messages:
        assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_key_is_reported_with_file_and_line(installed: Any) -> None:
    path = Path(installed.user.home) / ".config/rps/config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_text("# mine\njob:\n  walltme: 01:00:00\n")
        done = installed.rps("start", check=False)
        assert done.returncode == 2
        assert f"{path}:3: unknown key `job.walltme`" in done.stderr
        assert "Did you mean `job.walltime`?" in done.stderr
        path.write_text("job:\n  nodes: several\n")
        done = installed.rps("config", "--check", check=False)
        assert done.returncode == 2
        assert f"{path}:2: `job.nodes`" in done.stderr
    finally:
        path.unlink()
    assert installed.rps("config", "--check").returncode == 0


def test_a_session_that_is_not_there(installed: Any) -> None:
    for command in ("status", "url", "logs", "stop"):
        done = installed.rps(command, "no-such-name", check=False)
        assert done.returncode == 7, done.stderr
        assert "no session `no-such-name`" in done.stderr
    assert installed.rps("url", "../../../etc/passwd", check=False).returncode == 7


def test_a_home_that_is_full_or_read_only(installed: Any, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make a full file system")
    small = installed.user.make(Path(installed.user.home) / "small")
    mount = ["mount", "-t", "tmpfs", "-o", f"size=16k,mode=0700,uid={installed.user.uid}", "small"]
    subprocess.run([*mount, str(small)], check=True)
    try:
        done = installed.rps("start", env={"XDG_STATE_HOME": str(small)}, check=False)
        assert done.returncode == 2, done.stderr
        assert "No space left" in done.stderr
        assert list(small.rglob(".probe*")) == []
        subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
        done = installed.rps("start", env={"XDG_STATE_HOME": str(small)}, check=False)
        assert done.returncode == 2
        assert "Read-only file system" in done.stderr
    finally:
        subprocess.run(["umount", str(small)], check=True)
        small.rmdir()


def test_a_service_that_is_down(installed: Any) -> None:
    port = free_port()
    options = ["--set", "proxy.own=false", "--set", "proxy.domain=x.localhost"]
    done = installed.rps("start", *options, "--set", f"proxy.port={port}", check=False)
    assert done.returncode == 4
    assert f"manage.x.localhost:{port} does not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_dies_in_the_middle_of_a_launch(installed: Any) -> None:
    """Test a service that accepts the request and does not answer.

    The launcher times out.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        options = ["--set", "proxy.own=false", "--set", "proxy.domain=x.localhost"]
        options += ["--set", f"proxy.port={port}", "--set", "proxy.timeout=2"]
        done = installed.rps("start", *options, check=False)
    assert done.returncode == 4
    assert "does not answer" in done.stderr


def test_the_port_of_the_service_is_taken(installed: Any, tmp_path: Path) -> None:
    del tmp_path
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = installed.rps(
            "proxy", "serve", "--set", "engine=embedded", "--set", f"listen.port={port}",
            "--set", f"directory={installed.user.home}/other-service", check=False,
        )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_an_application_that_fails_at_once(installed: Any) -> None:
    home = Path(installed.user.home)
    broken = installed.user.make(home / "broken")
    for name in ("jupyter", "jupyter-lab"):
        (broken / name).write_text("#!/bin/sh\necho 'no module named frobnicate' >&2\nexit 3\n")
        (broken / name).chmod(0o755)
    done = installed.rps(
        "start", "--wait", "--set", f"notebook.jupyter={broken}/jupyter", check=False
    )
    assert done.returncode == 6, done.stderr
    assert "no module named frobnicate" in done.stderr
    assert "Traceback" not in done.stderr
    ended = json.loads(installed.rps("list", "--all", "--json").stdout)[-1]
    assert ended["state"] == "failed"
    assert ended["reason"]


@pytest.mark.parametrize("delay", [0.05, 0.15, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.5, 4.0])
def test_ctrl_c_at_every_step(installed: Any, delay: float) -> None:
    """Test Ctrl-C at any time: the session runs and is named, or nothing is left."""
    process = installed.user.popen(
        [str(installed.directory / "rps"), "start", "--wait"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    time.sleep(delay)
    # As the terminal does it: to the whole foreground process group.
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    # Until rps is loaded, Python handles SIGINT itself.
    assert not re.search(r'cli\.py", line \d+, in main\b', errors), errors
    if output and process.returncode == 130:
        name = output.removeprefix("https://").partition(".")[0]
        assert f"rps stop {name}" in errors
        installed.rps("stop", name)
    elif output:  # it was ready already
        # Or it was exiting: Python then dies of the signal itself.
        assert process.returncode in (0, -signal.SIGINT)
        installed.rps("stop", "--all")
    else:
        # Python that is interrupted while it starts up, before any code of ours, exits with 1.
        of_python = (1,) if "Traceback" in errors or delay < 0.2 else ()
        assert process.returncode in (130, -signal.SIGINT, *of_python)


def test_the_terminal_goes_away(installed: Any) -> None:
    """`rps start --no-wait`, then the terminal's hang-up: the session lives on."""
    started = installed.rps("start", "--no-wait", "--json")
    found = json.loads(started.stdout)
    supervisor = int(found["job_id"].partition(".")[0])
    fields = Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[3]) == supervisor  # a session of its own
    assert fields[4] == "0"  # and no terminal
    os.kill(supervisor, signal.SIGHUP)

    def ready() -> bool:
        found = json.loads(installed.rps("status", "--json").stdout)
        return bool(found["state"] == "ready")

    until(ready, "the session")
    installed.rps("stop", "--all")
