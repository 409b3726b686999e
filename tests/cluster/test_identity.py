"""Jobs of the user and of another with a session's job id, on a real Slurm."""

from __future__ import annotations

import json

import pytest

from tests.cluster.conftest import Login
from tests.cluster.lab import Cluster


def sleeping(login: Login, name: str) -> str:
    """Submit a job that is no session's."""
    return login.run(
        "sbatch", "--parsable", "--hold", "--time=5", f"--job-name={name}", "--wrap", "sleep 300"
    ).stdout.strip()


@pytest.mark.parametrize("whose", ["her own", "a stranger's"])
def test_another_job_with_the_sessions_id_is_not_touched(
    whose: str, comet: Login, bob: Login, cluster: Cluster
) -> None:
    """As after a slurmctld that lost its state: its ids begin again."""
    other = bob if whose == "a stranger's" else comet
    job_id = sleeping(other, "my-simulation")
    started = json.loads(
        comet.rps("start", "--json", "-t", "5", "--set", "job.directives=[--hold]").stdout
    )
    name = started["name"]
    assert (started["state"], comet.status(name)["cause"]) == ("pending", "held")
    record = comet.sessions / name / "session.json"
    record.write_text(record.read_text().replace(f'"{started["job_id"]}"', f'"{job_id}"'))

    shown = comet.status(name)
    assert (shown["job_id"], shown["state"], shown["cause"]) == (job_id, "unknown", "id-reused")
    why = json.loads(comet.rps("why", name, "--json").stdout)
    assert (
        f"another job 'my-simulation' of {other.account.name} with its id {job_id}" in why["reason"]
    )
    assert "lost" in why["sentence"] or "no longer" in why["sentence"]
    assert why["evidence"] == []  # the other job has lines, which are not the session's
    stopped = comet.rps("stop", name)
    assert "stopped with rps stop: the scheduler has another job" in stopped.stderr
    assert comet.record(name)["job_id"] == job_id
    assert comet.status(name)["cause"] == "id-reused"
    left = cluster.admin(
        "squeue", "--noheader", "--states=all", "--format=%A %j %T", f"--jobs={job_id}"
    )
    assert left.split() == [job_id, "my-simulation", "PENDING"]
    other.run("scancel", job_id)
