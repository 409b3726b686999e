"""From a bare machine to a cell that ran, without stand-ins."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.power import cut_off
from tests.e2e.visitor import Visitor
from tests.stands.waiting import until

Start = Callable[..., dict[str, Any]]
Visit = Callable[[str], Visitor]


def session_dir(installed: Any, name: str) -> Path:
    return Path(installed.user.home) / ".local/state/rps/sessions" / name


def test_start_visit_run_a_cell_stop(installed: Any, start: Start, visit: Visit) -> None:
    found = start()
    assert set(found) >= {"name", "url", "cluster", "scheduler", "job_id", "state"}
    assert (found["cluster"], found["scheduler"], found["state"]) == ("local", "local", "ready")
    assert re.fullmatch(
        r"https://([a-z]+-[a-z]+-[a-z]+)\.rps\.localhost:\d+/\?token=[0-9a-f]{32}", found["url"]
    )
    name = found["name"]
    visitor = visit(found["url"])
    status, page = visitor.get("/lab")
    assert status == 200
    assert "JupyterLab" in page
    assert visitor.get("/api/status", token=False)[0] == 403
    assert visitor.run_cell("import getpass\nprint(getpass.getuser(), 6 * 7)") == (
        f"{installed.user.name} 42\n"
    )

    launched = json.loads((session_dir(installed, name) / "launch.json").read_text())
    memory = session_dir(installed, name).parent.parent / "kernels.json"
    assert launched["kernels"] == {"tcp": True, "memory": str(memory)}
    assert "curve" in json.loads(memory.read_text()).values()  # for the sessions to come

    listed = json.loads(installed.rps("list", "--json").stdout)
    assert [one["name"] for one in listed] == [name]
    assert set(listed[0]) >= {"created", "time_left", "node", "reason"}
    assert listed[0]["state"] == "ready"
    assert 0 < listed[0]["time_left"] <= 8 * 3600
    assert listed[0]["node"] == os.uname().nodename
    assert name in installed.rps("list").stdout
    assert json.loads(installed.rps("status", name[:4], "--json").stdout)["name"] == name
    assert installed.rps("url").stdout.strip() == found["url"]
    assert "rps: ready" in installed.rps("logs", name).stdout

    installed.rps("stop", name)
    status, page = visitor.get("/lab")
    assert status == 410
    assert "JupyterLab" not in page
    directory = session_dir(installed, name)
    assert not (directory / "claim.json").exists()
    assert not (directory / "run").exists()
    assert json.loads(installed.rps("list", "--json").stdout) == []
    ended = json.loads(installed.rps("list", "--all", "--json").stdout)
    assert [(one["name"], one["state"], one["url"]) for one in ended][-1] == (name, "ended", None)
    assert installed.rps("url", name, check=False).returncode == 7
    assert running(installed, name) == []


def test_a_page_of_an_origin_that_is_named_runs_a_cell(start: Start, visit: Visit) -> None:
    named = "https://dashboard.example.org"
    visitor = visit(start("--set", f"notebook.origins=[{named}]")["url"])
    assert visitor.run_cell("print(6 * 7)", page=named) == "42\n"
    with pytest.raises(AssertionError, match="names another origin"):
        visitor.run_cell("print(6 * 7)", page="https://elsewhere.example.org")


def running(installed: Any, name: str) -> list[int]:
    """Return the user's processes that have anything to do with a session."""
    found = []
    for pid in installed.user.processes():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name.encode() in command or b"ipykernel" in command:
            found.append(pid)
    return found


def test_the_url_alone_is_on_standard_output(installed: Any, start: Start) -> None:
    del start  # stops what is started here
    done = installed.rps("start")
    assert re.fullmatch(r"https://\S+\?token=[0-9a-f]{32}\n", done.stdout)
    assert "job" in done.stderr
    quiet = installed.rps("start", "-q")
    assert re.fullmatch(r"https://\S+\?token=[0-9a-f]{32}\n", quiet.stdout)
    assert quiet.stderr == ""


