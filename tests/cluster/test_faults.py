"""Whatever happens to a job or to Slurm: state and reason are true, and no route outlives its job."""

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
from tests.cluster.daemons import wait_for
from tests.cluster.lab import BOB, Cluster
from tests.cluster.network import NODES
from tests.cluster.visitor import OutsideVisitor

Visit = Callable[[str], OutsideVisitor]
ROUTE_GONE = 60  # seconds within which it must be


def closed(visitor: OutsideVisitor) -> bool:
    """Whether the route is gone: the service says so, in place of passing the question on.

    That the notebook does not answer (502, 504) would not be enough.
    """
    return visitor.get("/api/status")[0] in (410, 503)


def over(user: Login, name: str) -> dict[str, Any]:
    """The session, once it is over."""
    found: list[dict[str, Any]] = []

    def is_over() -> bool:
        found[:] = [user.status(name)]
        return found[0]["state"] in ("ended", "failed")

    wait_for(f"the end of {name}", is_over, 60)
    return found[0]


def last_events(user: Login, name: str) -> dict[str, dict[str, Any]]:
    """The last event of each name that the session's agent wrote."""
    lines = (user.sessions / name / "events.jsonl").read_text().splitlines()
    return {one["event"]: one for one in map(json.loads, lines)}


def jobs(cluster: Cluster, user: str = "alice") -> list[str]:
    """The ids of the user's jobs that have not ended."""
    return cluster.admin("squeue", "--noheader", f"--user={user}", "--format=%A").split()


@dataclass(frozen=True)
class Beside:
    """Sessions of bob's that take their time, beside the other tests."""

    bob: Login
    short: dict[str, Any]  # its walltime is three minutes, with a warning before; Slurm ends it
    orderly: dict[str, Any]  # three minutes, and it ends itself in good order
    moved: dict[str, Any]  # three minutes, but an operator gave it more
    suspended: dict[str, Any]  # its job was suspended as soon as it was ready


@pytest.fixture(scope="module", autouse=True)
def beside(cluster: Cluster, services: Any, installed: Any) -> Iterator[Beside]:
    """Starts them."""
    bob = Login.on(cluster, "comet-ln2", BOB, installed.directory)
    by_slurm = ("--set", "scheduler.warn_before=20", "--set", "notebook.shutdown_before=0")
    short = bob.started("-t", "3", *by_slurm)
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
    """It is frozen while sbatch waits for it: one job comes of it, not two, and the session is its."""
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
    """Nobody can know what became of the job; if there is one after all, it ends without a route."""
    with cluster.slurm.controller.frozen():
        done = comet.rps("start", check=False)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot be found out" in done.stderr
    record = newest(comet)
    assert record["state"] == "failed"
    assert closed_name(comet, visit, record["name"])
    wait_for("the end of a job that was not to be", lambda: jobs(cluster) == [], 60)


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
    wait_for("the end of the job", lambda: jobs(cluster) == [], 60)
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
    """Slurm goes on without, and so does rps; the account is then the one that Slurm takes itself."""
    with cluster.slurm.accounting.down():
        found = comet.started()
        shown = cluster.admin("scontrol", "show", "job", found["job_id"])
        assert "Account=abc123" in shown
        comet.rps("stop", found["name"])
        wait_for("the end of the job", lambda: jobs(cluster) == [], 60)
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
    assert "JobHeldUser" not in shown["reason"], shown  # why it waited is not why it ended
    assert closed_name(comet, visit, name)


def test_an_administrator_cancels_a_running_job(
    comet: Login, cluster: Cluster, visit: Visit
) -> None:
    found = comet.started()
    visitor = visit(found["url"])
    cluster.admin("scancel", found["job_id"])
    wait_for("the route's end", lambda: closed(visitor), ROUTE_GONE)
    shown = over(comet, found["name"])
    assert (shown["state"], shown["cause"]) == ("ended", "cancelled")
    assert re.match(r"it was cancelled (by root )?\(", shown["reason"]), shown


def test_torque_cancelled_by_an_administrator(tscc: Login, cluster: Cluster, visit: Visit) -> None:
    found = tscc.started()
    visitor = visit(found["url"])
    cluster.admin("scancel", found["job_id"].partition(".")[0])
    wait_for("the route's end", lambda: closed(visitor), ROUTE_GONE)
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
    wait_for("the end of the job", lambda: jobs(cluster) == [], 60)


def test_out_of_memory(comet: Login, visit: Visit) -> None:
    if not cgroups.usable():
        leave_out("without control groups of version 1, Slurm does not tell who ran out of memory")
    done = comet.rps("start", "--no-wait", "--json", "--set", "job.memory=40M")
    name = json.loads(done.stdout)["name"]
    shown = over(comet, name)
    assert shown["state"] == "failed"
    assert "out of memory" in shown["reason"], shown
    assert "State=OUT_OF_MEMORY" in told(comet, name, "out-of-memory")["sacct"]
    assert closed_name(comet, visit, name)


