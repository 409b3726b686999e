"""Polls of anybody's jobs, for `rps proxy feed`, against what real schedulers answered."""

from __future__ import annotations

from types import ModuleType

import pytest

from rps_core.models import Gone, JobPhase, Known, Outcome, Unknown
from rps_core.schedulers import pbs, slurm, torque
from rps_core.schedulers import slurm_commands as commands
from rps_core.testing import MISSING, Answer, RecordedShell, every_command
from tests.contract.transcripts import read

SQUEUE = read("slurm/squeue.txt")
SACCT = read("slurm/sacct.txt")
TORQUE = read("torque/qstat.txt")
OPENPBS = read("openpbs/qstat.txt")
RUNS = "1234648.tscc-mgr7.local"


def test_slurm_lists_all_users_jobs_once() -> None:
    queue = commands.queue(everybody=True)
    assert not [word for word in queue if "user" in word]
    accounting = commands.accounting(["999999"], everybody=True)
    assert "--allusers" in accounting
    listed = SQUEUE["jobs of all kinds"].answer
    nothing = SACCT["a job that never was"].answer
    shell = RecordedShell({tuple(queue): listed, tuple(accounting): nothing})
    found = slurm.rps_poll_everybody(["10", "11", "999999", "x; rm"], shell)
    assert isinstance(found["10"], Known)
    assert isinstance(found["11"], Gone)
    # Purged, and nobody's word on it: nothing is concluded, and it costs the others nothing.
    assert isinstance(found["999999"], Unknown)
    assert isinstance(found["x; rm"], Unknown)


@pytest.mark.parametrize(
    "title", ["the controller is gone", "the controller hangs", "munge is down"]
)
def test_slurm_that_does_not_answer(title: str) -> None:
    shell = RecordedShell({tuple(commands.queue(everybody=True)): SQUEUE[title].answer})
    assert isinstance(slurm.rps_poll_everybody(["10"], shell)["10"], Unknown)


@pytest.mark.parametrize(
    ("qselect", "kind"),
    [
        (Answer(0, f"{RUNS}\n"), Gone),
        (Answer(0, "99999999.other-name\n"), Unknown),  # renamed, say
        (Answer(1, "", "qselect: cannot connect"), Unknown),
        (MISSING, Unknown),
    ],
)
def test_torque_and_a_job_that_it_has_forgotten(qselect: Answer, kind: type) -> None:
    recorded = TORQUE["unknown + known -x"]
    asked = ("qstat", "-x", "99999999", RUNS.partition(".")[0])
    shell = RecordedShell({asked: recorded.answer, "qselect": qselect})
    found = torque.rps_poll_everybody(["99999999", RUNS], shell)
    known = found[RUNS]
    assert isinstance(known, Known)
    assert known.phase is JobPhase.RUNNING
    assert isinstance(found["99999999"], kind)


def test_pbs_in_one_call() -> None:
    ids = ["37.tscc-mgr7.local", "999999"]
    answer = Answer(153, OPENPBS["state R"].answer.stdout, OPENPBS["unknown"].answer.stderr)
    shell = RecordedShell({"qstat -xf 37 999999": answer, "qselect": Answer(0, f"{ids[0]}\n")})
    found = pbs.rps_poll_everybody(ids, shell)
    assert isinstance(found[ids[0]], Known)
    over = found["999999"]
    assert isinstance(over, Gone)
    assert over.outcome is Outcome.ENDED


@pytest.mark.parametrize("plugin", [torque, pbs])
def test_an_id_leads_to_no_server_that_somebody_made_up(plugin: ModuleType) -> None:
    """Whoever has a session says what its job's id is, and qstat connects to the server in an id."""
    shell = every_command(TORQUE["unknown + known -x"].answer)
    made_up = [f"{RUNS.partition('.')[0]}.evil.example", "99999999.evil.example"]
    found = plugin.rps_poll_everybody([RUNS, *made_up], shell)
    assert not [word for call in shell.calls for word in call if "evil" in word]
    assert all(isinstance(found[job_id], Unknown) for job_id in made_up)
