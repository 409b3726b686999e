"""`rps proxy feed` as cron runs it: over the admin socket, and with a key over the API.

The scheduler's answer is one that a real Slurm gave; on a real one it runs in tests/cluster.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.transcripts import read
from tests.faults.service_stand import DOMAIN, Service, Session, running_service

KEY = "k" * 40
# In the recording: one that waits for resources or priority, one that runs, one that was cancelled, none.
SQUEUE = read("slurm/squeue.txt")["jobs of all kinds"].answer.stdout


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
    """Slurm's commands on the PATH, of which squeue answers as it once did; `down` makes it silent."""
    directory = tmp_path / "bin"
    directory.mkdir()
    (tmp_path / "answer").write_text(SQUEUE)
    (directory / "squeue").write_text(
        f"#!/bin/sh\necho >>{tmp_path}/calls\n"
        f"test ! -e {tmp_path}/down || {{ echo 'squeue: error: away' >&2; exit 1; }}\n"
        f"cat {tmp_path}/answer\n"
    )
    for name in ("sbatch", "sacct"):
        (directory / name).write_text("#!/bin/sh\nexit 0\n")
    for program in directory.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")
    return tmp_path


def configure(service: Service) -> None:
    """What a login node's rps knows of the service."""
    directory = Path(os.environ["XDG_CONFIG_HOME"]) / "rps"
    directory.mkdir(parents=True)
    ca_file = service.directory / "ca" / "ca.pem"
    (directory / "config.yaml").write_text(
        f"proxy: {{domain: {DOMAIN}, port: {service.port}, ca_file: {ca_file}}}\n"
    )


def feed(*options: str) -> subprocess.CompletedProcess[str]:
    main = "from rps_core.cli import main; main()"
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


def state(service: Service, session: Session) -> dict[str, Any]:
    found: dict[str, Any] = service.request(session.host, "GET", "/.rps/state").json()
    return found


@pytest.mark.parametrize("way", ["socket", "key"])
def test_all_jobs_with_one_question(service: Service, scheduler: Path, way: str) -> None:
    if way == "key":
        configure(service)
        options = [f"--key-file={service.directory / 'feed.key'}"]
    else:
        options = [f"--set=directory={service.directory / 'service'}"]
    ids = {"PENDING": "", "RUNNING": "", "CANCELLED": ""}
    for record in SQUEUE.split("\x1e"):
        job_id, _, rest = record.strip().partition("\x1f")
        kind = rest.partition("\x1f")[0]
        if kind in ids and not ids[kind]:
            ids[kind] = job_id
    assert all(ids.values()), ids
    sessions = {kind: linked(service, job_id) for kind, job_id in ids.items()}
    forgotten = linked(service, "999999")
    unlinked = service.issue(cluster="generic")
    done = feed(*options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "4 jobs: 1 gone, 1 queued, 1 running, 1 unknown; 3 noted\n"
    assert len((scheduler / "calls").read_text().splitlines()) == 1
    found = {kind: state(service, session) for kind, session in sessions.items()}
    assert found["PENDING"]["phase"] == "queued"
    assert found["PENDING"]["text"].startswith("Why your job waits: ")
    assert found["RUNNING"]["phase"] == "starting"
    assert found["CANCELLED"]["phase"] == "ended"
    assert found["CANCELLED"]["text"].startswith("The job was cancelled.")
    assert state(service, forgotten)["phase"] == "pending"
    assert state(service, unlinked)["phase"] == "pending"
    # What is over is not asked for again; a scheduler that is away changes nothing.
    (scheduler / "down").touch()
    done = feed(*options)
    assert (done.returncode, done.stdout) == (0, "3 jobs: 3 unknown; 0 noted\n")
    assert state(service, sessions["PENDING"])["phase"] == "queued"


def test_what_is_wrong_is_said(service: Service, scheduler: Path) -> None:
    done = feed(f"--set=directory={service.directory / 'nothing-here'}")
    assert (done.returncode, "No service is running" in done.stderr) == (4, True)
    configure(service)
    wrong = service.directory / "wrong.key"
    done = feed(f"--key-file={wrong}")
    assert "holds no key" in done.stderr
    wrong.write_text("x" * 40)
    wrong.chmod(0o644)
    assert "that you alone can read" in feed(f"--key-file={wrong}").stderr
    wrong.chmod(0o600)
    done = feed(f"--key-file={wrong}")
    assert (done.returncode, "wrong-claim" in done.stderr) == (4, True)
    service.kill()
    done = feed(f"--key-file={service.directory / 'feed.key'}")
    assert (done.returncode, "does not answer" in done.stderr) == (4, True)
    assert not (scheduler / "calls").exists()  # nobody to tell: the scheduler is left alone
    assert KEY not in done.stderr
