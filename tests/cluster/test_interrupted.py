"""The launcher is killed before it records the job: rps finds it by its tag."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.conftest import Login
from tests.cluster.lab import Cluster
from tests.stands.waiting import until

HELD = {
    "sbatch": '["--hold"]',
    "qsub": '["-h"]',
}  # so that no agent starts and records its job itself


def start_and_be_killed(user: Login, program: str, *, submit: bool) -> str:
    """Run `rps start` with an sbatch that kills its caller; return the session's name."""
    home = user.sessions.parents[3]
    directory = home / "bin"
    directory.mkdir(exist_ok=True)
    wrapper = directory / program
    real = f'/usr/bin/{program} "$@" >/dev/null\n' if submit else ""
    wrapper.write_text(f"#!/bin/sh\n{real}kill -KILL $PPID\n")
    wrapper.chmod(0o755)
    before = set(user.sessions.glob("*")) if user.sessions.exists() else set()
    path = f"{user.account.home}/bin:/usr/local/bin:/usr/bin:/bin"
    held = f"job.directives={HELD[program]}"
    done = user.rps("start", "--no-wait", "--set", held, env={"PATH": path}, check=False)
    assert done.returncode != 0, done
    assert done.stdout == ""
    (session,) = set(user.sessions.glob("*")) - before
    record = user.record(session.name)
    assert (record["submitting"], record["job_id"]) == (True, None)
    return session.name


def jobs(cluster: Cluster) -> list[str]:
    return cluster.admin("squeue", "--noheader", "--user=alice", "--format=%A").split()


@pytest.mark.parametrize(("host", "program"), [("comet-ln2", "sbatch"), ("tscc-login1", "qsub")])
def test_the_next_list_finds_the_job_and_stop_ends_it(
    login: Callable[..., Login], cluster: Cluster, host: str, program: str
) -> None:
    user = login(host)
    name = start_and_be_killed(user, program, submit=True)
    (job,) = jobs(cluster)
    listed = json.loads(user.rps("list", "--json").stdout)
    shown = {one["name"]: one for one in listed}[name]
    assert (shown["job_id"].partition(".")[0], shown["state"]) == (job, "pending")
    record = user.record(name)
    assert (record["submitting"], record["job_id"]) == (False, shown["job_id"])
    user.rps("stop", name)
    until(lambda: jobs(cluster) == [], "the end of the job")


def test_stop_alone_finds_it_too(comet: Login, cluster: Cluster) -> None:
    name = start_and_be_killed(comet, "sbatch", submit=True)
    assert len(jobs(cluster)) == 1
    comet.rps("stop", name)
    until(lambda: jobs(cluster) == [], "the end of the job")


def test_a_missing_job_counts_once_no_process_can_be_submitting_it(
    comet: Login, cluster: Cluster
) -> None:
    name = start_and_be_killed(comet, "sbatch", submit=False)
    shown = comet.status(name)
    assert shown["state"] == "unknown"
    assert "does not have its job yet" in shown["reason"]
    file = comet.sessions / name / "session.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "created": time.time() - 1000}))
    with cluster.slurm.controller.down():  # silence is no evidence
        assert comet.status(name)["state"] == "unknown"
    shown = comet.status(name)
    assert shown["state"] == "failed"
    assert "has none of its tag" in shown["reason"]
    assert not (comet.sessions / name / "claim.json").exists()
    assert jobs(cluster) == []


def test_two_starts_at_once_are_two_sessions_with_a_job_each(
    comet: Login, cluster: Cluster
) -> None:
    command = [str(comet.clone / "rps"), "start", "--no-wait", "--json",
               "--set", f"job.directives={HELD['sbatch']}"]  # fmt: skip
    both = [
        comet.host.popen(command, comet.account, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    found: list[dict[str, Any]] = [json.loads(output) for output, _ in outputs]
    assert len({one["name"] for one in found}) == 2
    assert sorted(one["job_id"] for one in found) == sorted(jobs(cluster))
