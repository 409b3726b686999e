"""`rps doctor` on the real cluster: healthy, and without slurmctld."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.conftest import Login
from tests.cluster.lab import Cluster
from tests.cluster.test_sites import WRITE_TRANSCRIPTS
from tests.cluster.transcript import Transcript
from tests.conftest import PROJECT


def examined(user: Login) -> tuple[int, list[dict[str, Any]]]:
    done = user.rps("doctor", "--json", check=False)
    lines: list[dict[str, Any]] = json.loads(done.stdout)["lines"]
    return done.returncode, lines


def of(check: str, lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(line["verdict"], line["text"]) for line in lines if line["check"] == check]


@pytest.mark.parametrize("host", ["comet-ln2", "tscc-stratus", "tscc-login1"])
def test_a_healthy_cluster(login: Callable[..., Login], host: str) -> None:
    user = login(host)
    code, lines = examined(user)
    assert code == 0, lines
    # The home directories are on this machine's disk, and Slurm's qstat comes without a qselect.
    warned = {line["check"] for line in lines if line["verdict"] == "warn"}
    assert warned <= {"sessions", "scheduler"}, lines
    if host == "comet-ln2":
        assert [text.split(" answers")[0] for _, text in of("scheduler", lines)] == [
            "sbatch", "scancel", "squeue", "sacct", "sacctmgr",
        ]  # fmt: skip
        ((verdict, text),) = of("allocation", lines)
        assert verdict == "pass"
        assert text.startswith("abc123, your default; your other allocations: ")
        assert "xyz789" in text
    assert of("service", lines)[-1][1].startswith("ready (")


def test_the_controller_is_stopped(
    comet: Login, cluster: Cluster, request: pytest.FixtureRequest
) -> None:
    """Record the output in docs/transcripts."""
    page = Transcript(
        "Comet: rps doctor, with slurmctld stopped",
        request.node.nodeid,
        "The scheduler is a real Slurm, of Debian's packages; home directories are on this machine's disk.",
        comet.clone,
    )
    with cluster.slurm.controller.down():
        code, lines = examined(comet)
        done = comet.rps("doctor", check=False)
    assert code == done.returncode == 9
    for line in lines:
        assert line["text"].split()[0] in done.stdout
    page.command("alice@comet-ln2:~$", done, "rps doctor")
    if WRITE_TRANSCRIPTS:
        page.write(PROJECT / "docs" / "transcripts" / "doctor.md")
    scheduler = {text.split()[0]: verdict for verdict, text in of("scheduler", lines)}
    assert (scheduler["squeue"], scheduler["sbatch"], scheduler["sacct"]) == (
        "fail",
        "pass",
        "pass",
    )
    ((verdict, text),) = of("leftovers", lines)
    assert verdict == "warn"
    assert "could not search for jobs" in text
    assert {verdict for verdict, _ in of("service", lines)} == {"pass"}


def test_a_job_without_a_session_is_reported_and_left_alone(comet: Login, cluster: Cluster) -> None:
    held = comet.rps("start", "--no-wait", "--json", "--set", 'job.directives=["--hold"]')
    started = json.loads(held.stdout)
    comet.run("rm", "-r", f"{comet.account.home}/.local/state/rps/sessions/{started['name']}")
    done = comet.rps("doctor", "--json", "--fix")
    found = [text for verdict, text in of("leftovers", json.loads(done.stdout)["lines"])
            if verdict == "warn"]  # fmt: skip
    assert len(found) == 1
    assert found[0].startswith(f"job {started['job_id']} was submitted by rps, but has no session")
    shown = cluster.admin("squeue", "--noheader", "--user=alice", "--format=%A").split()
    assert started["job_id"] in shown
    cluster.admin("scancel", started["job_id"])