def test_over_ssh_the_forwarding_command_is_printed(installed: Any, start: Start) -> None:
    del start
    done = installed.rps("start", env={"SSH_CONNECTION": "192.0.2.1 50000 192.0.2.7 22"})
    port = re.search(r":(\d+)/", done.stdout)
    assert port
    assert f"ssh -N -L {port[1]}:127.0.0.1:{port[1]}" in done.stderr
    assert "@192.0.2.7" in done.stderr


def test_a_busy_kernel_is_ended_too(installed: Any, start: Start, visit: Visit) -> None:
    found = start()
    code = (
        "import os, signal, subprocess\n"
        "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):\n"
        "    signal.signal(number, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sh', '-c', 'trap \"\" TERM HUP; sleep 1000 & wait'],\n"
        "                         start_new_session=True)\n"
        "print(os.getpid(), child.pid)\n"
    )
    pids = [int(text) for text in visit(found["url"]).run_cell(code).split()]
    assert len(pids) == 2
    installed.rps("stop", found["name"])
    alive = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert alive == []


def test_no_secret_is_where_others_could_see_it(installed: Any, visit: Visit) -> None:
    """Test that token and claim are in the URL and one 0600 file, and nowhere else."""
    began = installed.rps("start", "--wait", "--json", "-vv", "--log-format", "json")
    found = json.loads(began.stdout)
    name = found["name"]
    directory = session_dir(installed, name)
    secrets = json.loads((directory / "claim.json").read_text())
    canaries = [secrets["claim"].encode(), secrets["token"].encode()]
    assert visit(found["url"]).run_cell("print(1)") == "1\n"

    texts = {"stderr of start": began.stderr.encode()}
    for pid in Path("/proc").glob("[0-9]*"):
        for part in ("cmdline", "environ"):
            try:
                texts[f"{pid}/{part}"] = (pid / part).read_bytes()
            except OSError:
                continue  # gone, or the kernel's own
    stopped = installed.rps("stop", name, "-vv")
    texts["stderr of stop"] = stopped.stderr.encode()
    service = Path(f"/var/tmp/rps-{installed.user.uid}")
    for path in [*directory.rglob("*"), *service.rglob("*")]:
        if path.is_file():
            texts[str(path)] = path.read_bytes()
    assert any("service.log" in place for place in texts)
    assert any("job.log" in place for place in texts)
    seen = [place for place, text in texts.items() for canary in canaries if canary in text]
    assert seen == []


def test_the_service_is_killed_and_the_session_still_answers(
    installed: Any, start: Start, visit: Visit
) -> None:
    found = start()
    visitor = visit(found["url"])
    service = json.loads(Path(f"/var/tmp/rps-{installed.user.uid}/service.json").read_text())
    os.kill(service["pid"], signal.SIGKILL)
    until(lambda: not Path(f"/proc/{service['pid']}").exists(), "the end of the service")
    assert json.loads(installed.rps("status", "--json").stdout)["state"] == "ready"
    assert visitor.run_cell("print('still here')") == "still here\n"
    assert installed.rps("url").stdout.strip() == found["url"]


def test_the_job_is_killed_without_grace_and_the_route_goes(
    installed: Any, start: Start, visit: Visit
) -> None:
    found = start()
    visitor = visit(found["url"])
    cut_off(installed.user.home, found)
    until(lambda: visitor.get("/lab")[0] != 200, "the end of the route")
    listed = json.loads(installed.rps("list", "--json").stdout)
    assert listed[0]["state"] in ("ended", "failed")
    assert listed[0]["reason"]
    status, _ = visitor.get("/lab")
    assert status == 410
    assert not (session_dir(installed, found["name"]) / "claim.json").exists()
    assert not (session_dir(installed, found["name"]) / "run").exists()


def test_walltime_ends_the_session(installed: Any, start: Start, visit: Visit) -> None:
    del start  # stops what is started here
    # The first walltime that is long enough for Jupyter's start on this loaded machine.
    for seconds in (15, 30, 60, 120):
        walltime = f"job.walltime=00:{seconds // 60:02d}:{seconds % 60:02d}"
        found = json.loads(installed.rps("start", "--no-wait", "--json", "--set", walltime).stdout)
        waited = installed.rps("wait", found["name"], check=False)
        if waited.returncode == 0:
            break
    assert waited.returncode == 0, waited.stderr
    visitor = visit(found["url"])
    until(lambda: visitor.get("/lab")[0] == 410, "the end of the session", 2 * seconds + 120)

    def ended() -> bool:
        shown = json.loads(installed.rps("status", found["name"], "--json").stdout)
        assert shown["state"] in ("ending", "ended"), shown
        return bool(shown["state"] == "ended")

    until(ended, "the end of the session")
    until(lambda: running(installed, found["name"]) == [], "the end of its processes")


