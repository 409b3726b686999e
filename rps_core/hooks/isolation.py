"""Run a plugin's code so that it cannot end, hang or print into a command of rps.

The code runs in a thread of its own, and the caller waits for it: the caller keeps Ctrl-C and every other
signal, and stops waiting when the time is used up. Commands that the code runs through its shell run in the
caller's thread. They have time limits of their own, so they do not count; and code that was given up can run
none.

What a plugin prints goes to stderr: stdout is for a command's own answer. Code that ends the process
(`os._exit`, a crash in C) or that never lets other threads run cannot be held back.
"""

from __future__ import annotations

import _thread
import contextlib
import math
import os
import sys
import threading
import time
from _queue import Empty, SimpleQueue  # what `queue` has, without the import of its other kinds
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO, cast

from rps_core.errors import RpsError
from rps_core.system.shell import Finished, Shell

LONGEST_COMMAND = 600.0  # seconds
_SLICE = 1.0  # seconds; a process that was stopped (Ctrl-Z) loses no more than this
_CLEANUP = 5.0  # seconds for a hook to undo its work once the user has interrupted a command of it


class NoAnswerError(Exception):
    """The code did not end within its time; `where` has its file and line."""

    def __init__(self, thread: int) -> None:
        super().__init__()
        self._thread = thread

    def where(self, package: str) -> str:
        """Return the code's file and line in `package`; empty: not in it."""
        from rps_core.hooks.faults import where_running

        return where_running(self._thread, package)


