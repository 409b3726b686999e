"""Plugins that hang, exit or print, in commands that run for real."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stands.plugins import Distributions, distributions
from tests.unit.rps_core.hooks.test_faulty_plugins import CLAIMS, DRY_RUN

__all__ = ["distributions"]

# As `rps`, with less time for plugins.
RPS = """\
import sys
from rps_core.hooks import registration as limits
limits.LOAD_TIME = limits.ANSWER_TIME = limits.NEEDED_TIME = float(sys.argv.pop(1))
sys.argv[0] = "rps"
from rps_core.cli.entry import rps
rps()
"""
DAY = 86400.0


def command(distributions: Distributions, *arguments: str, seconds: float = DAY) -> list[str]:
    os.environ["PYTHONPATH"] = str(distributions.directory)
    return [sys.executable, "-P", "-c", RPS, str(seconds), *arguments]


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setenv("RPS_BLOCK", "comet,stratus,tscc")


def run(
    distributions: Distributions, *arguments: str, seconds: float = DAY, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(distributions, *arguments, seconds=seconds), capture_output=True, text=True, timeout=120,
        stdin=subprocess.DEVNULL, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    "body", ["import time\nwhile True:\n    time.sleep(3600)", "while True:\n    pass"]
)
def test_ctrl_c_ends_a_command_while_a_plugin_hangs(
    distributions: Distributions, tmp_path: Path, body: str
) -> None:
    """Test that it ends at once, not with the plugin's time."""
    begun = tmp_path / "begun"
    distributions.install("toy", f"open({str(begun)!r}, 'w').close()\n{body}")
    process = subprocess.Popen(
        command(distributions, "config"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ}, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not begun.exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, said.strip()) == (130, "Interrupted.")


def test_ctrl_c_while_a_plugins_command_runs_ends_the_command(
    distributions: Distributions, tmp_path: Path
) -> None:
    """The plugin may undo what it began.

    That it catches the interrupt changes nothing.
    """
    begun, undone = tmp_path / "begun", tmp_path / "undone"
    body = f"""
@hookimpl
def rps_site_config(cluster):
    return None
@hookimpl
def rps_default_allocation(shell):
    try:
        shell("sh", "-c", "touch {begun}; exec sleep 60", timeout=90)
    except KeyboardInterrupt:
        open({str(undone)!r}, "w").close()
        return "account"
"""
    distributions.install("toy", CLAIMS + body)
    process = subprocess.Popen(
        command(distributions, "start", "--dry-run", "--set", "proxy.domain=example.org"),
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while not begun.exists():
            assert time.monotonic() < until
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, said.strip()) == (130, "", "Interrupted.")
    assert undone.exists()


def test_a_command_takes_none_of_the_hooks_time(distributions: Distributions) -> None:
    body = """
@hookimpl
def rps_render_batch():
    return "#!/bin/sh"
@hookimpl
def rps_default_allocation(shell):
    return shell("sh", "-c", "sleep 4; echo abc123").stdout.strip()
"""
    distributions.install("toy", CLAIMS + body)
    done = run(distributions, "start", "--dry-run", "--set", "proxy.domain=example.org", seconds=3)
    assert (done.returncode, done.stdout) == (0, "#!/bin/sh"), done.stderr
    assert "abc123" in done.stderr
    assert "warning" not in done.stderr


def test_a_hook_that_was_given_up_runs_no_command(
    distributions: Distributions, tmp_path: Path
) -> None:
    """Test that a hook that counts as failed submits no job later."""
    late = tmp_path / "late"
    body = f"""
import time
@hookimpl
def rps_default_allocation(shell):
    time.sleep(3)
    shell("touch", {str(late)!r})
@hookimpl
def rps_render_batch():
    time.sleep(1.5)
    time.sleep(1.5)
    return "#!/bin/sh"
"""
    distributions.install("toy", CLAIMS + body)
    done = run(distributions, *DRY_RUN[:-2], seconds=2)
    assert done.returncode == 10
    assert "rps_default_allocation: no answer within 2 s" in done.stderr
    assert not late.exists()


def test_completion_says_nothing_of_a_broken_plugin(distributions: Distributions) -> None:
    distributions.install("toy", "import nowhere")
    done = run(
        distributions, _RPS_COMPLETE="bash_complete", COMP_WORDS="rps start --part", COMP_CWORD="2"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--partition" in done.stdout


def test_doctor_shows_each_mistake_in_full(distributions: Distributions) -> None:
    """Test mistakes found during the run too."""
    checks = "@hookimpl\ndef rps_health_checks():\n    return [HealthCheck(argv=())]\n"
    file = distributions.install("toy", CLAIMS + checks)
    other = distributions.install("other", "\nimport nowhere")
    said = " ".join(run(distributions, "doctor").stdout.split())
    assert (
        f"other (rps-other 2.0) is broken: ModuleNotFoundError: No module named 'nowhere' ({other}:2)"
        in said
    )
    answer = "rps_health_checks: its answer[0].argv is () (tuple), and must be a program and its arguments"
    assert f"toy (rps-toy 2.0) is broken: {answer} ({file}:" in said
