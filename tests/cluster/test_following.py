"""Each phase of a session: why it waits, what a terminal shows, why it ended."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.cluster.conftest import Login
from tests.cluster.lab import ALICE, BOB, Cluster
from tests.cluster.network import ADDRESSES, NODES, SITES
from tests.cluster.services import Service
from tests.cluster.terminal import Terminal
from tests.cluster.test_faults import over
from tests.cluster.test_sites import WRITE_TRANSCRIPTS
from tests.cluster.transcript import Transcript
from tests.conftest import PROJECT
from tests.stands.waiting import until

OFTEN = "scheduler.poll_interval=2"


def why(user: Login, name: str) -> dict[str, Any]:
    """Return the output of `rps why --json`."""
    found: dict[str, Any] = json.loads(user.rps("why", name, "--json").stdout)
    return found


def lines_of(answer: dict[str, Any], source: str) -> str:
    """Return the evidence from one source."""
    return "\n".join(one["line"] for one in answer["evidence"] if one["source"] == source)


def is_in_the_accounting(login: Login, name: str) -> bool:
    """Return whether the accounting has a session's job as failed."""
    return "State=FAILED" in lines_of(why(login, name), "sacct")


@pytest.fixture
def full(cluster: Cluster) -> Iterator[str]:
    """Fill both nodes with a job of bob's; return its id."""
    command = ["sbatch", "--parsable", "--nodes=2", "--exclusive", "--time=20", "--wrap=sleep 900"]
    done = cluster.hosts["comet-ln2"].run(command, BOB, capture_output=True, check=True)
    job = done.stdout.strip()

    def runs() -> bool:
        shown = cluster.admin("squeue", "--noheader", f"--jobs={job}", "--format=%T").strip()
        return shown == "RUNNING"

    until(runs, "bob's job")
    yield job
    # First what waits for its end: jobs that start together and are cancelled at once can fail within slurmd
    # (it waits 6 s for REQUEST_LAUNCH_PROLOG), which drains the node.
    cluster.admin("scancel", f"--user={ALICE.name}", "--state=PENDING")
    cluster.admin("scancel", job)

    def ended() -> bool:
        listed = cluster.admin("squeue", "--noheader", f"--user={BOB.name}", "--format=%A")
        return job not in listed.split()

    # Do not wait for idle nodes: other sessions may have started.
    until(ended, "the end of bob's job")


@contextmanager
def limited(cluster: Cluster, account: str) -> Iterator[None]:
    """Limit alice to no running jobs on this account, for the length of the block."""
    modify = [
        "sacctmgr",
        "--immediate",
        "modify",
        "user",
        "alice",
        "where",
        f"account={account}",
        "set",
    ]
    cluster.admin(*modify, "MaxJobs=0")
    try:
        yield
    finally:
        cluster.admin(*modify, "MaxJobs=-1")


def test_why_a_job_waits(comet: Login, cluster: Cluster, full: str) -> None:
    """Test each of the common reasons, all at once; and the word for it in the list."""

    def start(*options: str) -> dict[str, Any]:
        done = comet.rps("start", "--no-wait", "--json", *options)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    held = start("--extra=--hold")
    started = {
        "held": held,
        "dependency": start(f"--extra=--dependency=afterok:{held['job_id']}"),
        "begin-time": start("--extra=--begin=now+1hour"),
        "resources": start(),
        "priority": start(),
    }
    with limited(cluster, "xyz789"):
        started["queue-limit"] = start("-A", "xyz789")
        cluster.admin("scontrol", "update", "PartitionName=debug", "State=DOWN")
        try:
            started["partition-down"] = start("-p", "debug", "-t", "5")
            wanted = {one["name"]: cause for cause, one in started.items()}
            found: dict[str, str] = {}

            def all_shown() -> bool:
                listed = json.loads(comet.rps("list", "--json").stdout)
                found.update({one["name"]: one["cause"] for one in listed})
                return found == wanted

            try:
                until(all_shown, "each cause")
            except AssertionError:
                assert found == wanted
            limit = why(comet, started["queue-limit"]["name"])
        finally:
            cluster.admin("scontrol", "update", "PartitionName=debug", "State=UP")
    assert "Reason=AssocMaxJobsLimit" in lines_of(limit, "scontrol")
    assert "rps stop" in limit["advice"]
    waits = why(comet, started["dependency"]["name"])
    assert f"Dependency=afterok:{held['job_id']}" in lines_of(waits, "scontrol")
    first = comet.status(started["resources"]["name"])
    assert first["raw_reason"] == "Resources"
    assert first["estimated_start"] is not None  # bob's twenty minutes
    release = f"`scontrol release {held['job_id']}` releases it."
    assert why(comet, held["name"])["advice"] == release
    assert release in comet.rps("status", held["name"]).stdout
    table = comet.rps("list").stdout
    assert re.search(rf"{held['name']} +pending +held +comet ", table)


