"""What cannot be is refused before or by the scheduler, and leaves neither job nor name behind."""

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

# What is asked; who refuses (2: rps itself, 5: Slurm), and what the user is told.
CASES = {
    "no such account": (["-A", "nobody"], 5, ["account"]),
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


# In a word, by what is told; else it is only refused.
CAUSES = {
    "account": "no-account",
    "partition": "no-partition",
    "node": "too-much",
    "feature": "too-much",
}


@pytest.mark.parametrize(("options", "code", "told"), CASES.values(), ids=list(CASES))
def test_refused(
    comet: Login, cluster: Cluster, visit: Visit, options: list[str], code: int, told: list[str]
) -> None:
    before, queued = set(ended(comet)), jobs(cluster)
    done = comet.rps("start", *options, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if code == 2:
        assert all(text in done.stderr for text in told), done.stderr
    else:
        assert any(text in done.stderr for text in told), done.stderr
    assert jobs(cluster) <= queued
    assert json.loads(comet.rps("list", "--json").stdout) == []
    new = {name: one for name, one in ended(comet).items() if name not in before}
    assert len(new) == (0 if code == 2 else 1)
    for one in new.values():
        assert one["state"] == "failed"
        assert any(text in one["reason"] for text in told), one
        assert one["cause"] == CAUSES.get(told[0], "refused"), one
        assert visit(comet.record(one["name"])["url"]).get(token=False)[0] == 410


@pytest.mark.parametrize("options", [["-A", "nobody"], ["-p", "nowhere"], ["-t", "3-00:00:00"]])
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
    """The ids of alice's jobs; one of the test before may still be ending."""
    return set(cluster.admin("squeue", "--noheader", "--user=alice", "--format=%A").split())


def ended(user: Login) -> dict[str, dict[str, Any]]:
    """All sessions of the user, by name."""
    return {one["name"]: one for one in json.loads(user.rps("list", "--all", "--json").stdout)}
