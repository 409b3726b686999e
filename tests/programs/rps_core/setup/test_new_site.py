"""`rps site new` writes a working plugin, whose tests pass as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from rps_core.cli.main import rps
from rps_core.errors import UsageError
from rps_core.setup.new_site import OWN, SCHEDULERS, new_site, new_site_file
from tests.stands.service import DOMAIN, running_service

PIP = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
# The commands that the project expects. A job is a line of $QUEUE, and stays pending.
COMMANDS = {
    "bigironsub": 'echo "7|${2#--tag=}|${1#--name=}|PENDING||" >>"$QUEUE"; echo "Submitted job 7"',
    "bigironstat": 'cat "$QUEUE"',
    "bigirondel": 'sed -i "/^$1|/s/PENDING/CANCELLED/" "$QUEUE"',
}


def ran(*command: str, cwd: Path, path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(path)} | variables
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_project_is_installed_passes_its_tests_and_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(rps, ["site", "new", "big-iron", "--scheduler", scheduler])
    project = tmp_path / "rps-site-big-iron"
    assert (done.exit_code, done.stdout) == (0, f"{project}\n")
    installed = tmp_path / "installed"
    built = ran(
        sys.executable, *PIP, "--target", str(installed), str(project), cwd=tmp_path, path=project
    )
    assert built.returncode == 0, built.stderr
    tested = ran(
        sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", cwd=project, path=installed
    )
    assert tested.returncode == 0, tested.stdout
    script = str(Path(sys.executable).with_name("rps"))
    name = "big-iron" if scheduler == OWN else scheduler
    shown = ran(script, "cluster", "--cluster", "big-iron", cwd=tmp_path, path=installed)
    assert f"cluster:   big-iron\nscheduler: {name}\n" in shown.stdout, shown.stderr
    assert "broken:" not in shown.stdout
    arguments = ("start", "--dry-run", "--cluster", "big-iron", "--account", "abc123")
    dry = ran(script, *arguments, cwd=tmp_path, path=installed)
    assert dry.stdout.startswith("#!"), dry.stderr
    assert "standard" in dry.stdout


def test_a_session_of_a_scheduler_of_its_own_starts_and_stops(tmp_path: Path) -> None:
    """Test a session with the service; the commands act as the project expects."""
    project, installed, programs = (
        new_site("big-iron", OWN, tmp_path),
        tmp_path / "lib",
        tmp_path / "bin",
    )
    built = ran(
        sys.executable, *PIP, f"--target={installed}", str(project), cwd=tmp_path, path=project
    )
    assert built.returncode == 0, built.stderr
    programs.mkdir()
    for name, script in COMMANDS.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    queue = tmp_path / "queue"
    queue.touch()
    with running_service(tmp_path) as service:
        settings = {"allow_root": "true", "proxy.domain": DOMAIN, "proxy.port": service.port,
                    "proxy.ca_file": service.directory / "ca" / "ca.pem"}  # fmt: skip

        def rps(*arguments: str) -> str:
            done = ran(
                str(Path(sys.executable).with_name("rps")), *arguments, "--cluster", "big-iron",
                *(f"--set={key}={value}" for key, value in settings.items()), cwd=tmp_path, path=installed,
                QUEUE=str(queue), PATH=f"{programs}:{os.environ['PATH']}",
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            return done.stdout

        rps("start")
        (listed,) = json.loads(rps("list", "--json"))
        assert (listed["job_id"], listed["state"]) == ("7", "pending")
        assert f"|rps-{listed['name']}|PENDING" in queue.read_text()
        rps("stop")
        assert "|CANCELLED|" in queue.read_text()
        assert json.loads(rps("list", "--json")) == []


def test_an_installed_scheduler_is_not_written_again(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="scheduler `slurm` is installed already"):
        new_site("slurm", OWN, tmp_path)
    assert not list(tmp_path.glob("**/pyproject.toml"))


@pytest.mark.parametrize(
    "name", ["", "Big", "1st", "a b", "../up", "a--b", "-x", "a_b", "x" * 41, "é"]
)
def test_an_invalid_name_writes_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a valid name"):
        new_site(name, "slurm", tmp_path)
    assert not list(tmp_path.glob("**/pyproject.toml"))


@pytest.mark.parametrize("name", ["local", "generic", "comet", "stratus", "tscc"])
def test_an_installed_site_is_not_written_again(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is installed already"):
        new_site(name, "slurm", tmp_path)
    assert not list(tmp_path.glob("**/pyproject.toml"))


def test_a_directory_that_exists_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "rps-site-mine" / "kept"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        new_site("mine", "slurm", tmp_path)
    assert [path.name for path in kept.parent.iterdir()] == ["kept"]


@pytest.mark.parametrize("scheduler", [one for one in SCHEDULERS if one != OWN])
def test_a_site_file_serves_its_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(rps, ["site", "new", "big-iron", "--scheduler", scheduler, "--yaml"])
    written = tmp_path / "big-iron.yaml"
    assert (done.exit_code, done.stdout) == (0, f"{written}\n")
    sites = tmp_path / "rps" / "sites"
    sites.mkdir(parents=True)
    written.rename(sites / written.name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    shown = CliRunner().invoke(rps, ["cluster", "--cluster", "big-iron"])
    assert f"cluster:   big-iron\nscheduler: {scheduler}\n" in shown.stdout
    assert "broken:" not in shown.stdout
    dry = CliRunner().invoke(
        rps, ["start", "--dry-run", "--cluster", "big-iron", "-A", "abc123", "-d", str(tmp_path)]
    )
    assert "standard" in dry.stdout, dry.exception


def test_a_site_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        new_site_file("mine", "slurm", tmp_path)
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    with pytest.raises(UsageError, match="describes no scheduler"):
        new_site_file("other", OWN, tmp_path)


def test_a_site_file_that_rps_would_refuse_is_not_written(tmp_path: Path) -> None:
    """`generic-<scheduler>` is the built-in site's."""
    with pytest.raises(UsageError, match="`generic-lsf` is reserved"):
        new_site_file("generic-lsf", "slurm", tmp_path)
    assert not (tmp_path / "generic-lsf.yaml").exists()
