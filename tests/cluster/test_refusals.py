"""Impossible requests: rps or the scheduler refuses, no job or name is left."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.conftest import Login
from tests.cluster.lab import Cluster
from tests.cluster.visitor import OutsideVisitor

Visit = Callable[[str], OutsideVisitor]

# The options; the exit code (2: refused by rps itself, 5: by Slurm), and texts of the error.
CASES = {
    "no such account": (["-A", "nosuch"], 5, ["account"]),
    "no such partition": (["-p", "nowhere"], 5, ["partition"]),
    "no such QoS": (["--set", "job.qos=superb"], 5, ["QoS", "QOS", "qos"]),
    "too long for debug": (["-p", "debug", "-t", "31"], 2, ["00:31:00", "00:30:00", "debug"]),
    "too long for the cluster": (["-t", "2-00:00:01"], 2, ["2-00:00:00"]),
    "more GPUs than allowed": (["-p", "gpu-shared", "--set", "job.gpus=4"], 2, ["4 GPUs", "3"]),
    "more GPUs than there are": (["-p", "gpu-shared", "--set", "job.gpus=3"], 5, ["node"]),
    "a GPU where there is none": (["--set", "job.gpus=1"], 2, ["compute"]),
    "no such reservation": (["--set", "job.reservation=mine"], 5, ["reservation"]),
    "no such feature": (["--set", "job.constraint=golden"], 5, ["feature"]),
}


# The cause, by the text of the error; others have the cause `refused`.
CAUSES = {
    "account": "no-account",
    "partition": "no-partition",
    "node": "too-much",
    "feature": "too-much",
}


@pytest.mark.parametrize(("options", "code", "texts"), CASES.values(), ids=list(CASES))
def test_refused(
    comet: Login, cluster: Cluster, visit: Visit, options: list[str], code: int, texts: list[str]
) -> None:
    before, queued = set(ended(comet)), jobs(cluster)
    done = comet.rps("start", *options, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if code == 2:
        assert all(text in done.stderr for text in texts), done.stderr
    else:
        assert any(text in done.stderr for text in texts), done.stderr
    assert jobs(cluster) <= queued
    assert json.loads(comet.rps("list", "--json").stdout) == []
    new = {name: one for name, one in ended(comet).items() if name not in before}
    assert len(new) == (0 if code == 2 else 1)
    for one in new.values():
        assert one["state"] == "failed"
        assert any(text in one["reason"] for text in texts), one
        assert one["cause"] == CAUSES.get(texts[0], "refused"), one
        assert visit(comet.record(one["name"])["url"]).get(token=False)[0] == 410


@pytest.mark.parametrize("options", [["-A", "nosuch"], ["-p", "nowhere"], ["-t", "3-00:00:00"]])
def test_refused_by_torques_commands(
    tscc: Login, cluster: Cluster, visit: Visit, options: list[str]
) -> None:
    before, queued = set(ended(tscc)), jobs(cluster)
    done = tscc.rps("start", *options, check=False)
    assert done.returncode in (2, 5), done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert json.loads(tscc.rps("list", "--json").stdout) == []
    assert jobs(cluster) <= queued
    new = {name: one for name, one in ended(tscc).items() if name not in before}
    assert len(new) == (0 if done.returncode == 2 else 1)
    for one in new.values():
        assert one["state"] == "failed"
        assert "qsub refused the job" in one["reason"], one
        assert visit(tscc.record(one["name"])["url"]).get(token=False)[0] == 410


def test_a_policys_refusal_is_shown_whole(comet: Login) -> None:
    """job_submit.lua of several lines, between rulers (etc/job_submit.lua)."""
    done = comet.rps("start", "--set", "job.constraint=closed", check=False)
    assert done.returncode == 5, done.stderr
    assert (
        "rps: Slurm refused the job:\n"
        "  Welcome to Comet.\n"
        "  The project is closed.\n"
        "    See https://hpc.example/closed\n"
        "  Unspecified error\n"
    ) in done.stderr


def test_what_a_policy_says_on_success_is_shown_and_kept(comet: Login) -> None:
    said = ["The time limit was cut to 2 hours.", "Maintenance begins on Monday."]
    done = comet.rps("start", "--set", "job.constraint=announced")
    assert "slurm says:\n" + "".join(f"  {line}\n" for line in said) in done.stderr
    (session,) = json.loads(comet.rps("list", "--json").stdout)
    assert session["scheduler_words"] == said
    assert " | ".join(said) in comet.rps("status", session["name"]).stdout


LIMITS = {
    "jobs of an account": (
        ("user", "where", "name=alice", "account=ddp363", "set"), "MaxSubmitJobs=0", "MaxSubmitJobs=-1",
        "AssocMaxSubmitJobLimit", "another account (-A)",
    ),
    "cores of a QoS": (
        ("qos", "normal", "set"), "MinTRESPerJob=cpu=4", "MinTRESPerJob=cpu=-1",
        "QOSMinCpuNotSatisfied", "Request more cores (-c), or use another QoS (--qos)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("whose", "set_", "unset", "limit", "hint"), LIMITS.values(), ids=list(LIMITS)
)
def test_the_hint_of_a_policy_is_that_of_its_limit(
    comet: Login,
    cluster: Cluster,
    whose: tuple[str, ...],
    set_: str,
    unset: str,
    limit: str,
    hint: str,
) -> None:
    """Test limits: all print the same error, and slurmctld names the limit above it."""
    modify = ("sacctmgr", "--immediate", "modify", *whose)
    denied = ("sacctmgr", "--immediate", "modify", "qos", "normal", "set")
    cluster.admin(*denied, "Flags=DenyOnLimit")
    cluster.admin(*modify, set_)
    try:
        done = comet.rps("start", "-A", "ddp363", "-c", "1", check=False)
    finally:
        cluster.admin(*modify, unset)
        cluster.admin(*denied, "Flags=-1")
    assert done.returncode == 5, done.stderr
    assert f"rps: Slurm refused the job: {limit} (Job violates accounting/QOS policy" in done.stderr
    assert hint in done.stderr
    assert "-t" not in done.stderr


SCRIPTS = {
    "unreadable": (b"#!/bin/sh\n", 0o000),
    "binary": (b"\x7fELF\0\1\2\xff\xfe", 0o755),
    "empty": (b"", 0o755),
    "of no shell": (b"echo\n", 0o755),
}


@pytest.mark.parametrize(("content", "mode"), SCRIPTS.values(), ids=list(SCRIPTS))
def test_a_batch_script_that_is_none(
    comet: Login, cluster: Cluster, content: bytes, mode: int
) -> None:
    script = cluster.home / "alice" / "script.sh"
    script.write_bytes(content)
    script.chmod(mode)
    os.chown(script, comet.account.uid, comet.account.uid)
    queued = jobs(cluster)
    try:
        done = comet.rps("start", "-b", "script.sh", check=False)
    finally:
        script.unlink()
    assert done.returncode == 2, done.stderr
    assert "script.sh" in done.stderr
    assert "Traceback" not in done.stderr
    assert jobs(cluster) <= queued


def test_a_directory_whose_name_is_code(comet: Login, cluster: Cluster, visit: Visit) -> None:
    home = cluster.home / "alice"
    name = "a 'b' \"c\", `touch pwned`; $(touch pwned) & ${HOME} ünïcode\n#SBATCH --hold"
    (home / name).mkdir()
    os.chown(home / name, comet.account.uid, comet.account.uid)
    (home / name / "here.txt").touch()
    found = comet.started("-d", name)
    listing = json.loads(visit(found["url"]).get("/api/contents")[1])
    assert [entry["name"] for entry in listing["content"]] == ["here.txt"]
    assert list(home.rglob("pwned")) == []


def jobs(cluster: Cluster) -> set[str]:
    """Return the ids of alice's jobs; one of the test before may still be ending."""
    return set(cluster.admin("squeue", "--noheader", "--user=alice", "--format=%A").split())


def ended(user: Login) -> dict[str, dict[str, Any]]:
    """Return all sessions of the user, by name."""
    return {one["name"]: one for one in json.loads(user.rps("list", "--all", "--json").stdout)}
