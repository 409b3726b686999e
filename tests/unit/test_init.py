"""`rps init`: what it offers, writes and leaves alone; and the questions, answered on a terminal."""

import os
import pty
import select
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rps_core import cluster, environments, init, paths, yaml_text
from rps_core.cli import rps
from rps_core.errors import UsageError

SECTION = "  here:\n    job:\n      account: abc123\n"


@pytest.fixture
def _generic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster whose partitions only its administrator's file names: no scheduler is here."""
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
def test_with_nobody_to_ask_it_shows_what_it_would_ask_and_write() -> None:
    shown = run()
    assert shown.exit_code == 0
    assert "The partition:\n  1) compute (default)\n  2) odd name\n  3) debug\n" in shown.stderr
    assert "--yes takes these answers" in shown.stderr
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
        os.umask(before)  # else every later test of this process makes what all can write
    path = paths.config_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    text = path.read_text()
    again = run("--yes")
    assert "says so already" in again.stderr
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
    assert "says so already" in run("--yes").stderr  # debug is the default now
    paths.config_file().write_text(text.replace("partition: debug, ", ""))
    refused = run("--yes").exception
    assert isinstance(refused, UsageError)
    assert "stays as it is" in refused.message
    assert "partition: compute" in refused.hint
    assert "qos: mine" in paths.config_file().read_text()


@pytest.mark.parametrize(
    "old",
    [
        "",
        "# nothing yet\n",
        "job: {account: x}",
        "sites:\n  there:\n    job: {account: y}\n",
        "sites:\n    there:\n        job: {account: y}\n",
        "sites: {there: {job: {account: y}}}\n",
        "sites:\n",
        "sites:\n  there: {}\njob: {account: x}\n",
        "notebook:\n  prologue: |\n    text\n",
    ],
)
def test_a_section_is_added_or_it_is_said_that_it_cannot_be(old: str) -> None:
    new = init.joined(old, "here", SECTION)
    before = yaml_text.parse(old, "").values
    if new is None:  # written in another style, or not at the end
        assert "sites" in before
        return
    after = yaml_text.parse(new, "").values
    assert after["sites"]["here"] == {"job": {"account": "abc123"}}
    assert new.startswith(old.rstrip()) or not old.strip()
    assert init.joined(new, "here", SECTION) == new


def test_odd_names_stay_text() -> None:
    for odd in ("00123", "null", "a: b", "#x", "ümlaut", "1e3", "yes", '"', "[a]"):
        text = f"a: {init._scalar(odd)}\nb: {init._scalar([odd, odd])}\n"
        assert yaml_text.parse(text, "").values == {"a": odd, "b": [odd, odd]}


def test_environments_that_have_jupyter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = paths.home() / ".conda" / "environments.txt"
    listed.parent.mkdir()
    for name in ("with", "without"):
        (tmp_path / name / "bin").mkdir(parents=True)
    program = tmp_path / "with" / "bin" / "jupyter-lab"
    program.write_text("")
    program.chmod(0o755)
    listed.write_text(f"{tmp_path}/with\n{tmp_path}/without\n{tmp_path}/gone\n")
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert [one.settings for one in environments.found()] == [{"conda_env": f"{tmp_path}/with"}]
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("LOADEDMODULES", "gcc/12:anaconda/3")
    found = environments.found()
    assert found[0].settings == {"modules": ["gcc/12", "anaconda/3"]}
    assert found[1].settings == {}


@pytest.mark.usefixtures("_generic")
def test_questions_are_answered_on_a_terminal() -> None:
    """By a number, after a mistake; then once more, with another answer, and the file replaced."""
    shown = on_terminal("7\r", "3\r")
    assert "give a number from 1 to 3" in shown
    assert values()["sites"] == {"generic": {"job": {"partition": "debug"}, "notebook": None}}
    assert "says so already" in on_terminal("\r")
    kept = on_terminal("compute\r", "n\r", code=2)
    assert "stays as it is" in kept
    assert "Written" in on_terminal("1\r", "y\r")
    assert values()["sites"] == {"generic": {"job": {"partition": "compute"}, "notebook": None}}
    # Once more, and again: none that was kept before is lost.
    directory = paths.config_file().parent
    (directory / "config.yaml.old.2").symlink_to("/nowhere")  # a name that is taken, by whatever
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
    """What `rps init` shows to somebody who types this, a line for each of its questions."""
    master, slave = pty.openpty()
    command = [sys.executable, "-c", "from rps_core.cli import main; main()", "init"]
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
