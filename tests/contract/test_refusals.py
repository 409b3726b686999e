"""A refusal shows the scheduler's whole message; the hint depends on its code."""

from __future__ import annotations

from pathlib import Path

import pytest

from rps_core.errors import SchedulerError
from rps_core.models import Submitted
from rps_core.schedulers.pbs import pbspro, torque
from rps_core.schedulers.pbs.directives import job_name
from rps_core.schedulers.slurm import commands, refusals
from rps_core.schedulers.slurm import plugin as slurm
from rps_core.schedulers.slurm.answers import RECORD, TAG_FORMAT, UNIT
from rps_core.system.user import login_name
from rps_core.testing import Answer, RecordedShell
from tests.contract import test_slurm

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = f"{FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)\n"
# A banner as TACC's, whose filter prints it on stdout for each submission.
BANNER = """
-----------------------------------------------------------------
          Welcome to the Lonestar 5 Supercomputer
-----------------------------------------------------------------

--> Verifying valid submit host (login1)...OK
--> Checking available allocation (abc123)...FAILED
    Your project has used up its hours.
=================================================================
"""


def refused(product: str, answer: Answer, directory: Path) -> SchedulerError:
    with pytest.raises(SchedulerError) as caught:
        submitted(product, answer, directory)
    return caught.value


def submitted(product: str, answer: Answer, directory: Path) -> Submitted:
    spec = test_slurm.TestSlurm().spec(directory)
    name = job_name(spec.name)
    shell = RecordedShell({f"qselect -u x -N {name}": Answer()}, default=answer)
    script = directory / "batch.sh"
    if product == "slurm":
        return slurm.rps_submit(spec, script, shell)
    if product == "torque":
        return torque.rps_submit(spec, script, shell)
    return pbspro.rps_submit(spec, script, shell)


@pytest.mark.parametrize(
    ("product", "answer", "said"),
    [
        # job_submit.lua: slurm.log_user() of two lines (src/sbatch/sbatch.c, print_multi_line_string)
        ("slurm", Answer(1, "", "sbatch: error: ==========\nsbatch: error: Project abc123 is closed.\n"
                         "sbatch: error: See https://hpc.example/abc\nsbatch: error: ==========\n"
                         f"{FAILED}Unspecified error\n"),
         ["Project abc123 is closed.", "See https://hpc.example/abc", "Unspecified error"]),
        ("slurm", Answer(1, BANNER, f"{FAILED}Unspecified error\n"),
         ["Your project has used up its hours.", "--> Checking available allocation (abc123)...FAILED"]),
        # Seen on OpenPBS 23.06.06: a queuejob hook whose message begins with a newline
        ("pbs", Answer(32, "", "qsub: \nSite policy: project abc123 has used up its hours.\n"
                       "See https://hpc.example/hours or mail support@hpc.example.\n"),
         ["Site policy: project abc123 has used up its hours.",
          "See https://hpc.example/hours or mail support@hpc.example."]),
        # Seen on Torque 6.1.3: a submit filter that exits with 255
        ("torque", Answer(1, "", "*** your project abc123 is out of service units; see https://site.example/su"
                          " ***\n"
                          "qsub: Your job has been administratively rejected by the queueing system.\n"
                          "qsub: There may be a more detailed explanation prior to this notice.\n"),
         ["*** your project abc123 is out of service units; see https://site.example/su ***",
          "Your job has been administratively rejected by the queueing system."]),
    ],
)  # fmt: skip
def test_a_refusal_of_several_lines_is_shown_whole_without_rulers(
    product: str, answer: Answer, said: list[str], tmp_path: Path
) -> None:
    error = refused(product, answer, tmp_path)
    lines = [line.strip() for line in error.message.splitlines()]
    assert set(said) <= set(lines)
    assert not [line for line in lines if line and not any(c.isalnum() for c in line)]
    assert not error.hint, "the site's words have to do"


