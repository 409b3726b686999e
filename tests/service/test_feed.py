"""`rps proxy feed` as cron runs it: over the admin socket, or the API with a key.

The scheduler's output is recorded from a real Slurm, with the names of the sessions here; tests/cluster runs
the feed on a real one.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.transcripts import read
from tests.stands.service import DOMAIN, Service, Session, running_service

KEY = "k" * 40
# alice's: one that is held, one that runs and one that was cancelled, with names like those of sessions; and
# another of hers.
SQUEUE = read("slurm/everybody.txt")["everybody's jobs"].answer.stdout
IDS = {"held": "1", "runs": "2", "cancelled": "3"}
ANOTHER = "4"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    key_file = tmp_path / "feed.key"
    key_file.write_text(KEY)
    key_file.chmod(0o600)
    settings = {"feed.networks": "[127.0.0.1]", "feed.key_file": key_file}
    with running_service(tmp_path, **settings) as service:
        yield service


@pytest.fixture
def scheduler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put Slurm's commands on the PATH; squeue prints recorded output.

    It also counts its calls; with `down` it fails.
    """
    directory = tmp_path / "bin"
    directory.mkdir()
    (tmp_path / "answer").write_text(SQUEUE)
    (directory / "squeue").write_text(
        f"#!/bin/sh\necho >>{tmp_path}/calls\n"
        f"test ! -e {tmp_path}/down || {{ echo 'squeue: error: away' >&2; exit 1; }}\n"
        "mark=$(printf %s \"$*\" | sed 's/.*%A\\x1f\\([0-9a-f]*\\)\\x1f.*/\\1/')\n"
        f'sed "s/0123456789abcdef/$mark/g" {tmp_path}/answer\n'
    )
    for name in ("sbatch", "sacct"):
        (directory / name).write_text("#!/bin/sh\nexit 0\n")
    for program in directory.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return tmp_path


def configure(service: Service) -> None:
    """Write a login node's configuration for the service."""
    directory = Path(os.environ["XDG_CONFIG_HOME"]) / "rps"
    directory.mkdir(parents=True)
    ca_file = service.directory / "ca" / "ca.pem"
    (directory / "config.yaml").write_text(
        f"proxy: {{domain: {DOMAIN}, port: {service.port}, ca_file: {ca_file}}}\n"
    )


def feed(*options: str) -> subprocess.CompletedProcess[str]:
    main = "from rps_core.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", main, "proxy", "feed", "--cluster=generic", *options],
        capture_output=True,
        text=True,
        timeout=60,
    )


def linked(service: Service, job_id: str) -> Session:
    session = service.issue(cluster="generic", scheduler="slurm", user="alice")
    path = f"sessions/{session.name}/link"
    assert service.call("POST", path, session.claim, {"job_id": job_id})[0] == 200
    return session


def all_linked(service: Service, scheduler: Path) -> dict[str, Session]:
    """Sessions whose jobs are those in the recording."""
    sessions = {kind: linked(service, job_id) for kind, job_id in IDS.items()}
    answer = SQUEUE
    for kind, session in sessions.items():
        answer = answer.replace(f"rps-{kind}-random-words", f"rps-{session.name}")
    (scheduler / "answer").write_text(answer)
    return sessions


def proved(service: Service, session: Session, user: str) -> None:
    """Set the user of a name, as if MUNGE had proved it."""
    with sqlite3.connect(service.directory / "service" / "registry.db", timeout=5) as db:
        change = "UPDATE sessions SET user = ?, authenticated = 1 WHERE name = ?"
        db.execute(change, (user, session.name))


def state(service: Service, session: Session) -> dict[str, Any]:
    found: dict[str, Any] = service.request(session.host, "GET", "/.rps/state").json()
    return found


def way_of(service: Service, way: str) -> str:
    if way == "key":
        configure(service)
        return f"--key-file={service.directory / 'feed.key'}"
    return f"--set=directory={service.directory / 'service'}"


