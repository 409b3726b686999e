"""Wait while signals, the application's end and the cares are attended to."""

import os
import shutil
import signal
import subprocess
import time
import traceback
from typing import Any, Callable, List, Optional, Tuple, TypeVar

from rps_core.node.agent.events import End, EndCause, Events
from rps_core.node.agent.processes import Processes, send, start_ticks
from rps_core.node.agent.time_limit import SLACK, TimeLimit
from rps_core.node.agent.wake import Wake, in_thread
from rps_core.node.agent.words import how, log

ANSWER_TIME = 10.0  # seconds for a program's answer: the scheduler's, the GPUs'
# The part of the scheduler's kill delay for each of: the service's answer, the application's end, the rest's.
KILL_DELAY_PART = 0.2
_T = TypeVar("_T")


class Care:
    """What is seen to while the session waits."""

    def due(self) -> float:
        """Seconds until there is something to do."""
        raise NotImplementedError

    def attend(self) -> None:
        """Do what is due now (End: it ends the session)."""
        raise NotImplementedError


class Watch:
    """Every wait of the session: raises End when the job or `application` ends."""

    def __init__(self, wake: Wake, processes: Processes, events: Events, limit: TimeLimit) -> None:
        self.processes = processes
        self.hurry = wake.hurry
        self.kill_delay = limit.job.kill_delay
        self.application: Optional[Any] = None  # its Popen, once its end is the session's
        self.cares: List[Care] = []
        self.told_time_is_up = False  # by the scheduler's signal
        self._wake = wake
        self._events = events
        self._limit = limit

    @property
    def asked_to_end(self) -> bool:
        """The scheduler ends the job."""
        return self._wake.asked_to_end

    def pause(self, seconds: float) -> None:
        """Wait until something happens, at most this long (End: the job is to end)."""
        self._wake.wait(seconds)
        self.processes.reap()
        if self._wake.asked_to_end:
            left = self._limit.left()
            if left is not None and left <= SLACK:
                raise End(
                    EndCause.TIME_LIMIT,
                    "The walltime limit was reached, and the scheduler ended the job",
                )
            raise End(EndCause.SIGNAL, "The job was asked to end")
        if self._wake.time_is_up and not self.told_time_is_up:
            self.told_time_is_up = True
            left = self._limit.left()
            self._events.add("time-nearly-up", left=None if left is None else int(left))
            log(
                "the scheduler signals the walltime limit"
                + ("" if left is None else ": %d s are left" % left)
            )

    def check_alive(self) -> None:
        """Raise End where the application has ended."""
        if self.application is not None:
            code = self.processes.exit_code(self.application)
            if code is not None:
                raise End(EndCause.APPLICATION_EXIT, "Jupyter ended: " + how(code))

    def aside(self, work: Callable[[], _T]) -> _T:
        """Do `work`, which may block (on a name server), while signals are handled."""
        done: List[Tuple[Optional[_T], Optional[Exception]]] = []

        def work_and_tell() -> None:
            try:
                done.append((work(), None))
            except Exception as error:  # noqa: BLE001 - it is raised again, in the main thread
                done.append((None, error))
            self._wake.up()

        worker = in_thread(work_and_tell)
        while not done:
            self.pause(60.0)
            self.check_alive()
        if worker is not None:
            worker.join()  # so that Jupyter is started from one thread alone
        result, error = done[0]
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def sleep(self, seconds: float) -> None:
        """Wait this long, unless the application or the job ends, and see to the cares."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            due = min([care.due() for care in self.cares] + [deadline - time.monotonic()])
            self.pause(due)
            self.check_alive()
            for care in list(self.cares):
                try:
                    care.attend()
                except End:
                    raise
                except Exception:  # noqa: BLE001 - a defect here must not end a notebook that works
                    traceback.print_exc()
                    self.cares.remove(care)

    def output_of(self, command: List[str], seconds: float = ANSWER_TIME) -> Optional[str]:
        """Return a program's output; None: it is missing, fails, or takes too long."""
        program = shutil.which(command[0])
        if program is None:
            return None
        quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            process = self.processes.start([program, *command[1:]], stdout=subprocess.PIPE, **quiet)
        except (OSError, RuntimeError) as error:  # a notebook can use up the user's processes
            log("could not run %s: %s" % (command[0], error))
            return None
        with process.stdout:
            deadline = time.monotonic() + seconds
            while self.processes.exit_code(process) is None and time.monotonic() < deadline:
                self.pause(deadline - time.monotonic())  # its end is a signal, which ends the wait
                self.check_alive()
            code = self.processes.exit_code(process)
            if code is None:
                send(process.pid, start_ticks(process.pid) or 0, signal.SIGKILL)
            if code != 0:
                return None
            os.set_blocking(process.stdout.fileno(), False)  # one that it left may hold it open
            return (process.stdout.read() or b"").decode("utf-8", "replace")