def test_followed_through_every_phase_while_the_controller_comes_and_goes(
    comet: Login, cluster: Cluster, full: str, request: pytest.FixtureRequest
) -> None:
    """Test a terminal of 60 columns; its screens are recorded in docs/transcripts/."""
    page = Transcript(
        "Comet, followed in a terminal",
        request.node.nodeid,
        "Slurm is Debian's, and its controller is stopped and started again on the way.",
        comet.clone,
    )
    home = cluster.home / "alice"
    prologue = home / "wait.sh"
    # With a prologue, Jupyter is found in the environment that it sets up.
    jupyter = f"export PATH={comet.clone}/.venv/bin:$PATH\n"
    prologue.write_text(f"{jupyter}until [ -e ~/go-on ]; do sleep 0.2; done\n")
    os.chown(prologue, comet.account.uid, comet.account.uid)
    controller = cluster.slurm.controller
    seen: list[tuple[str, str]] = []
    with Terminal(comet.host, comet.account, comet.clone, 60, 24) as terminal:

        def keep(sentence: str, screen: str) -> None:
            seen.append((sentence, screen))

        terminal.type(f"rps start --prologue wait.sh --set {OFTEN}")
        keep(
            "All nodes are in use.",
            terminal.until(r"\[queued\].*\(Resources\) estimated start \d\d:\d\d"),
        )
        with controller.down():
            silent = r"\[queued\].*the scheduler has not answered since \d\d:\d\d: squeue does not answer"
            keep("The controller is stopped.", terminal.until(silent))
        terminal.until(r"\(Resources\)", without="has not answered")
        terminal.press("C-c")
        keep(
            "The controller runs again. Ctrl-C ends only the command, not the job.",
            terminal.until("continues. `rps status"),
        )
        (found,) = json.loads(comet.rps("list", "--json").stdout)
        name = found["name"]
        token = json.loads((comet.sessions / name / "claim.json").read_text())["token"]

        terminal.type("rps why")
        keep("Why does it wait?", terminal.until(rf"{name} is pending: resources .*What to do"))
        terminal.type(f"rps status --watch --set {OFTEN}")
        cluster.admin("scancel", full)
        keep(
            "The nodes are free; `--watch` follows the session until it ends.",
            terminal.until(r"\[starting\].* left"),
        )
        with controller.down():
            terminal.until(r"\[starting\].*the scheduler has not answered since")
            (home / "go-on").touch()
            try:
                ready = terminal.until(r"\[ready\].*the scheduler has not answered since")
            except AssertionError as error:
                log = (comet.sessions / name / "job.log").read_text()
                raise AssertionError(f"{error}\n{log}") from None
            keep("The controller is stopped again; the notebook becomes ready nevertheless.", ready)
        keep(
            "The controller runs again.",
            terminal.until(r"\[ready\].* left", without="has not answered"),
        )

        cluster.admin(
            "sacctmgr", "--immediate", "modify", "user", "bob", "set", "AdminLevel=Operator"
        )
        try:
            cancel = ["scancel", found["job_id"]]
            until(
                lambda: comet.host.run(cancel, BOB, capture_output=True).returncode == 0,
                "bob's word",
                30,
            )
        finally:
            cluster.admin(
                "sacctmgr", "--immediate", "modify", "user", "bob", "set", "AdminLevel=None"
            )
        ended = terminal.until(r"ended \(cancelled\): it was cancelled")
        keep("Bob, an operator, cancels it.", ended)
        # Accounting may learn of it a moment later than the controller.
        by_bob = re.compile(r"State=CANCELLED by bob \(uid \d+\)").search
        until(lambda: bool(by_bob(lines_of(why(comet, name), "sacct"))), "accounting")
        terminal.type("rps why")
        keep("Why has it ended?", terminal.until("sacct .*CANCELLED by bob"))
    for left in (prologue, home / "go-on"):
        left.unlink()
    assert why(comet, name)["cause"] == "cancelled"
    for sentence, screen in seen:
        page.say(sentence)
        page.screen(screen, token)
    if WRITE_TRANSCRIPTS:
        page.write(PROJECT / "docs" / "transcripts" / "following.md")


