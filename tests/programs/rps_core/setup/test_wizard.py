"""`rps init`: what it offers, writes and leaves alone.

Its questions, answered on a terminal.
"""

import os
import pty
import select
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rps_core import cluster
from rps_core.cli.main import rps
from rps_core.config import yaml_text
from rps_core.errors import UsageError
from rps_core.system import paths

SECTION = "  here:\n    job:\n      account: abc123\n"


@pytest.fixture
def _generic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set up a cluster whose partitions only its administrator's file names.

    No scheduler is here.
    """
    system = tmp_path / "system.yaml"
    system.write_text("limits: {partitions: {compute: {}, 'odd name': {}, debug: {}}}\n")
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(system))
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "jupyter-lab").write_text("#!/bin/sh\n")
    (programs / "jupyter-lab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(rps, ["init", *arguments])


def values() -> dict[str, object]:
    return yaml_text.parse(paths.config_file().read_text(), "").values


@pytest.mark.usefixtures("_generic")
def test_with_no_user_to_ask_it_shows_what_it_would_ask_and_write() -> None:
    shown = run()
    assert shown.exit_code == 0
    assert "Partition:\n  1) compute (default)\n  2) odd name\n  3) debug\n" in shown.stderr
    assert "Use --yes to write these settings" in shown.stderr
    assert yaml_text.parse(shown.stdout, "").values["sites"]["generic"]["job"] == {
        "partition": "compute"
    }
    assert not paths.config_file().exists()


@pytest.mark.usefixtures("_generic")
def test_it_is_written_once_and_for_its_owner_alone() -> None:
    before = os.umask(0)
    try:
        assert run("--yes").exit_code == 0
    finally:
        os.umask(before)  # else later tests of this process create files that all users can write
    path = paths.config_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    text = path.read_text()
    again = run("--yes")
    assert "has these settings already" in again.stderr
    assert path.read_text() == text
    assert cluster.find(None).loaded.settings.job.partition == "compute"
    assert os.listdir(path.parent) == ["config.yaml"]  # noqa: PTH208


@pytest.mark.usefixtures("_generic")
def test_a_second_cluster_is_added_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    paths.config_file().parent.mkdir(parents=True)
    paths.config_file().write_text("# mine\nnotebook: {app: notebook} # too\nsites:\n" + SECTION)
    assert run("--yes").exit_code == 0
    text = paths.config_file().read_text()
    assert text.startswith("# mine\nnotebook: {app: notebook} # too\n")
    found = values()
    assert found["notebook"] == {"app": "notebook"}
    assert set(found["sites"]) == {"here", "generic"}  # type: ignore[call-overload]


@pytest.mark.usefixtures("_generic")
def test_other_settings_for_the_cluster_are_not_overwritten() -> None:
    paths.config_file().parent.mkdir(parents=True)
    text = "sites:\n  generic:\n    job: {partition: debug, qos: mine}\n"
    paths.config_file().write_text(text)
    assert "has these settings already" in run("--yes").stderr  # debug is the default now
    paths.config_file().write_text(text.replace("partition: debug, ", ""))
    refused = run("--yes").exception
    assert isinstance(refused, UsageError)
    assert "not changed" in refused.message
    assert "partition: compute" in refused.hint
    assert "qos: mine" in paths.config_file().read_text()


@pytest.mark.usefixtures("_generic")
def test_questions_are_answered_on_a_terminal() -> None:
    """Test an answer by number, after a mistake; then another one.

    The second run replaces the file.
    """
    shown = on_terminal("7\r", "3\r")
    assert "Enter a number from 1 to 3" in shown
    assert values()["sites"] == {"generic": {"job": {"partition": "debug"}, "notebook": None}}
    assert "has these settings already" in on_terminal("\r")
    kept = on_terminal("compute\r", "n\r", code=2)
    assert "not changed" in kept
    assert "Wrote" in on_terminal("1\r", "y\r")
    assert values()["sites"] == {"generic": {"job": {"partition": "compute"}, "notebook": None}}
    # Again, twice: no earlier copy is lost.
    directory = paths.config_file().parent
    (directory / "config.yaml.old.2").symlink_to("/nowhere")  # a name that is taken, by anything
    assert "config.yaml.old.3" in on_terminal("3\r", "y\r")
    paths.config_file().write_bytes(
        b"sites: {generic: {job: {partition: debug}}} # \xc3\xa4, mine\r\n"
    )
    assert "config.yaml.old.4" in on_terminal("1\r", "y\r")
    copies = {
        name: (directory / f"config.yaml.{name}").read_bytes() for name in ("old", "old.3", "old.4")
    }
    assert b"partition: debug" in copies["old"]
    assert b"partition: compute" in copies["old.3"]
    assert copies["old.4"] == b"sites: {generic: {job: {partition: debug}}} # \xc3\xa4, mine\r\n"
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.glob("*.old.[34]")} == {0o600}


def on_terminal(*typed: str, code: int = 0) -> str:
    """Return what `rps init` shows a user who types these lines, by question."""
    master, slave = pty.openpty()
    command = [sys.executable, "-c", "from rps_core.cli.main import main; main()", "init"]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    for line in typed:
        os.write(master, line.encode())
    seen = ""
    try:
        while select.select([master], [], [], 60)[0]:
            try:
                data = os.read(master, 4096)
            except OSError:  # it has ended
                break
            seen += data.decode()
        assert process.wait(60) == code, seen
    finally:
        process.kill()
        process.wait()
        os.close(master)
    return seen
