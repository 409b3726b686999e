"""Waiting for something to happen: a signal, or a word from another thread."""

import os
import select
import signal
import threading
import time
from typing import Callable, List, Optional


class Wake:
    """A pipe that ends a wait: signal handlers and other threads write to it."""

    def __init__(self) -> None:
        self.time_is_up = False  # USR1 came
        self._asked: List[float] = []  # when TERM or INT came
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        signal.set_wakeup_fd(self._write)
        # HUP and CHLD get a handler that does nothing: the application would inherit SIG_IGN.
        for name in ("TERM", "INT", "USR1", "HUP", "CHLD"):
            signal.signal(getattr(signal, "SIG" + name), self._note)

    def _note(self, number: int, _frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._asked.append(time.monotonic())
        self.time_is_up = self.time_is_up or number == signal.SIGUSR1

    @property
    def asked_to_end(self) -> bool:
        """A TERM or INT came."""
        return bool(self._asked)

    def hurry(self) -> bool:
        """Return whether it came again later; some schedulers send it twice at once."""
        return bool(self._asked) and self._asked[-1] - self._asked[0] > 0.5

    def up(self) -> None:
        """End the wait that is under way, or else the next."""
        try:
            os.write(self._write, b"\0")
        except BlockingIOError:  # full: it will end anyway
            pass

    def wait(self, seconds: float) -> None:
        """Return after `seconds`, or at once when something happens."""
        select.select([self._read], [], [], max(0.0, seconds))
        try:
            os.read(self._read, 4096)
        except BlockingIOError:  # the time is up
            pass


def in_thread(work: Callable[[], None]) -> Optional[threading.Thread]:
    """Run `work` in a daemon thread, or here if no thread can be started.

    A notebook can use up the user's processes. Returns the thread, or None once the work is done.
    """
    thread = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        work()
        return None
    return thread
