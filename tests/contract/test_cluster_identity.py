"""The schedulers' names of their clusters, in real programs' output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from rps_core.errors import SchedulerError
from rps_core.hooks.manager import Plugins
from rps_core.models import Host
from rps_core.testing import MISSING, TIMEOUT, Answer, RecordedShell, Reply
from tests.contract.transcripts import read

SCONTROL = ("scontrol", "show", "config")
QSTAT = ("qstat", "-B", "-f")
SLURM = read("slurm/scontrol.txt")
WRAPPER = Answer(2, "", "Option B requires an argument\nUsage:\n    qstat [-f] [-a|-i|-r]\n")
CONFIGURED = "ClusterName             = cluster\n"


def identity(cluster: str, answers: Mapping[Any, Reply]) -> str | None:
    plugins = Plugins.load()
    (found,) = [one for one in plugins.clusters() if one.name == cluster]
    answer = plugins.site(found).identity(RecordedShell(dict(answers)))
    assert plugins.broken == []
    return answer


SITES = {"torque": "generic-torque", "openpbs": "generic-pbs"}
SERVER, LONG = "Server: tscc-mgr7.local\n", f"{'m' * 60}.hpc.example.org"
ANSWERS = (
    # A banner of the site's wrapper, and an attribute that contains the word.
    ((SERVER, f"NOTICE: maintenance on Monday\n\n{SERVER}    comment = Server: other\n"), "tscc-mgr7.local"),
    ((SERVER, f"Server: z\n    server_state = Active\n\n{SERVER}"), "tscc-mgr7.local"),
    ((SERVER, f"Server: {LONG}\n"), LONG),
    ((SERVER, f"Server: {LONG[:70]}\n\t{LONG[70:]}\n"), LONG),
    (("\n", "\r\n"), "tscc-mgr7.local"),
)  # fmt: skip


def changed(product: str, old: str, new: str) -> Answer:
    """Return the recorded answer, with one change."""
    recorded = read(f"{product}/server.txt")["the server"].answer
    assert old in recorded.stdout
    return replace(recorded, stdout=recorded.stdout.replace(old, new))


@pytest.mark.parametrize(
    ("cluster", "command", "reply", "expected"),
    [
        ("generic", SCONTROL, SLURM["the configuration"].answer, "comet@comet-mgr"),
        # Before 18.08; and one whose backup is in charge.
        ("generic", SCONTROL, Answer(0, f"{CONFIGURED}ControlMachine          = mgr\n"), "cluster@mgr"),
        (
            "generic",
            SCONTROL,
            Answer(0, f"{CONFIGURED}SlurmctldHost[0]        = a\nSlurmctldHost[1]        = b\n"),
            "cluster@a",
        ),
        ("generic", SCONTROL, Answer(0, CONFIGURED), None),
        ("generic-torque", QSTAT, read("torque/server.txt")["the server"].answer, "tscc-mgr7.local"),
        *((SITES[product], QSTAT, changed(product, *change), expected)
          for product in ("torque", "openpbs") for change, expected in ANSWERS),
        ("generic-pbs", QSTAT, read("openpbs/server.txt")["the server"].answer, "tscc-mgr7.local"),
    ],
)  # fmt: skip
def test_the_identity_is_the_schedulers_own(
    cluster: str, command: tuple[str, ...], reply: Reply, expected: str | None
) -> None:
    assert identity(cluster, {command: reply}) == expected


@pytest.mark.parametrize(
    ("cluster", "command", "reply", "words"),
    [
        ("generic", SCONTROL, SLURM["the controller is gone"].answer, "Unable to contact"),
        ("generic-torque", QSTAT, read("torque/qstat-q.txt")["the server is gone"].answer, "cannot connect"),
        ("generic-torque", QSTAT, WRAPPER, "Option B"),
        ("generic-pbs", QSTAT, read("openpbs/qstat-q.txt")["the server is gone"].answer, "cannot connect"),
        *((name, command, reply, ".") for name, command in (("generic", SCONTROL), ("generic-pbs", QSTAT))
          for reply in (MISSING, TIMEOUT, Answer(0, "", ""))),
    ],
)  # fmt: skip
def test_without_an_answer_the_words_are_the_schedulers(
    cluster: str, command: tuple[str, ...], reply: Reply, words: str
) -> None:
    with pytest.raises(SchedulerError, match=words):
        identity(cluster, {command: reply})


def test_this_machine_has_none() -> None:
    """The id of a process under a supervisor names its host."""
    assert identity("local", {}) is None


def test_an_answer_is_kept_and_none_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """None within the same round: each session would wait for the timeout."""
    plugins = Plugins.load()
    (found,) = [one for one in plugins.clusters() if one.name == "generic"]
    site = plugins.site(found)
    shell = RecordedShell({SCONTROL: [TIMEOUT, SLURM["the configuration"].answer]})
    clock = [100.0]
    monkeypatch.setattr("rps_core.hooks.site.time", SimpleNamespace(monotonic=lambda: clock[0]))
    for _ in range(3):
        with pytest.raises(SchedulerError):
            site.identity(shell)
    assert len(shell.calls) == 1
    clock[0] += 10
    assert [site.identity(shell) for _ in range(2)] == ["comet@comet-mgr"] * 2
    assert len(shell.calls) == 2


@pytest.mark.parametrize("name", ["tscc-mgr7.local", "other"])
def test_a_claim_can_depend_on_the_server_of_torque(
    name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sites = tmp_path / "rps" / "sites"
    sites.mkdir(parents=True)
    (sites / "here.yaml").write_text(f"scheduler: torque\ndetect: {{cluster_name: {name}}}\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    answer = read("torque/server.txt")["the server"].answer
    shell = RecordedShell({QSTAT: answer})
    monkeypatch.setattr("rps_core.hooks.manager.bound", lambda *_: shell)
    plugins = Plugins.load()
    claims = plugins.detect(Host(hostname="x", fqdn="x", commands={}), wanted="local").claims
    assert [claim.cluster.name for claim in claims] == (["here"] if name != "other" else [])
    for claim in claims:  # its answer is the identity as well: one command for both
        assert plugins.site(claim.cluster).identity(shell) == "tscc-mgr7.local"
    assert shell.calls == [QSTAT]


def hosts(cluster: str, answers: Mapping[Any, Reply]) -> list[str]:
    plugins = Plugins.load()
    (found,) = [one for one in plugins.clusters() if one.name == cluster]
    return plugins.site(found).cluster_hosts(RecordedShell(dict(answers)))


SINFO = ("sinfo", "--noheader", "--Node", "--responding", "--format=%o")
NODES = read("torque/pbsnodes.txt")["the nodes"].answer


@pytest.mark.parametrize(
    ("cluster", "answers", "expected"),
    [
        # A node is in two partitions; a site's wrapper greets.
        ("generic", {SINFO: Answer(0, "Welcome to Comet\n10.77.0.101\n10.77.0.101\n10.77.0.102\n"),
                     SCONTROL: SLURM["the configuration"].answer},
         ["10.77.0.101", "10.77.0.102", "10.22.0.2"]),
        ("generic", {SINFO: Answer(0, ""), SCONTROL: Answer(0, "SlurmctldHost[0]        = mgr(10.77.0.2)\n")},
         ["10.77.0.2"]),
        ("generic", {SINFO: Answer(0, ""), SCONTROL: Answer(0, "ControlAddr             = mgr-ib\n")},
         ["mgr-ib"]),
        ("generic", {SINFO: Answer(0, "node1\n"), SCONTROL: SLURM["the controller is gone"].answer},
         ["node1"]),
        *((name, {("pbsnodes", "-a"): NODES, QSTAT: read("torque/server.txt")["the server"].answer},
           ["tscc-5-1.local", "tscc-mgr7.local"]) for name in ("generic-torque", "generic-pbs")),
        ("generic-torque", {("pbsnodes", "-a"): NODES, QSTAT: WRAPPER}, ["tscc-5-1.local"]),
        ("local", {}, []),
    ],
)  # fmt: skip
def test_the_clusters_hosts_are_nodes_then_controllers(
    cluster: str, answers: Mapping[Any, Reply], expected: list[str]
) -> None:
    assert hosts(cluster, answers) == expected
