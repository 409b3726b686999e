"""The modules that each command loads (sys.modules), and Ctrl-C during that."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rps_core.hooks.manager import Plugins, this_host
from rps_core.hooks.presence import Seen, schedulers_seen
from rps_core.models import Presence

HEAVY = ("aiohttp", "asyncio", "cryptography", "importlib.metadata", "omegaconf", "pluggy",
         "prometheus_client", "sh", "ssl", "structlog", "subprocess", "yaml")  # fmt: skip


def loaded_by(*arguments: str) -> set[str]:
    code = (
        "import sys\n"
        "sys.argv[0] = 'rps'\n"
        "from rps_core.cli import main as cli\n"
        "try:\n    cli.run(cli.rps)\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("LOADED"))
    return set(line.split()[1:])


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["start", "--help"], ["proxy", "--help"], ["nonsense"], []],
    ids=" ".join,
)
def test_help_loads_click_and_nothing_else(arguments: list[str]) -> None:
    found = loaded_by(*arguments)
    assert "click" in found
    assert found.isdisjoint((*HEAVY, "pathlib"))
    ours = {name for name in found if name.startswith("rps_")}
    assert ours <= {
        "rps_core", "rps_core.cli", "rps_core.cli.main", "rps_core.cli.commands",
        "rps_core.help", "rps_core.cli.commands.changes", "rps_core.cli.commands.feed",
        "rps_core.cli.commands.wait",
        "rps_core.cli.commands.connect", "rps_core.cli.commands.env", "rps_core.cli.commands.made",
        "rps_core.cli.commands.proxy", "rps_core.cli.commands.sessions",
        "rps_core.cli.commands.setup", "rps_core.cli.commands.start", "rps_core.cli.commands.shell",
        "rps_core.errors", "rps_core.cli.options", "rps_core.version",
        "rps_proxy", "rps_proxy.cli", "rps_proxy.cli.main", "rps_proxy.cli.engine", "rps_proxy.cli.options",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (("start", "--help"), {"start"}),
        (("list",), {"sessions"}),
        (("stop", "--help"), {"changes"}),
        (("proxy", "--help"), {"proxy", "feed"}),
        (("env", "--help"), {"env", "made"}),
        (("--version",), set()),
    ],
)
def test_a_command_loads_its_own_module_alone(arguments: tuple[str, ...], needed: set[str]) -> None:
    prefix = "rps_core.cli.commands."
    found = loaded_by(*arguments)
    assert {name.removeprefix(prefix) for name in found if name.startswith(prefix)} == needed
    if "proxy" not in needed:
        assert "rps_proxy" not in found


@pytest.mark.parametrize("words", ["rps stop s", "rps start --pa", "rps start -p s"])
def test_a_completion_loads_the_module_of_its_command_alone(words: str) -> None:
    code = "import sys, os; from rps_core.cli.entry import rps\n"
    code += "try:\n    rps()\nexcept SystemExit:\n    print('LOADED', *sys.modules)\n"
    count = str(words.count(" "))
    variables = {"_RPS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.argv[0] = 'rps'\n{code}"],
        env={**os.environ, **variables}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = set(done.stdout.split())
    assert "LOADED" in found
    module = "start" if "start" in words else "changes"
    commands = {name for name in found if name.startswith("rps_core.cli.commands.")}
    assert commands == {f"rps_core.cli.commands.{module}"}
    assert found.isdisjoint({*HEAVY, "rps_proxy"})


def test_a_schedulers_command_is_run_without_sh() -> None:
    code = "import sys; from rps_core.system.shell import run; run('true'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert "subprocess" in found
    assert found.isdisjoint(
        {
            "asyncio",
            "bz2",
            "importlib.metadata",
            "logging",
            "lzma",
            "sh",
            "shutil",
            "ssl",
            "tempfile",
        }
    )


def test_a_start_waits_for_a_process_that_has_loaded_nothing_of_the_job() -> None:
    """Test the starter of a local job: the imports are those of the process that it leaves."""
    code = "import os, sys; os.fork = lambda: 1; from rps_core.node.supervisor import main; main()"
    code += "; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert "rps_core.node.supervisor" in found
    assert found.isdisjoint({"argparse", "json", "pathlib", "re", "shutil", "socket", "subprocess"})


def test_a_call_of_the_service_loads_no_other_client() -> None:
    code = "import sys; from rps_core.node.agent.service import Service\n"
    code += "try:\n    Service('localhost', 1, '127.0.0.1').status('/')\n"
    code += "except Exception as error:\n    print(error, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert "refused" in found  # nothing listens there, which was found out by a connection
    assert {"rps_core.node.agent.exchange", "ssl"} <= found
    assert found.isdisjoint({"datetime", "email", "email.parser", "http", "http.client", "random"})


def test_listing_no_sessions_loads_no_plugins() -> None:
    found = loaded_by("list")
    assert found.isdisjoint({"pluggy", "omegaconf", "structlog", "sh", "aiohttp"})


def test_a_warm_start_loads_no_more_than_it_needs() -> None:
    """Test up to the batch script.

    Afterwards come a request and sbatch. The first start merges the configuration. An allocation is given, so
    that no scheduler is queried.
    """
    arguments = ("start", "--dry-run", "--cluster=generic", "--account=abc123", "--set",
                 "proxy.domain=example.org")  # fmt: skip
    assert "omegaconf" in loaded_by(*arguments)
    found = loaded_by(*arguments)
    assert found.isdisjoint(
        {"aiohttp", "argparse", "asyncio", "bz2", "configparser", "cryptography", "email", "hashlib", "hmac",
         "http.client", "importlib.metadata", "importlib.resources", "locale", "logging", "lzma",
         "omegaconf", "prometheus_client", "secrets", "sh", "shutil", "structlog", "subprocess",
         "tempfile", "textwrap", "yaml", "zipfile"}
    )  # fmt: skip
    assert found.isdisjoint(
        {"rps_core.config.site_file", "rps_core.display.following", "rps_core.launch.start",
         "rps_core.proxy_client.client", "rps_core.sessions.end"}
    )  # fmt: skip
    assert "rps_core.schedulers.slurm.plugin" in found
    others = {f"rps_core.schedulers.{name}" for name in ("local", "pbs")}
    assert found.isdisjoint(others)
    compiled = {
        name
        for name in found
        if name.startswith("rps_core.")
        if re.search(r"^from dataclasses import .*\bdataclass\b", _source(name), re.MULTILINE)
    }
    assert compiled == set()  # in place of rps_core.values


def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text("utf-8")


def test_a_remembered_answer_of_a_scheduler_runs_and_loads_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test a second start: the first one cached the answer of this `sbatch`'s Slurm."""
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = {"slurm": Presence(answers=True, seen="it answered")}
    schedulers_seen(this_host(), {}, Plugins.load().schedulers, lambda *_: Seen(answer))
    arguments = ("start", "--dry-run", "--account=abc123", "--set", "proxy.domain=example.org")
    loaded_by(*arguments)
    found = loaded_by(*arguments)
    assert "rps_core.schedulers.slurm.plugin" in found
    others = {f"rps_core.schedulers.{name}" for name in ("local", "pbs")}
    assert found.isdisjoint({"sh", *others})


