"""A scheduler's commands run in the environment that its plugin declares."""

import pytest

from rps_core import cluster
from rps_core.doctor import machine, scheduler
from rps_core.doctor.checkup import Checkup
from rps_core.hooks.manager import Plugins, this_host
from rps_core.state.store import Store
from rps_core.system import paths
from tests.stands.plugins import Distributions, distributions

__all__ = ["distributions"]

SITE = """
from rps_core.plugin import *
HERE = Cluster(name="toy", site="toy", scheduler="toy")
@hookimpl
def rps_clusters(): return [HERE]
@hookimpl
def rps_detect_cluster(): return Claim(cluster=HERE, reasons=("test",), cluster_name={name!r})
"""
SCHEDULER = """
from rps_core.plugin import *
@hookimpl
def rps_command_variables(): return CommandVariables(dropped=("TOY_",), fixed={"TOY_WORD": "fixed"})
def word(shell):
    return shell("printenv", "TOY_WORD").stdout.strip() + shell("printenv", "TOY_QUEUE").stdout.strip()
@hookimpl
def rps_cluster_name(shell): return word(shell)
@hookimpl
def rps_partitions(shell): return [word(shell)]
@hookimpl
def rps_scheduler_presence(shell): return Presence(answers=True, seen=word(shell))
@hookimpl
def rps_health_checks(): return [HealthCheck(argv=("sh", "-c", "test $TOY_WORD$TOY_QUEUE = fixed"))]
"""


@pytest.fixture(autouse=True)
def _toy(distributions: Distributions, monkeypatch: pytest.MonkeyPatch) -> None:
    distributions.install("scheduler-toy", SCHEDULER, points="scheduler.toy = {module}")
    monkeypatch.setenv("TOY_WORD", "the user's")
    monkeypatch.setenv("TOY_QUEUE", "x")
    monkeypatch.setenv("RPS_BLOCK", "scheduler.slurm,scheduler.torque,scheduler.pbs")


def test_for_a_claim_and_in_every_command(distributions: Distributions) -> None:
    distributions.install("toy", SITE.format(name="fixed"))
    here = cluster.find(None)
    reason = "its scheduler (toy) gives the cluster the name `fixed`"
    assert (here.site.cluster.name, here.reasons) == ("toy", ("test", reason))
    assert here.site.partitions(here.shell) == ["fixed"]


def test_a_claim_for_another_cluster_name_is_dropped(distributions: Distributions) -> None:
    distributions.install("toy", SITE.format(name="other"))
    plugins = Plugins.load()
    detection = plugins.detect(this_host())
    assert detection.cluster.name == "generic-toy"
    assert "fixed" in detection.reasons, "the scheduler's presence"
    assert plugins.broken == []


def test_in_the_doctor(distributions: Distributions) -> None:
    distributions.install("toy", SITE.format(name="fixed"))
    case = Checkup(None, (), Store(paths.sessions_dir()))
    findings = [*machine.detection(case), *scheduler.scheduler(case)]
    assert [found.verdict for found in findings] == ["pass", "pass"], findings
