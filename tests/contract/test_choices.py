"""The user's partitions, queues and allocations, as real schedulers list them."""

from __future__ import annotations

import pytest

from rps_core.errors import SchedulerError
from rps_core.schedulers.pbs import pbspro as pbs
from rps_core.schedulers.pbs import torque
from rps_core.schedulers.pbs.choices import QUEUES
from rps_core.schedulers.slurm import plugin as slurm
from rps_core.schedulers.slurm.choices import PARTITIONS, associations
from rps_core.system.user import login_name
from rps_core.testing import MISSING, TIMEOUT, Answer, RecordedShell, Replies, every_command
from tests.contract.transcripts import read

SACCTMGR = read("slurm/sacctmgr.txt")
WRAPPERS = read("torque/slurm-wrappers.txt")


def partitions(answer: Answer) -> list[str]:
    return list(slurm.rps_partitions(shell=RecordedShell({PARTITIONS: answer})))


def allocations(answer: Answer, cluster: str = "comet") -> list[str]:
    name = Answer(stdout=f"Configuration data\nClusterName             = {cluster}\n")
    replies: dict[str | tuple[str, ...], Replies] = {
        tuple(associations()): answer,
        ("scontrol", "show", "config"): name,
    }
    return list(slurm.rps_allocations(shell=RecordedShell(replies)))


def test_the_default_partition_comes_first() -> None:
    message = Answer(stdout="debug\ncompute*\ncompute*\nshared\n")
    assert partitions(message) == ["compute", "debug", "shared"]
    assert partitions(Answer(stdout="* Welcome to Comet *\n*****\ndebug\n")) == ["debug"]
    assert partitions(Answer()) == []


def test_the_accounts_of_this_cluster_alone() -> None:
    assert allocations(SACCTMGR["the associations of a user"].answer) == ["abc123", "xyz789"]
    assert allocations(SACCTMGR["the associations of a user that is not known"].answer) == []
    several = Answer(stdout="comet|abc123\nexpanse|xyz789\nexpanse|abc123\nexpanse|\n")
    assert allocations(several, "expanse") == ["xyz789", "abc123"]


@pytest.mark.parametrize("title", ["the database is gone", "munge is down"])
def test_accounting_that_is_down_is_reported(title: str) -> None:
    with pytest.raises(SchedulerError, match="sacctmgr failed: "):
        allocations(SACCTMGR[title].answer)


def test_queues_that_take_jobs() -> None:
    message = read("torque/qstat.txt")["the queues: qstat -Q"].answer
    found = list(torque.rps_partitions(shell=RecordedShell({QUEUES: message})))
    assert found == ["debug", "limited", "stopped", "interactive", "restricted", "batch"]
    message = read("openpbs/qstat.txt")["the queues: qstat -Q"].answer
    found = list(pbs.rps_partitions(shell=RecordedShell({QUEUES: message})))
    assert found[:4] == ["workq", "interactive", "batch", "debug"]
    assert "closed" not in found


def test_slurms_wrapper_lists_no_queues() -> None:
    refused = next(one.answer for one in WRAPPERS.values() if "Unknown option" in one.answer.stderr)
    assert list(torque.rps_partitions(shell=RecordedShell({QUEUES: refused}))) == []


def test_a_torque_that_is_down_is_reported() -> None:
    away = Answer(
        111, "", "qstat: cannot connect to server tscc-mgr7 (errno=111) Connection refused\n"
    )
    with pytest.raises(SchedulerError, match="Connection refused"):
        torque.rps_partitions(shell=RecordedShell({QUEUES: away}))


def test_without_gold_there_are_no_accounts() -> None:
    for reply in (MISSING, TIMEOUT):
        shell = RecordedShell({("gbalance", "-u", login_name()): reply})
        assert list(torque.rps_allocations(shell=shell)) == []
    assert list(torque.rps_allocations(shell=every_command(Answer(1)))) == []