def test_a_worker_loads_what_carries_traffic() -> None:
    """Test the modules of a worker: each core has one."""
    code = "import sys, rps_proxy.engines.workers.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert "aiohttp" in found
    assert found.isdisjoint({"click", "cryptography", "omegaconf", "pluggy", "sh", "yaml"})
    assert found.isdisjoint(
        {
            f"rps_proxy.{name}"
            for name in (
                "api",
                "cli",
                "control.service",
                "registry.registry",
                "server",
                "tls.authority",
            )
        }
    )


CTRL_C = """\
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["AT"]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
"""


def interrupted(
    tmp_path: Path, command: str, *arguments: str, at: str, **options: Any
) -> tuple[int, str]:
    """Run an installed command with Ctrl-C as it imports `at`; return code and stderr."""
    (tmp_path / "sitecustomize.py").write_text(CTRL_C)
    done = subprocess.run(
        [sys.executable, str(Path(sys.executable).with_name(command)), *arguments],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "AT": at},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, **options,
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["rps", "start-jupyter"])
def test_ctrl_c_while_the_command_line_is_loaded_ends_it_silently(
    tmp_path: Path, command: str
) -> None:
    assert interrupted(tmp_path, command, "--help", at="click") == (-signal.SIGINT, "")


def test_ctrl_c_while_a_command_is_loaded_is_reported(tmp_path: Path) -> None:
    code, message = interrupted(tmp_path, "rps", "list", at="rps_core.display.table")
    assert (code, message.split()) == (130, ["Interrupted."])


def test_where_ctrl_c_is_ignored_it_stays_so(tmp_path: Path) -> None:
    """Test the ignored SIGINT of `nohup` and of a script's `&`."""

    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    for at in ("click", "rps_core.display.table"):
        code, message = interrupted(tmp_path, "rps", "list", at=at, preexec_fn=ignore)
        assert (code, message) == (0, "No sessions. `rps start` starts one.\n")