def test_preempted(comet: Login, cluster: Cluster, visit: Visit) -> None:
    found = comet.started("-p", "glean", "--set", "job.cpus=6")
    visitor = visit(found["url"])
    # More than is free on both nodes, of a partition that goes before.
    bob = cluster.hosts["comet-ln2"].run(
        ["sbatch", "--parsable", "--nodes=2", "--ntasks-per-node=4", "--wrap=sleep 600"],
        BOB, capture_output=True, check=True,
    )  # fmt: skip
    try:
        wait_for("the route's end", lambda: closed(visitor), ROUTE_GONE)
        shown = over(comet, found["name"])
    finally:
        cluster.admin("scancel", bob.stdout.strip())
    assert shown["state"] == "failed"
    assert "another job took its place" in shown["reason"], shown
    assert shown["cause"] == "preempted"


def test_the_walltime_is_over(beside: Beside, visit: Visit) -> None:
    visitor = visit(beside.short["url"])
    # Slurm looks every half minute.
    wait_for("the end of the walltime", lambda: closed(visitor), 180 + 30 + ROUTE_GONE)
    shown = over(beside.bob, beside.short["name"])
    assert shown["state"] == "ended"
    assert "walltime" in shown["reason"], shown
    lines = told(beside.bob, beside.short["name"], "time-limit")
    assert "State=TIMEOUT" in lines["sacct"]
    assert "Timelimit=00:03:00" in lines["sacct"]
    assert "DUE TO TIME LIMIT" in lines["job.log"]
    assert "time-nearly-up" in lines["agent"]
    events = last_events(beside.bob, beside.short["name"])
    warning = events["time-nearly-up"]
    # @20 comes up to a minute early; what it says is true to some seconds, and it has ended nothing.
    assert 0 <= warning["left"] <= 20 + 60 + 10, warning
    assert abs(events["started"]["time"] + 180 - warning["time"] - warning["left"]) < 15, events
    assert events["ended"]["time"] > warning["time"]
    assert events["time-left"]["left"] <= 20 + 60 + 10
    assert (events["ended"]["cause"], shown["cause"]) == ("time-limit", "time-limit")


def test_the_walltime_is_over_and_the_session_ends_in_good_order(beside: Beside) -> None:
    """Before Slurm ends it, since Slurm has just said on the node that its time is over."""
    shown = over(beside.bob, beside.orderly["name"])
    events = last_events(beside.bob, beside.orderly["name"])
    assert events["ended"]["cause"] == "time-limit", events
    assert (shown["state"], shown["cause"]) == ("ended", "time-limit"), shown
    assert "good order" in shown["reason"], shown
    assert events["ended"]["time"] - events["started"]["time"] > 180 - 18 - 10


def test_a_walltime_that_an_operator_moved_is_kept_to(beside: Beside) -> None:
    """Its notebook goes on past the walltime that was asked for, which the others have not outlived."""
    events = last_events(beside.bob, beside.moved["name"])
    asked = events["started"]["time"] + 180
    wait_for("the end of the walltime that was asked for", lambda: time.time() > asked, 180)
    shown = beside.bob.status(beside.moved["name"])
    assert shown["state"] == "ready", shown
    events = last_events(beside.bob, beside.moved["name"])
    assert "ended" not in events
    assert shown["time_left"] > 20 * 60


def test_suspended_and_resumed(beside: Beside, cluster: Cluster, visit: Visit) -> None:
    found = beside.suspended
    visitor = visit(found["url"])
    wait_for("the route's end", lambda: closed(visitor), ROUTE_GONE)
    assert beside.bob.status(found["name"])["state"] == "suspended"
    cluster.admin("scontrol", "resume", found["job_id"])
    wait_for("the route's return", lambda: not closed(visitor), 30)
    assert visitor.run_cell("print(6 * 7)") == "42\n"
    assert beside.bob.status(found["name"])["state"] == "ready"


def test_a_node_dies(comet: Login, cluster: Cluster, visit: Visit) -> None:
    found = comet.started()
    visitor = visit(found["url"])
    with cluster.node_timeout(10):
        cluster.hosts[found["node"]].end()
        try:
            wait_for("the route's end", lambda: closed(visitor), ROUTE_GONE)
            shown = over(comet, found["name"])
        finally:
            cluster.revive(found["node"])
            wait_for("the node's return", lambda: cluster.slurm.idle_nodes() == set(NODES), 60)
    assert shown["state"] == "failed"
    assert "its node failed" in shown["reason"], shown
    assert shown["cause"] == "node-failure"


def told(user: Login, name: str, cause: str) -> dict[str, str]:
    """The lines of `rps why`, by where they come from; it must say this cause."""
    found = json.loads(user.rps("why", name, "--json").stdout)
    assert found["cause"] == cause, found
    lines: dict[str, str] = {}
    for one in found["evidence"]:
        lines[one["source"]] = lines.get(one["source"], "") + one["line"] + "\n"
    return lines


def newest(user: Login) -> dict[str, Any]:
    """The session that was started last, over or not."""
    found: list[dict[str, Any]] = json.loads(user.rps("list", "--all", "--json").stdout)
    return max(found, key=lambda one: user.record(one["name"])["created"])


def closed_name(user: Login, visit: Visit, name: str) -> bool:
    """Whether the service answers for the name that it is over."""
    return visit(user.record(name)["url"]).get(token=False)[0] == 410