def test_two_starts_at_once_are_two_sessions_with_one_service(
    installed: Any, start: Start, visit: Visit
) -> None:
    del start
    installed.user.end_processes()  # the service too: both must bring it up
    command = [str(installed.directory / "rps"), "start", "--wait", "--json"]
    both = [
        installed.user.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=180) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    urls = [json.loads(output)["url"] for output, _ in outputs]
    assert len({url.partition(".rps.")[0] for url in urls}) == 2
    assert len({url.split(":")[2].partition("/")[0] for url in urls}) == 1
    for url in urls:
        assert visit(url).get("/api/status")[0] == 200


def test_a_prologue_makes_the_jobs_environment(installed: Any, start: Start, visit: Visit) -> None:
    prologue = installed.user.make(Path(installed.user.home) / "prologue") / "before.sh"
    prologue.write_text("export GREETING='hello, $(id) \"there\"'\n")  # no Jupyter: rps's own
    found = start("--prologue", str(prologue))
    printed = visit(found["url"]).run_cell("import os\nprint(os.environ['GREETING'])")
    assert printed == 'hello, $(id) "there"\n'


def test_a_session_is_started_again_with_all_its_settings(
    installed: Any, start: Start, visit: Visit
) -> None:
    """Test another directory, after the end: by name, and as the last session."""
    work = installed.user.make(Path(installed.user.home) / "work")
    path = f"export PATH={installed.directory}/.venv/bin:$PATH"
    (work / "before.sh").write_text(f"{path}\nexport GREETING=hello\n")
    options = (
        "-d",
        ".",
        "--prologue",
        "before.sh",
        "-t",
        "20",
        "--set",
        "notebook.start_timeout=200",
    )
    first = start(*options, cwd=work)
    installed.rps("stop", first["name"])
    again = json.loads(installed.rps("again", first["name"], "--wait", "--json").stdout)
    assert again["name"] != first["name"]
    assert (again["directory"], again["app"]) == (str(work), "lab")
    assert 0 < again["time_left"] <= 20 * 60
    printed = visit(again["url"]).run_cell("import os\nprint(os.environ['GREETING'])")
    assert printed == "hello\n"
    kept = json.loads((session_dir(installed, again["name"]) / "session.json").read_text())[
        "settings"
    ]
    assert (kept["job.walltime"], kept["notebook.start_timeout"]) == ("20", 200.0)


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ("", "there is no module command to load no/such with: leave --modules"),
        ("module() { false; }\n", "the module no/such could not be loaded"),
    ],
    ids=["without a module command", "with one"],
)
def test_a_module_that_cannot_be_loaded_is_reported(
    installed: Any, functions: str, message: str
) -> None:
    definitions = (
        installed.user.home / "module.sh"
    )  # as Lmod and Environment Modules have them read
    definitions.write_text(functions)
    start = ("start", "--wait", "--modules", "no/such,$(touch x)")
    done = installed.rps(*start, env={"BASH_ENV": str(definitions)}, check=False)
    assert done.returncode == 6
    assert message in done.stderr
    assert json.loads(installed.rps("list", "--json").stdout) == []
    assert json.loads(installed.rps("why", "--json").stdout)["cause"] == "no-module"


def test_an_environment_that_cannot_be_activated_is_reported(installed: Any) -> None:
    done = installed.rps("start", "--wait", "--conda-env", "no-such", check=False)
    assert done.returncode == 6
    assert "`conda env list` shows yours" in done.stderr
    answer = json.loads(installed.rps("why", "--json").stdout)
    assert (answer["state"], answer["cause"]) == ("failed", "no-environment")
    assert any("no-such" in line["line"] for line in answer["evidence"])