@pytest.mark.parametrize("way", ["socket", "key"])
def test_all_jobs_with_one_question(service: Service, scheduler: Path, way: str) -> None:
    options = way_of(service, way)
    sessions = all_linked(service, scheduler)
    forgotten = linked(service, "999999")
    unlinked = service.issue(cluster="generic")
    done = feed(options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "4 jobs: 1 gone, 1 queued, 1 running, 1 unknown; 3 noted\n"
    assert len((scheduler / "calls").read_text().splitlines()) == 1
    found = {kind: state(service, session) for kind, session in sessions.items()}
    assert found["held"]["phase"] == "queued"
    assert found["held"]["text"].startswith("Your job is waiting: ")
    assert found["runs"]["phase"] == "starting"
    assert found["cancelled"]["phase"] == "ended"
    assert found["cancelled"]["text"].startswith("The job was cancelled.")
    assert state(service, forgotten)["phase"] == "pending"
    assert state(service, unlinked)["phase"] == "pending"
    # What is over is not asked for again; a scheduler that is away changes nothing.
    (scheduler / "down").touch()
    done = feed(options)
    said = "3 jobs: 3 unknown; 0 noted. squeue does not answer: away\n"
    assert (done.returncode, done.stdout) == (0, said)
    assert state(service, sessions["held"])["phase"] == "queued"


@pytest.mark.parametrize("way", ["socket", "key"])
def test_a_job_of_another_session_or_none_says_nothing(
    service: Service, scheduler: Path, way: str
) -> None:
    """Test a launcher that links its session to another user's job."""
    options = way_of(service, way)
    sessions = all_linked(service, scheduler)
    strangers = [linked(service, job_id) for job_id in (*IDS.values(), ANOTHER)]
    for _ in range(2):
        done = feed(options)
        assert done.returncode == 0
        assert "4 unknown (4 not the session's own)" in done.stdout
        assert {state(service, stranger)["phase"] for stranger in strangers} == {"pending"}
        assert {service.state(stranger)["phase"] for stranger in strangers} == {"linked"}
    assert state(service, sessions["held"])["phase"] == "queued"
    lines = [line for line in service.log().splitlines() if "foreign-job" in line]
    assert len(lines) == 4
    assert all('"owner": "alice"' in line for line in lines)


def test_where_the_user_is_proved_the_job_must_be_theirs(service: Service, scheduler: Path) -> None:
    sessions = all_linked(service, scheduler)
    proved(service, sessions["held"], "alice")
    proved(
        service, sessions["runs"], "mallory"
    )  # who called a job of hers by the name of bob's session
    done = feed(way_of(service, "socket"))
    assert done.stdout == (
        "3 jobs: 1 gone, 1 queued, 1 unknown (1 not the session's own); 2 noted\n"
    )
    assert state(service, sessions["held"])["phase"] == "queued"
    assert state(service, sessions["runs"])["phase"] == "pending"


def test_what_is_wrong_is_said(service: Service, scheduler: Path) -> None:
    done = feed(f"--set=directory={service.directory / 'nothing-here'}")
    assert (done.returncode, "No service is running" in done.stderr) == (4, True)
    configure(service)
    wrong = service.directory / "wrong.key"
    done = feed(f"--key-file={wrong}")
    assert "holds no key" in done.stderr
    wrong.write_text("x" * 40)
    wrong.chmod(0o644)
    assert "that only you can read" in feed(f"--key-file={wrong}").stderr
    wrong.chmod(0o600)
    done = feed(f"--key-file={wrong}")
    assert (done.returncode, "wrong-claim" in done.stderr) == (4, True)
    service.kill()
    done = feed(f"--key-file={service.directory / 'feed.key'}")
    assert (done.returncode, "does not answer" in done.stderr) == (4, True)
    assert not (scheduler / "calls").exists()  # no page waits: the scheduler is left alone
    assert KEY not in done.stderr