class CodeFailedError(Exception):
    """The code raised `error`: of any kind, also SystemExit."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class Outcome:
    """The outcome of one piece of code."""

    def __init__(self) -> None:
        self.value: Any = None
        self.error: BaseException | None = None

    def get(self) -> Any:
        """Return the value.

        Raises:
            NoAnswerError: the code did not end in time.
            CodeFailedError: it raised an exception.
        """
        if isinstance(self.error, NoAnswerError):
            raise self.error
        if self.error is not None:
            raise CodeFailedError(self.error)
        return self.value


class Isolation:
    """Runs pieces of plugins' code in turn, each with its own `seconds`.

    They share a thread: handing over to one takes longer than most of them. A piece that does not end keeps
    that thread, and the others get another.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._left = seconds
        self._inbox: SimpleQueue[Callable[[], bool]] = SimpleQueue()
        self._inline = False
        self._lock = _thread.allocate_lock()
        self._current = 0  # the number of the piece that runs
        self._given_up = 0  # threads
        self._from_shell: BaseException | None = None
        self._interrupt: BaseException | None = None

    def shell(self, real: Shell, number: int = 0) -> Shell:
        """Return a shell for the piece of code of this number.

        `real` runs its commands in the thread that called `run_each`, and none once the piece has ended or
        was given up.
        """

        def ask(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
            _check_command(argv, stdin, timeout)
            reply: SimpleQueue[Finished | BaseException] = SimpleQueue()

            def execute() -> bool:
                if number == self._current:
                    reply.put(self._run_command(real, argv, stdin, timeout))
                return False

            if self._inline:
                execute()
            else:
                self._inbox.put(execute)
            answer = reply.get()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return ask

    def run_each(self, codes: Sequence[Callable[[], Any]]) -> list[Outcome]:
        """Run each piece of code; return what each came to, in their order.

        Raises:
            KeyboardInterrupt: the user pressed Ctrl-C.
        """
        outcomes = [Outcome() for _ in codes]

        def work() -> None:
            given_up = self._given_up
            with _printing_to_stderr():
                while self._current < len(codes) and self._interrupt is None:
                    number, outcome = self._current, Outcome()
                    try:
                        outcome.value = codes[number]()
                    except BaseException as error:  # noqa: BLE001 - also SystemExit and KeyboardInterrupt
                        outcome.error = error
                    with self._lock:
                        if given_up != self._given_up:
                            return
                        outcomes[number] = outcome
                        self._current = number + 1
            self._inbox.put(lambda: given_up == self._given_up)

        with _programs_print_to_stderr():
            while self._current < len(codes):
                thread = 0
                try:
                    thread = _thread.start_new_thread(work, ())
                except RuntimeError:  # no more threads (ulimit -u): then without a time limit
                    self._inline = True
                    work()
                if not self._ended():
                    outcomes[self._current].error = NoAnswerError(thread)
                    self._current += 1
                if self._interrupt is not None:
                    raise self._interrupt
        if self._from_shell is not None and any(one.error is self._from_shell for one in outcomes):
            raise self._from_shell  # a defect of the shell, not of the code
        return outcomes

    def _run_command(
        self, real: Shell, argv: tuple[str, ...], stdin: str, timeout: float
    ) -> Finished | BaseException:
        try:
            return real(*argv, stdin=stdin, timeout=min(timeout, LONGEST_COMMAND))
        except BaseException as error:  # noqa: BLE001 - raised in the code, and again in `run_each`
            if not isinstance(error, Exception):
                self._interrupt = error
                self._left = min(self._left, _CLEANUP)
            elif not isinstance(error, RpsError):
                self._from_shell = error
            return error

    def _ended(self) -> bool:
        """Wait for the thread and run its commands; False: out of time."""
        seen = self._current
        self._left = self._seconds
        while True:
            began = time.monotonic()
            slice_ = max(0.0, min(self._left, _SLICE))
            try:
                step = self._inbox.get(timeout=slice_)
            except Empty:
                step = None
            self._left -= min(time.monotonic() - began, slice_)
            if self._current != seen:
                seen = self._current
                self._left = self._seconds
            if step is not None and step():
                return True
            if step is None and self._left <= 0:
                with self._lock:
                    if self._current == seen:
                        self._given_up += 1
                        return False


def _check_command(argv: tuple[Any, ...], stdin: Any, timeout: Any) -> None:
    """Raise in the plugin's code, where the mistake is, and not in the shell."""
    if not argv or not all(isinstance(word, str) and "\0" not in word for word in argv):
        raise TypeError(f"shell takes a program and its arguments as texts, not {argv!r:.100}")
    if not argv[0]:
        raise ValueError("shell was given no program")
    if not isinstance(stdin, str):
        raise TypeError(f"shell: stdin is a text, not {type(stdin).__name__}")
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not math.isfinite(timeout) or timeout <= 0:
        raise ValueError(f"shell: timeout is a number of seconds above 0, not {timeout!r:.100}")


class _ByThread:
    """`sys.stdout` while plugins' code runs: that code writes to stderr."""

    def __init__(self, stdout: TextIO) -> None:
        self.stdout = stdout
        self.isolated: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        stream = sys.stderr if _thread.get_ident() in self.isolated else self.stdout
        return getattr(stream, name)


_switching = _thread.allocate_lock()


@contextlib.contextmanager
def _printing_to_stderr() -> Iterator[None]:
    """Direct this thread's output to stderr, for ever if its code never ends."""
    thread = _thread.get_ident()
    with _switching:
        if not isinstance(sys.stdout, _ByThread):
            sys.stdout = cast("TextIO", _ByThread(sys.stdout))
        streams = cast("_ByThread", sys.stdout)
        streams.isolated.add(thread)
    try:
        yield
    finally:
        with _switching:
            streams.isolated.discard(thread)
            if not streams.isolated and sys.stdout is cast("TextIO", streams):
                sys.stdout = streams.stdout


@contextlib.contextmanager
def _programs_print_to_stderr() -> Iterator[None]:
    """Direct file descriptor 1 to stderr, for programs that the code starts.

    Only in the main thread: while another waits for a plugin, the main thread may be printing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    sys.stdout.flush()
    saved = None
    with contextlib.suppress(OSError):  # stdout or stderr is closed
        saved = os.dup(1)
        os.dup2(2, 1)
    try:
        yield
    finally:
        if saved is not None:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sys.__stdout__.flush()  # type: ignore[union-attr]  # the code may have written there
            os.dup2(saved, 1)
            os.close(saved)
