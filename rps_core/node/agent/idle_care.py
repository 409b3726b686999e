"""Detect activity in the session, and end it after a time without any."""

import os
import time
from typing import Dict, List, Tuple

from rps_core.node.agent.events import End, EndCause, Events
from rps_core.node.agent.gpus import Gpus
from rps_core.node.agent.jupyter_api import JupyterApi, Unready
from rps_core.node.agent.processes import descendants
from rps_core.node.agent.watch import Care, Watch
from rps_core.node.agent.words import in_words, log

LOOK_EVERY = 30.0  # seconds between two looks at whether anything works, at most
BUSY = 0.03  # of a core, used by one process since the look before: less is an idle kernel's
MPI_LAUNCHERS = ("mpirun", "mpiexec", "orterun", "prterun")  # their work is done on other nodes


class Use:
    """A process: its name, terminal (0: none), session and CPU seconds.

    The CPU time includes that of the children it has waited for.
    """

    def __init__(self, pid: int) -> None:
        with open("/proc/%d/stat" % pid, "rb") as file:
            before, _, after = file.read().rpartition(b")")
        fields = after.split()
        self.name = before.partition(b"(")[2].decode("utf-8", "replace")
        self.session = int(fields[3])
        self.terminal = int(fields[4])
        self.seconds = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class IdleCare(Care):
    """End the session after `timeout` idle seconds, with a warning before.

    Work is what kernels, commands in terminals, other processes of the job and its GPUs do; an open
    page is none. What cannot be found out counts as work.
    """

    def __init__(
        self, watch: Watch, api: JupyterApi, events: Events, timeout: float, launchers: List[str]
    ) -> None:
        self.watch = watch
        self.api = api
        self.events = events
        self.timeout = timeout
        self.launchers = (*MPI_LAUNCHERS, *launchers)
        self.every = min(LOOK_EVERY, max(1.0, timeout / 10))
        self.notice = min(300.0, timeout / 3)
        self.idle = 0.0  # seconds
        self.warned = False
        self.looked = time.monotonic()
        self.used: Dict[Tuple[int, int], float] = {}  # CPU seconds of (pid, start ticks)
        self.moments: Dict[str, str] = {}  # when each kernel and terminal was last active
        self.gpus = Gpus(watch)
        self.stayed = 0  # how often a user asked to keep the session
        self.work(1.0)

    def due(self) -> float:
        """Return the seconds until the next look."""
        return max(0.1, self.looked + self.every - time.monotonic())

    def attend(self) -> None:
        """Look for activity if it is time to (End: there was none for too long)."""
        elapsed = time.monotonic() - self.looked
        if elapsed < self.every:
            return
        self.looked = time.monotonic()
        work = self.work(elapsed)
        # A suspended job was not idle all that time.
        self.idle = 0.0 if work else self.idle + min(elapsed, 2 * self.every)
        if work and self.warned:
            self.warned = False
            self.events.add("idle-over", work=work)
            log("no longer idle: " + work)
            self.api.tell_tabs({"withdraw": "idle"})
        elif self.idle >= self.timeout and self.warned:
            long = in_words(self.idle)
            self.api.save_tabs("This session has ended: nothing ran for %s." % long)
            raise End(EndCause.IDLE, "Nothing ran for %s: no kernel, no command, no GPU" % long)
        elif self.idle >= self.timeout - self.notice and not self.warned:
            self.warned = True
            left = max(1, int(self.timeout - self.idle))
            self.events.add("idle-warning", left=left, idle=int(self.idle))
            spans = (in_words(self.idle), in_words(left))
            log("nothing has run for %s; the session ends in %s" % spans)
            notice = {"kind": "idle", "left": left, "idle": int(self.idle)}
            self.api.tell_tabs({"show": notice})

    def work(self, elapsed: float) -> str:
        """Return the activity of the last `elapsed` seconds; empty: there was none."""
        # Asked in any case: the next look compares with this one.
        process = self.process_at_work(elapsed)
        try:
            return self.jupyter_at_work() or process or self.gpus.at_work()
        except (Unready, KeyError, TypeError, AttributeError) as error:
            return "Jupyter could not be asked (%s)" % error

    def jupyter_at_work(self) -> str:
        """Return a busy kernel or terminal, or a user's wish to keep the session."""
        moments = {}
        busy = ""
        for kernel in self.api.ask("/api/kernels") or []:
            moments[str(kernel["id"])] = str(kernel["last_activity"])
            if kernel["execution_state"] == "busy":
                busy = "a kernel is busy"
        for terminal in self.api.ask("/api/terminals") or []:
            moments["terminal " + str(terminal["name"])] = str(terminal.get("last_activity"))
        if not set(moments.items()) <= set(self.moments.items()):
            busy = busy or "a kernel or a terminal was used"
        self.moments = moments
        stayed = self.stayed
        self.stayed = (self.api.ask("/api/rps/tabs", {}) or {}).get("stayed", stayed)
        return busy or ("a user asked to keep the session" if self.stayed != stayed else "")

    def process_at_work(self, elapsed: float) -> str:
        """Return a process that computes, a command in a terminal, or an MPI launcher."""
        # Open pages keep Jupyter's own server at work.
        server = self.watch.application and self.watch.application.pid
        own = Use(os.getpid()).terminal
        used: Dict[Tuple[int, int], float] = {}
        busy = ""
        for pid, ticks in descendants(os.getpid()).items():
            try:
                use = Use(pid)
            except (OSError, ValueError, IndexError):  # it has ended meanwhile
                continue
            if pid == server:
                continue
            used[pid, ticks] = use.seconds
            if use.seconds - self.used.get((pid, ticks), 0.0) > BUSY * elapsed:
                busy = busy or "%s (process %d) computes" % (use.name, pid)
            elif use.terminal not in (0, own) and pid != use.session:
                busy = busy or "%s (process %d) runs in a terminal" % (use.name, pid)
            elif use.name in self.launchers:
                busy = busy or "%s (process %d) runs" % (use.name, pid)
        self.used = used
        return busy
