"""Code that hangs is left behind, and the code after it goes on."""

import _thread
import threading
import time

import pytest

from rps_core.errors import SchedulerError
from rps_core.hooks import isolation
from rps_core.hooks.isolation import CodeFailedError, Isolation, NoAnswerError
from rps_core.system.shell import Finished


def finished(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
    del stdin, timeout
    return Finished(argv, 0, "", "")


def test_code_that_was_given_up_runs_no_command_while_others_run_theirs() -> None:
    """Test that code that counts as failed submits no job later."""
    ran: list[str] = []
    goes_on = threading.Event()
    runs = Isolation(2.0)

    def real(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        program = argv[0]
        ran.append(program)
        goes_on.set()
        until = time.monotonic() + 20
        while program == "second" and runs._inbox.qsize() == 0 and time.monotonic() < until:
            time.sleep(0.01)  # until the first one asks
        return finished(program)

    def first() -> None:
        goes_on.wait()
        runs.shell(real, 0)("first")

    def second() -> str:
        shell = runs.shell(real, 1)
        shell("second")
        shell("third")
        return "done"

    hung, sound = runs.run_each([first, second])
    with pytest.raises(NoAnswerError):
        hung.get()
    assert sound.get() == "done"
    assert ran == ["second", "third"]


def test_each_piece_comes_to_what_it_came_to() -> None:
    def fails() -> None:
        raise SystemExit(3)

    runs = Isolation(60.0)
    one, two, three = runs.run_each([lambda: 1, fails, lambda: 3])
    assert (one.get(), three.get()) == (1, 3)
    with pytest.raises(CodeFailedError) as caught:
        two.get()
    assert isinstance(caught.value.error, SystemExit)
    assert Isolation(60.0).run_each([]) == []


def test_what_the_shell_raises_is_raised_in_the_code() -> None:
    def away(*_: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        raise SchedulerError("away")

    runs = Isolation(60.0)

    def code() -> str:
        try:
            runs.shell(away)("squeue")
        except SchedulerError as error:
            return error.message
        return ""

    assert runs.run_each([code])[0].get() == "away"


def test_a_defect_of_the_shell_is_not_the_codes() -> None:
    """Test a recording without an answer: the test fails, not the plugin."""

    def defect(*_: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        raise AssertionError("no answer is recorded")

    runs = Isolation(60.0)
    with pytest.raises(AssertionError, match="no answer is recorded"):
        runs.run_each([lambda: runs.shell(defect)("squeue")])


def test_where_no_thread_can_be_started_the_code_runs_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A login node limits processes and threads for each user (ulimit -u)."""

    class NoThreads:
        allocate_lock = staticmethod(_thread.allocate_lock)
        get_ident = staticmethod(_thread.get_ident)

        @staticmethod
        def start_new_thread(*_: object) -> int:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(isolation, "_thread", NoThreads)
    runs = Isolation(60.0)
    answers = runs.run_each([lambda: runs.shell(finished, 0)("a").argv, lambda: 2])
    assert [one.get() for one in answers] == [("a",), 2]
