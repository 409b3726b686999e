"""Running real programs.

Codes, streams, signals, time, and the environment they get.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from rps_core.errors import SchedulerError
from rps_core.system.shell import bound, run, stream
from rps_core.traits import CommandVariables


def test_code_and_streams_are_kept_apart() -> None:
    done = run("sh", "-c", "cat; echo said >&2; exit 7", stdin="given")
    assert (done.code, done.stdout, done.stderr) == (7, "given", "said\n")


def test_arguments_are_no_shell_text() -> None:
    assert run("printf", "%s", "$(id) `id` ; *").stdout == "$(id) `id` ; *"


def test_a_missing_program_is_reported() -> None:
    with pytest.raises(SchedulerError, match="`no-such-program` is not on the PATH"):
        run("no-such-program")
    with pytest.raises(SchedulerError, match="`/etc/passwd` is not an executable file"):
        run("/etc/passwd")


def test_one_that_cannot_be_started_is_reported() -> None:
    with pytest.raises(SchedulerError, match=r"`true` cannot be started: Argument list too long$"):
        run("true", 200_000 * "x")


def test_a_script_whose_interpreter_is_gone_names_it(tmp_path: Path) -> None:
    script = tmp_path / "squeue"
    script.write_text("#!/gone/python3 -I\n")
    script.chmod(0o755)
    with pytest.raises(SchedulerError, match="cannot be started: its interpreter /gone/python3 is"):
        run(str(script))


def test_one_that_hangs_is_ended_with_its_children() -> None:
    before = time.monotonic()
    with pytest.raises(SchedulerError, match="did not answer within 1 s") as caught:
        run("sh", "-c", "sleep 1000 & sleep 1000", timeout=1)
    assert caught.value.transient
    assert time.monotonic() - before < 500  # it did not wait for them


def test_the_last_words_of_one_that_hangs_are_not_lost() -> None:
    """sbatch's, of a controller that takes no job now (src/sbatch/sbatch.c)."""
    word = "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying"
    with pytest.raises(SchedulerError) as caught:
        run("sh", "-c", f"echo started; echo '{word}' >&2; sleep 1000", timeout=1)
    assert caught.value.message == f"`sh` did not answer within 1 s; it printed: {word}"


def test_a_slow_command_is_named_while_it_runs(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rps_core.system.shell._SLOW", 0.2)
    assert run("sh", "-c", "true", timeout=30).code == 0
    assert capfd.readouterr().err == ""
    printed = "echo frozen >&2; sleep 1.5; echo late"
    assert run("sh", "-c", printed, timeout=30).stdout == "late\n"
    assert capfd.readouterr().err == "rps: waiting for `sh`, up to 30 s. It prints: frozen\n"


def test_what_a_command_leaves_running_does_not_hold_its_answer_back() -> None:
    before = time.monotonic()
    left = int(run("sh", "-c", "sleep 1000 & echo $!", timeout=500).stdout)
    os.kill(left, signal.SIGKILL)
    assert time.monotonic() - before < 250  # it did not wait for it


def test_a_long_input_is_given_whole_to_a_slow_reader() -> None:
    given = 100_000 * "line\n"  # more than a pipe holds
    assert run("sh", "-c", "sleep 1.5; cat", stdin=given).stdout == given
    assert run("true", stdin=given).code == 0  # it reads none of it


def test_lines_are_passed_on_as_they_come() -> None:
    seen: list[tuple[str, float]] = []
    began = time.monotonic()
    code = stream(
        "sh", "-c", "echo out; echo err >&2; cat; sleep 1; echo last; exit 3",
        environment={**os.environ, "LANG": "C"},
        each_line=lambda line: seen.append((line, time.monotonic())),
    )  # fmt: skip
    assert code == 3
    assert [line for line, _ in seen] == ["out\n", "err\n", "last\n"]
    assert seen[1][1] - began < seen[2][1] - began - 0.5


def test_a_program_to_stream_that_cannot_be_started_is_reported() -> None:
    options: Any = {"environment": dict(os.environ), "each_line": print}
    with pytest.raises(SchedulerError, match="`no-such-program` is not on the PATH"):
        stream("no-such-program", **options)
    with pytest.raises(SchedulerError, match=r"`true` cannot be started: Argument list too long$"):
        stream("true", 200_000 * "x", **options)


def test_one_that_is_killed_is_no_timeout() -> None:
    assert run("sh", "-c", "kill -TERM $$").code == 143


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert run("printf", "a\\377b").stdout == "a\ufffdb"


def test_a_command_runs_in_the_c_locale_without_the_schedulers_variables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy = CommandVariables(dropped=("TOY_",), kept=("TOY_CONF",), fixed={"TOY_TIME": "iso"})
    other = CommandVariables(dropped=("OTHER",))
    given = {
        "TOY_QUEUE": "x",
        "TOY_CONF": "/c",
        "OTHER": "1",
        "RPS_JOB_ACCOUNT": "y",
        "LANG": "de_DE",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    seen = dict(line.split("=", 1) for line in bound(toy, None, other)("env").stdout.splitlines())
    assert {name: seen.get(name) for name in (*given, "TOY_TIME", "LC_ALL")} == {
        "TOY_QUEUE": None, "TOY_CONF": "/c", "OTHER": None, "RPS_JOB_ACCOUNT": None, "LANG": "de_DE",
        "TOY_TIME": "iso", "LC_ALL": "C",
    }  # fmt: skip
    assert run("printenv", "TOY_QUEUE").stdout == "x\n"
    assert run("printenv", "RPS_JOB_ACCOUNT").code == 1


@pytest.mark.parametrize("name", ["", "a b", "A=B", "A\0"])
def test_a_variable_without_a_name_is_no_trait(name: str) -> None:
    for wrong in ({"dropped": (name,)}, {"kept": (name,)}, {"fixed": {name: "x"}}):
        with pytest.raises(ValueError, match="not a variable's name"):
            CommandVariables(**wrong)
