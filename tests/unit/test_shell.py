"""Running real programs: codes, streams, signals, time, and the environment they get."""

import time

import pytest

from rps_core.errors import SchedulerError
from rps_core.shell import command_environment, run


def test_code_and_streams_are_kept_apart() -> None:
    done = run("sh", "-c", "cat; echo said >&2; exit 7", stdin="given")
    assert (done.code, done.stdout, done.stderr) == (7, "given", "said\n")


def test_arguments_are_no_shell_text() -> None:
    assert run("printf", "%s", "$(id) `id` ; *").stdout == "$(id) `id` ; *"


def test_a_missing_program_is_told() -> None:
    with pytest.raises(SchedulerError, match="`no-such-program` is not on the PATH"):
        run("no-such-program")


def test_one_that_cannot_be_started_is_told() -> None:
    with pytest.raises(SchedulerError, match=r"`true` cannot be started: Argument list too long$"):
        run("true", 200_000 * "x")


def test_one_that_hangs_is_ended_with_its_children() -> None:
    before = time.monotonic()
    with pytest.raises(SchedulerError, match="did not answer within 1 s") as caught:
        run("sh", "-c", "sleep 1000 & sleep 1000", timeout=1)
    assert caught.value.transient
    assert time.monotonic() - before < 500  # it did not wait for them


def test_one_that_is_killed_is_no_timeout() -> None:
    assert run("sh", "-c", "kill -TERM $$").code == 143


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert run("printf", "a\\377b").stdout == "a\ufffdb"


def test_nothing_that_changes_a_scheduler_is_passed_on() -> None:
    given = {"SBATCH_PARTITION": "x", "SLURM_JOB_ID": "1", "SLURM_CONF": "/c", "PATH": "/bin",
             "RPS_JOB_ACCOUNT": "y", "PBS_DPREFIX": "#Q", "LANG": "de_DE"}  # fmt: skip
    assert command_environment(given) == {
        "SLURM_CONF": "/c", "PATH": "/bin", "LANG": "de_DE", "LC_ALL": "C",
        "SLURM_TIME_FORMAT": "standard",
    }  # fmt: skip
