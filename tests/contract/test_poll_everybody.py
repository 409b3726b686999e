"""Polls of all users' jobs (`rps proxy feed`) with real schedulers' answers."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest

from rps_core.jobs import Gone, JobPhase, Known, ObservedJob, Outcome, Unknown
from rps_core.schedulers.pbs import pbspro as pbs
from rps_core.schedulers.pbs import torque
from rps_core.schedulers.slurm import answers, commands
from rps_core.schedulers.slurm import plugin as slurm
from rps_core.testing import MISSING, Answer, RecordedShell, every_command
from tests.contract.transcripts import read

SLURM = read("slurm/everybody.txt")
SQUEUE = read("slurm/squeue.txt")
SACCT = read("slurm/sacct.txt")
TORQUE = read("torque/qstat.txt")
OPENPBS = read("openpbs/qstat.txt")
WRAPPERS = read("torque/slurm-wrappers.txt")
RUNS = "1234648.tscc-mgr7.local"
MARK = "\x1f0123456789abcdef\x1f"  # of the recording


@pytest.fixture
def _recorded_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "random_separator", lambda: MARK)


def slurm_shell(listed: Answer, asked: list[str], accounted: Answer) -> RecordedShell:
    queue, accounting = commands.all_users_queue(MARK), commands.all_users_accounting(asked, MARK)
    return RecordedShell({tuple(queue): listed, tuple(accounting): accounted})


@pytest.mark.usefixtures("_recorded_mark")
def test_slurm_lists_all_users_jobs_once() -> None:
    queue, accounting = commands.all_users_queue(MARK), commands.all_users_accounting([], MARK)
    assert not [word for word in queue if "user=" in word]
    assert "--allusers" in accounting
    listed, accounted = SLURM["everybody's jobs"].answer, SLURM["the same in accounting"].answer
    shell = slurm_shell(listed, ["3", "999999"], accounted)
    found = slurm.rps_poll_all_users(["1", "2", "3", "4", "999999", "x; rm"], shell)
    held, runs, over = found["1"], found["2"], found["3"]
    assert isinstance(held.status, Known)
    assert held.status.phase is JobPhase.PENDING
    assert (held.name, held.owner) == ("rps-held-random-words", "alice")
    assert isinstance(runs.status, Known)
    assert runs.status.phase is JobPhase.RUNNING
    assert runs.name == "rps-runs-random-words"
    assert isinstance(over.status, Gone)
    assert (over.status.outcome, over.name) == (Outcome.CANCELLED, "rps-cancelled-random-words")
    assert (found["4"].name, found["4"].owner) == ("thesis", "alice")
    # Purged, without evidence: nothing is concluded, and the others are still reported.
    for nothing in ("999999", "x; rm"):
        assert isinstance(found[nothing].status, Unknown)
        assert found[nothing].name is None


@pytest.mark.usefixtures("_recorded_mark")
def test_slurm_that_has_forgotten_all_but_its_accounting() -> None:
    accounted = SLURM["the same in accounting"].answer
    found = slurm.rps_poll_all_users(["3", "1"], slurm_shell(Answer(), ["3", "1"], accounted))
    assert isinstance(found["3"].status, Gone)
    assert (found["3"].name, found["3"].owner) == ("rps-cancelled-random-words", "alice")
    assert isinstance(found["1"].status, Unknown)


@pytest.mark.usefixtures("_recorded_mark")
def test_a_job_name_is_no_record_of_another_users() -> None:
    """Test bob's jobs with Slurm's separators and a forged record in their names."""
    listed = SLURM["everybody's jobs"].answer
    records = listed.stdout.split("\x1e\n")
    alices = [record for record in records if record.endswith("alice")]
    bobs = [record for record in records if record.endswith("bob")]
    assert len(bobs) == 2
    for order in (alices + bobs, bobs + alices, bobs):
        listed = replace(listed, stdout="\x1e\n".join([*order, ""]))
        shell = slurm_shell(listed, ["1", "3"], Answer())
        if order != bobs:
            shell = slurm_shell(listed, ["3"], Answer())
        found = slurm.rps_poll_all_users(["1", "3"], shell)
        status = Unknown if order == bobs else Known
        assert isinstance(found["1"].status, status)


def test_the_mark_is_another_each_time() -> None:
    assert len({answers.random_separator() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "title", ["the controller is gone", "the controller hangs", "munge is down"]
)
@pytest.mark.usefixtures("_recorded_mark")
def test_slurm_that_does_not_answer(title: str) -> None:
    shell = slurm_shell(SQUEUE[title].answer, ["10"], SACCT["a job that never was"].answer)
    assert isinstance(slurm.rps_poll_all_users(["10"], shell)["10"].status, Unknown)


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
    found = torque.rps_poll_all_users(["99999999", RUNS], shell)
    known = found[RUNS]
    assert isinstance(known.status, Known)
    assert known.status.phase is JobPhase.RUNNING
    assert (known.name, known.owner) == ("state_R", "tuser")
    forgotten = found["99999999"]
    assert isinstance(forgotten.status, kind)
    assert (forgotten.name, forgotten.owner) == (None, None)


def test_pbs_in_one_call() -> None:
    ids = ["37.tscc-mgr7.local", "999999"]
    answer = Answer(153, OPENPBS["state R"].answer.stdout, OPENPBS["unknown"].answer.stderr)
    shell = RecordedShell({"qstat -f 37 999999": answer, "qselect": Answer(0, f"{ids[0]}\n")})
    found = pbs.rps_poll_all_users(ids, shell)
    known = found[ids[0]]
    assert isinstance(known.status, Known)
    assert known.name
    assert f"Job_Name = {known.name}\n" in answer.stdout
    assert f"Job_Owner = {known.owner}@" in answer.stdout
    over = found["999999"]
    assert isinstance(over.status, Gone)
    assert (over.status.outcome, over.name) == (Outcome.ENDED, None)


def test_slurms_own_qstat() -> None:
    answer = WRAPPERS["qstat -f -1 11"].answer
    shell = RecordedShell(
        {"qstat -x 11 99": WRAPPERS["qstat -x 11"].answer, "qstat -f -1 11 99": answer,
         "qselect": MISSING}
    )  # fmt: skip
    found = torque.rps_poll_all_users(["11", "99"], shell)
    assert found["11"] == ObservedJob(
        status=Known(phase=JobPhase.RUNNING, node="comet-14-01"),
        name="running_job_with_long_name",
        owner="alice",
    )
    assert isinstance(found["99"].status, Unknown)


@pytest.mark.parametrize("denied", [False, True])
def test_what_stands_in_anothers_attributes_is_no_record(denied: bool) -> None:
    """Test a job's environment, shown with line breaks: forged records are not read.

    Neither a second record of a job, nor one of a job that the server denies.
    """
    real = OPENPBS["state R"].answer.stdout
    forged = real.replace("job_state = R", "job_state = Q").replace("Job Id: 37.", "Job Id: 38.", 1)
    inside = "        X=1\n" + real.replace("job_state = R", "job_state = F")
    stderr = "qstat: Unknown Job Id 37.tscc-mgr7.local\n" if denied else ""
    answer = Answer(153 if denied else 0, forged + inside + ("" if denied else real), stderr)
    shell = RecordedShell({"qstat -f 37 38": answer, "qselect": Answer()})
    found = pbs.rps_poll_all_users(["37", "38"], shell)
    assert isinstance(found["37"].status, Unknown)
    assert isinstance(found["38"].status, Known)


@pytest.mark.parametrize("plugin", [torque, pbs])
def test_an_id_leads_to_no_invented_server(plugin: ModuleType) -> None:
    """Test ids with a server's name: qstat connects to the server in an id."""
    shell = every_command(TORQUE["unknown + known -x"].answer)
    made_up = [f"{RUNS.partition('.')[0]}.evil.example", "99999999.evil.example"]
    found = plugin.rps_poll_all_users([RUNS, *made_up], shell)
    assert not [word for call in shell.calls for word in call if "evil" in word]
    assert all(isinstance(found[job_id].status, Unknown) for job_id in made_up)
