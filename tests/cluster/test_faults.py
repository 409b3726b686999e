"""Faults of jobs and Slurm: state and reason are true, routes end with jobs."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster import cgroups
from tests.cluster.conftest import Login, leave_out
from tests.cluster.lab import BOB, Cluster
from tests.cluster.network import NODES
from tests.cluster.visitor import OutsideVisitor
from tests.stands.waiting import until

Visit = Callable[[str], OutsideVisitor]
ROUTE_GONE = 120  # seconds, on a loaded machine


def closed(visitor: OutsideVisitor) -> bool:
    """Return whether the route is gone: the service answers in place of the notebook.

    A notebook that does not answer (502, 504) is not enough.
    """
    return visitor.get("/api/status")[0] in (410, 503)


def over(user: Login, name: str) -> dict[str, Any]:
    """Wait for the session's end, and return it."""
    found: list[dict[str, Any]] = []

    def is_over() -> bool:
        found[:] = [user.status(name)]
        return found[0]["state"] in ("ended", "failed")

    until(is_over, f"the end of {name}")
    return found[0]


def last_events(user: Login, name: str) -> dict[str, dict[str, Any]]:
    """Return the last event of each name that the session's agent wrote."""
    lines = (user.sessions / name / "events.jsonl").read_text().splitlines()
    return {one["event"]: one for one in map(json.loads, lines)}


def jobs(cluster: Cluster, user: str = "alice") -> list[str]:
    """Return the ids of the user's jobs that have not ended."""
    return cluster.admin("squeue", "--noheader", f"--user={user}", "--format=%A").split()


@dataclass(frozen=True)
class Beside:
    """Bob's sessions that take minutes, beside the other tests."""

    bob: Login
    short: dict[str, Any]  # its walltime is four minutes, with a warning before; Slurm ends it
    orderly: dict[str, Any]  # three minutes; the agent ends it before Slurm does
    moved: dict[str, Any]  # three minutes, which an operator extended
    suspended: dict[str, Any]  # its job was suspended as soon as it was ready


@pytest.fixture(scope="module", autouse=True)
def beside(cluster: Cluster, services: Any, installed: Any) -> Iterator[Beside]:
    """Start them."""
    bob = Login.new(cluster, "comet-ln2", BOB, installed.directory)
    by_slurm = ("--set", "scheduler.warn_before=60", "--set", "notebook.shutdown_before=0")
    short = bob.started("-t", "4", *by_slurm)
    orderly, moved = (
        json.loads(bob.rps("start", "--no-wait", "--json", "-t", "3").stdout) for _ in range(2)
    )
    cluster.admin("scontrol", "update", f"JobId={moved['job_id']}", "TimeLimit=30")
    found = Beside(bob, short, orderly, moved, bob.started())
    cluster.admin("scontrol", "suspend", found.suspended["job_id"])
    yield found
    bob.rps("stop", "--all")


def test_the_controller_is_down_before_the_submission(
    comet: Login, cluster: Cluster, visit: Visit
) -> None:
    with cluster.slurm.controller.down():
        done = comet.rps("start", check=False)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search("unable to contact", done.stderr, re.IGNORECASE), done.stderr
    record = newest(comet)
    assert record["state"] == "failed"
    assert "not submitted" in record["reason"]
    assert record["cause"] == "scheduler-away"
    assert closed_name(comet, visit, record["name"])
    assert jobs(cluster) == []