@pytest.mark.parametrize(
    ("product", "answer", "words"),
    [
        ("slurm", Answer(0, "17\n", "sbatch: Your time was cut to 2:00:00.\nsbatch: ======\n"
                         "sbatch: Maintenance begins on Monday.\n"),
         ["Your time was cut to 2:00:00.", "Maintenance begins on Monday."]),
        ("slurm", Answer(0, "17\n", ""), []),
        # Seen on Torque 6.1.3: a filter that only says something
        ("torque", Answer(0, "77.mgr\n", "=== Welcome. Maintenance on 12/12 ===\n"),
         ["=== Welcome. Maintenance on 12/12 ==="]),
        ("pbs", Answer(0, "77.mgr\n", "qsub: job moved to queue long\n"), ["job moved to queue long"]),
    ],
)  # fmt: skip
def test_what_is_said_on_success_is_kept(
    product: str, answer: Answer, words: list[str], tmp_path: Path
) -> None:
    done = submitted(product, answer, tmp_path)
    assert done.job_id in ("17", "77.mgr")
    assert list(done.words) == words


@pytest.mark.parametrize("product", ["slurm", "torque", "pbs"])
def test_words_are_kept_where_the_job_was_looked_up(
    product: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site's wrapper fails after the submission, or prints a balance beside the id."""
    monkeypatch.setattr(slurm, "SETTLE_TIME", 0)
    spec = test_slurm.TestSlurm().spec(tmp_path)
    for printed, code in (("77.mgr\n", 1), ("77.mgr\n78.mgr\n", 0)):
        if product == "slurm":
            printed = printed.replace(".mgr", "")
        found: dict[str | tuple[str, ...], Answer] = {
            f"qselect -u {login_name()} -N {job_name(spec.name)}": Answer(0, "77.mgr\n"),
            f"qselect -x -u {login_name()} -N {job_name(spec.name)}": Answer(0, "77.mgr\n"),
            tuple(commands.queue(TAG_FORMAT)): Answer(0, f"77{UNIT}{spec.tag}{RECORD}"),
        }
        said = Answer(code, printed, "site: the accounting database is locked\n")
        shell = RecordedShell(found, default=said)
        plugin = {"slurm": slurm, "torque": torque, "pbs": pbspro}[product]
        done = plugin.rps_submit(spec, tmp_path / "batch.sh", shell)
        assert done.job_id in ("77", "77.mgr")
        assert list(done.words) == ["site: the accounting database is locked"]


@pytest.mark.parametrize(
    ("above", "hint", "never"),
    [
        ("", "`sacctmgr show qos`", "-t"),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\n", "end one of yours", "-t"),
        ("sbatch: error: QOSMinCpuNotSatisfied\n", "Request more cores (-c)", "less"),
        ("sbatch: error: QOSMaxWallDurationPerJobLimit\n", "Request less walltime (-t)", "more"),
        ("sbatch: error: AssocGrpCPUMinutesLimit\n", "another account (-A)", "-t"),
    ],
)
def test_a_policys_hint_is_that_of_the_limit(above: str, hint: str, never: str) -> None:
    found = refusals.refusal(above + POLICY)
    assert hint in found.hint
    assert never not in found.hint
    assert found.cause == "queue-limit"


@pytest.mark.parametrize(
    "words",
    ["your time limit of hours is used up", "Ask for a reservation or another account",
     "munge your data first; see the generic resource page", "connection refused to license server"],
)  # fmt: skip
def test_a_word_of_a_sites_sentence_is_no_code(words: str, tmp_path: Path) -> None:
    error = refused(
        "slurm", Answer(1, "", f"sbatch: error: {words}\n{FAILED}Unspecified error\n"), tmp_path
    )
    assert (error.hint, error.cause, error.transient) == ("", "refused", False)
    for product in ("torque", "pbs"):
        error = refused(
            product, Answer(1, "", f"{words}\nqsub: invalid account, says the site\n"), tmp_path
        )
        assert error.hint == ""


def test_each_hint_is_of_a_text_in_slurms_table() -> None:
    """src/common/slurm_errno.c, slurm_errtab, of 22.05.11 and 25.11.7."""
    recorded = Path(__file__).parent / "recorded/slurm/errors.txt"
    texts = [line for line in recorded.read_text().splitlines() if not line.startswith("#")]
    assert set(refusals._CODES) <= set(texts)