def test_what_is_missing_on_the_node_is_named(comet: Login) -> None:
    """Test a missing module, and a Jupyter that only the login node has."""
    for program_file in ("jupyter", "jupyter-lab"):
        alone = comet.host.directory / program_file  # on the host's own disk, /srv
        alone.write_text("#!/bin/sh\n")
        alone.chmod(0o755)
    start = ("start", "--no-wait", "--json")
    module = json.loads(comet.rps(*start, "--modules", "no-such/1.0").stdout)
    program = json.loads(comet.rps(*start, "--set", "notebook.jupyter=/srv/jupyter").stdout)
    for one, cause, source, message in (
        (
            module,
            "no-module",
            "job.log",
            "rps: there is no module command to load no-such/1.0 with",
        ),
        (program, "no-jupyter", "agent", "There is no program `/srv/jupyter` on this node"),
    ):
        shown = over(comet, one["name"])
        assert (shown["state"], shown["cause"]) == ("failed", cause)
        answer = why(comet, one["name"])
        assert message in lines_of(answer, source)
        recorded = partial(is_in_the_accounting, comet, one["name"])
        until(recorded, "the accounting's record")  # slurmctld sends it after the job's end


def test_a_node_that_cannot_reach_the_service_is_reported_and_waited_for(
    comet: Login, cluster: Cluster
) -> None:
    routes = [
        (cluster.hosts[node], ["unreachable", f"{address}/32"])
        for node in NODES
        for address in ADDRESSES["proxy"]
    ]
    for host, route in routes:
        host.run(["ip", "route", "add", *route], check=True, capture_output=True)
    try:
        started = json.loads(comet.rps("start", "--no-wait", "--json").stdout)
        name = started["name"]
        answer: dict[str, Any] = {}

        def warned() -> bool:
            answer.update(why(comet, name))
            return str(answer["cause"]) == "proxy-unreachable"

        until(warned, "the agent's word")
        assert answer["state"] == "starting"
        assert "service-away: " in lines_of(answer, "agent")
    finally:
        for host, route in routes:
            host.run(["ip", "route", "del", *route], check=True, capture_output=True)
    waited = comet.rps("wait", name, "--timeout", "2")
    assert waited.stdout.startswith(f"https://{name}.")
    assert f"{name}: ready" in waited.stderr


def test_the_service_is_away_while_a_session_is_followed(
    comet: Login, cluster: Cluster, services: dict[str, Service]
) -> None:
    """Test the plain lines of a script: since when it is away, until it is back."""
    held = json.loads(comet.rps("start", "--no-wait", "--json", "--extra=--hold").stdout)
    said = cluster.home / "alice" / "said"
    command = f"exec {comet.clone}/rps wait --set {OFTEN} 2>~/said"
    following = comet.host.popen(["sh", "-c", command], comet.account, stdout=subprocess.PIPE)

    def says(words: str) -> None:
        until(lambda: said.exists() and bool(re.search(words, said.read_text())), words)

    release = rf"`scontrol release {held['job_id']}` releases it"
    says(rf"you hold it \(JobHeldUser\); {release}\n")
    with services[SITES["comet"]].daemon.down():
        says(rf"you hold it .*{release}; the service has not answered since \d\d:\d\d: ")
    comet.run("scontrol", "release", held["job_id"])
    url, _ = following.communicate(timeout=90)
    assert following.returncode == 0
    assert url.startswith(f"https://{held['name']}.")
    lines = [line for line in said.read_text().splitlines() if line.startswith(held["name"])]
    # The message may change from a lost connection to a refused one.
    assert 1 <= sum("the service has not answered" in line for line in lines) <= 3
    assert lines[-1] == f"{held['name']}: ready"
    said.unlink()