def test_the_controller_answers_late(comet: Login, cluster: Cluster, visit: Visit) -> None:
    """Freeze the controller during sbatch: one job results, not two, in this session."""
    controller = cluster.slurm.controller
    with controller.frozen():
        starting = comet.host.popen(
            [str(comet.clone / "rps"), "start", "--wait", "--json"], comet.account,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        time.sleep(4)  # longer than sbatch waits for an answer (MessageTimeout)
    output, errors = starting.communicate(timeout=120)
    assert starting.returncode == 0, errors
    found = json.loads(output)
    assert jobs(cluster) == [found["job_id"]]
    assert not closed(visit(found["url"]))


def test_the_controller_goes_away_for_good_during_the_submission(
    comet: Login, cluster: Cluster, visit: Visit
) -> None:
    """Stop the controller during sbatch: a job that results gets no route."""
    with cluster.slurm.controller.frozen():
        done = comet.rps("start", check=False)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert "Could not find out" in done.stderr
    record = newest(comet)
    assert record["state"] == "failed"
    assert closed_name(comet, visit, record["name"])
    until(lambda: jobs(cluster) == [], "the end of a job that was not to be")


def test_the_controller_goes_away_while_a_session_runs(
    comet: Login, cluster: Cluster, visit: Visit
) -> None:
    found = comet.started()
    visitor = visit(found["url"])
    with cluster.slurm.controller.down():
        assert comet.status(found["name"])["state"] == "ready"
        assert visitor.run_cell("print(6 * 7)") == "42\n"
        stopped = comet.rps("stop", found["name"], check=False)
        assert stopped.returncode == 5, stopped.stderr
        assert closed(visitor)
        assert comet.status(found["name"])["state"] == "ending"
    comet.rps("stop", found["name"])
    until(lambda: jobs(cluster) == [], "the end of the job")
    assert comet.status(found["name"])["state"] == "ended"


def test_a_pending_session_while_the_controller_is_down(comet: Login, cluster: Cluster) -> None:
    held = comet.rps("start", "--no-wait", "--json", "--set", 'job.directives=["--hold"]')
    name = json.loads(held.stdout)["name"]
    with cluster.slurm.controller.down():
        shown = comet.status(name)
    assert (shown["state"], shown["cause"]) == ("unknown", "scheduler-away")
    assert re.search("unable to contact", shown["reason"], re.IGNORECASE), shown
    assert comet.status(name)["state"] == "pending"


def test_the_accounting_database_is_down(comet: Login, cluster: Cluster) -> None:
    """Test that rps goes on without slurmdbd, with Slurm's own default account."""
    with cluster.slurm.accounting.down():
        found = comet.started()
        shown = cluster.admin("scontrol", "show", "job", found["job_id"])
        assert "Account=abc123" in shown
        comet.rps("stop", found["name"])
        until(lambda: jobs(cluster) == [], "the end of the job")
    assert comet.status(found["name"])["state"] == "ended"


def test_munge_is_down_on_the_login_node(comet: Login, cluster: Cluster, visit: Visit) -> None:
    with cluster.slurm.munge["comet-ln2"].down():
        done = comet.rps("start", check=False)
    assert done.returncode == 5, done.stderr
    assert "munge" in done.stderr.lower()
    assert "Traceback" not in done.stderr
    record = newest(comet)
    assert record["state"] == "failed"
    assert "munge" in record["reason"].lower(), record
    assert closed_name(comet, visit, record["name"])
    assert jobs(cluster) == []


def test_an_administrator_cancels_a_pending_job(
    comet: Login, cluster: Cluster, visit: Visit
) -> None:
    held = comet.rps("start", "--no-wait", "--json", "--set", 'job.directives=["--hold"]')
    name = json.loads(held.stdout)["name"]
    shown = comet.status(name)
    assert shown["state"] == "pending"
    assert "hold" in shown["reason"], shown
    cluster.admin("scancel", shown["job_id"])
    shown = over(comet, name)
    assert (shown["state"], shown["cause"]) == ("ended", "cancelled")
    assert re.match(r"it was cancelled (by root )?\(", shown["reason"]), shown
    # the reason it waited is not the reason it ended
    assert "JobHeldUser" not in shown["reason"], shown
    assert closed_name(comet, visit, name)


def test_an_administrator_cancels_a_running_job(
    comet: Login, cluster: Cluster, visit: Visit
) -> None:
    found = comet.started()
    visitor = visit(found["url"])
    cluster.admin("scancel", found["job_id"])
    until(lambda: closed(visitor), "the route's end", ROUTE_GONE)
    shown = over(comet, found["name"])
    assert (shown["state"], shown["cause"]) == ("ended", "cancelled")
    assert re.match(r"it was cancelled (by root )?\(", shown["reason"]), shown


def test_torque_cancelled_by_an_administrator(tscc: Login, cluster: Cluster, visit: Visit) -> None:
    found = tscc.started()
    visitor = visit(found["url"])
    cluster.admin("scancel", found["job_id"].partition(".")[0])
    until(lambda: closed(visitor), "the route's end", ROUTE_GONE)
    shown = over(tscc, found["name"])
    assert shown["state"] == "ended"
    assert shown["reason"]


def test_torque_without_its_controller(tscc: Login, cluster: Cluster) -> None:
    held = tscc.rps("start", "--no-wait", "--json", "--set", 'job.directives=["-h"]')
    name = json.loads(held.stdout)["name"]
    assert tscc.status(name)["state"] == "pending"
    with cluster.slurm.controller.down():
        assert tscc.status(name)["state"] == "unknown"
        assert tscc.rps("start", check=False).returncode == 5
    assert tscc.status(name)["state"] == "pending"
    tscc.rps("stop", name)
    until(lambda: jobs(cluster) == [], "the end of the job")


def test_out_of_memory(comet: Login, visit: Visit) -> None:
    if not cgroups.usable():
        leave_out("without control groups of version 1, Slurm cannot detect jobs out of memory")
    done = comet.rps("start", "--no-wait", "--json", "--set", "job.memory=40M")
    name = json.loads(done.stdout)["name"]
    shown = over(comet, name)
    assert shown["state"] == "failed"
    assert "out of memory" in shown["reason"], shown
    assert "State=OUT_OF_MEMORY" in reasons(comet, name, "out-of-memory")["sacct"]
    assert closed_name(comet, visit, name)


def test_preempted(comet: Login, cluster: Cluster, visit: Visit) -> None:
    found = comet.started("-p", "glean", "--set", "job.cpus=6")
    visitor = visit(found["url"])
    # More than is free on both nodes, in a partition of higher priority.
    bob = cluster.hosts["comet-ln2"].run(
        ["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=4", "--wrap=sleep 600"],
        BOB, capture_output=True, check=True,
    )  # fmt: skip
    try:
        until(lambda: closed(visitor), "the route's end", ROUTE_GONE)
        shown = over(comet, found["name"])
    finally:
        cluster.admin("scancel", bob.stdout.strip())
    assert shown["state"] == "failed"
    assert "another job took its place" in shown["reason"], shown
    assert shown["cause"] == "preempted"


def test_the_walltime_is_over(beside: Beside, visit: Visit) -> None:
    visitor = visit(beside.short["url"])
    # Slurm checks every 30 seconds.
    until(lambda: closed(visitor), "the end of the walltime", 240 + 30 + ROUTE_GONE)
    shown = over(beside.bob, beside.short["name"])
    assert shown["state"] == "ended"
    assert "walltime" in shown["reason"], shown
    lines = reasons(beside.bob, beside.short["name"], "time-limit")
    assert "State=TIMEOUT" in lines["sacct"]
    assert "Timelimit=00:04:00" in lines["sacct"]
    assert "DUE TO TIME LIMIT" in lines["job.log"]
    assert "time-nearly-up" in lines["agent"]
    events = last_events(beside.bob, beside.short["name"])
    warning = events["time-nearly-up"]
    # @60 arrives up to a minute early; its text is right to some seconds, and it ends nothing. The
    # agent then has at least a minute to ask Slurm for the time left: a loaded machine answers slowly.
    assert 0 <= warning["left"] <= 60 + 60 + 10, warning
    assert abs(events["started"]["time"] + 240 - warning["time"] - warning["left"]) < 15, events
    assert events["ended"]["time"] > warning["time"]
    assert events["time-left"]["left"] <= 60 + 60 + 10
    assert (events["ended"]["cause"], shown["cause"]) == ("time-limit", "time-limit")


def test_the_walltime_is_over_and_the_session_ends_in_good_order(beside: Beside) -> None:
    """Test that the agent ends first, after asking Slurm for the time left."""
    shown = over(beside.bob, beside.orderly["name"])
    events = last_events(beside.bob, beside.orderly["name"])
    assert events["ended"]["cause"] == "time-limit", events
    assert (shown["state"], shown["cause"]) == ("ended", "time-limit"), shown
    assert "saved and ended" in shown["reason"], shown
    assert events["ended"]["time"] - events["started"]["time"] > 180 - 18 - 10


def test_a_walltime_that_an_operator_moved_is_kept_to(beside: Beside) -> None:
    """Test that a notebook runs past its original walltime, unlike the others."""
    events = last_events(beside.bob, beside.moved["name"])
    asked = events["started"]["time"] + 180
    until(lambda: time.time() > asked, "the end of the walltime that was asked for", 180)
    shown = beside.bob.status(beside.moved["name"])
    assert shown["state"] == "ready", shown
    events = last_events(beside.bob, beside.moved["name"])
    assert "ended" not in events
    assert shown["time_left"] > 20 * 60


def test_suspended_and_resumed(beside: Beside, cluster: Cluster, visit: Visit) -> None:
    found = beside.suspended
    visitor = visit(found["url"])
    until(lambda: closed(visitor), "the route's end", ROUTE_GONE)
    assert beside.bob.status(found["name"])["state"] == "suspended"
    cluster.admin("scontrol", "resume", found["job_id"])
    until(lambda: not closed(visitor), "the route's return")
    assert visitor.run_cell("print(6 * 7)") == "42\n"
    assert beside.bob.status(found["name"])["state"] == "ready"


def test_a_node_dies(comet: Login, cluster: Cluster, visit: Visit) -> None:
    found = comet.started()
    visitor = visit(found["url"])
    with cluster.node_timeout(10):
        cluster.hosts[found["node"]].end()
        try:
            until(lambda: closed(visitor), "the route's end", ROUTE_GONE)
            shown = over(comet, found["name"])
        finally:
            cluster.revive(found["node"])
            until(lambda: cluster.slurm.idle_nodes() == set(NODES), "the node's return")
    assert shown["state"] == "failed"
    assert "its node failed" in shown["reason"], shown
    assert shown["cause"] == "node-failure"


def reasons(user: Login, name: str, cause: str) -> dict[str, str]:
    """Return the lines of `rps why`, by source; check that it reports this cause."""
    found = json.loads(user.rps("why", name, "--json").stdout)
    assert found["cause"] == cause, found
    lines: dict[str, str] = {}
    for one in found["evidence"]:
        lines[one["source"]] = lines.get(one["source"], "") + one["line"] + "\n"
    return lines


def newest(user: Login) -> dict[str, Any]:
    """Return the session that was started last, whether or not it has ended."""
    found: list[dict[str, Any]] = json.loads(user.rps("list", "--all", "--json").stdout)
    return max(found, key=lambda one: user.record(one["name"])["created"])


def closed_name(user: Login, visit: Visit, name: str) -> bool:
    """Return whether the service answers for the name that its session has ended."""
    return visit(user.record(name)["url"]).get(token=False)[0] == 410
