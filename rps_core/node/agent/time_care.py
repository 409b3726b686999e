"""The job's last minutes: warnings, and an end in good order."""

from typing import List

from rps_core.node.agent.events import End, Events
from rps_core.node.agent.jupyter_api import SAVE_TIME, JupyterApi
from rps_core.node.agent.time_limit import SLACK, TimeLimit
from rps_core.node.agent.watch import Care, Watch
from rps_core.node.agent.words import in_words, log

WARNINGS = (1800, 600, 120)  # seconds before the end of the walltime at which it is told


class TimeCare(Care):
    """Warns before the job's time is over, and ends the session in good order right before.

    What ends it is the scheduler's word that its time is nearly over, asked right then: where it cannot
    be asked, everything is saved, and what ends the session is the scheduler's signal.
    """

    def __init__(
        self,
        watch: Watch,
        api: JupyterApi,
        events: Events,
        limit: TimeLimit,
        shutdown_before: float,
    ) -> None:
        self.watch = watch
        self.api = api
        self.events = events
        self.limit = limit
        walltime = limit.walltime
        # Each in the second half of the job: nobody needs to be told at its start how long it is.
        self.warnings = [t for t in WARNINGS if walltime is None or 2 * t <= walltime]
        self.before = min(shutdown_before, (walltime or shutdown_before * 10) / 10)
        self.told: List[float] = []  # of `warnings`
        self.signalled = False  # the scheduler's own warning was passed on
        self.asked = False
        self.saved = False

    def due(self) -> float:
        """Seconds until there is something to do."""
        left = self.limit.left()
        if left is None:
            return 60.0
        coming = [float(t) for t in self.warnings if t not in self.told]
        if self.before and not self.saved:
            coming.append(self.before)
        return max([0.1, left - max(coming)]) if coming else 60.0

    def attend(self) -> None:
        """Do what is due now (End: the time is over)."""
        if self.limit.left() is None and not self.asked:
            self.ask()
        signalled = self.watch.told_time_is_up and not self.signalled
        if signalled or self.passed():
            self.ask()
        if signalled or self.passed():
            self.signalled = self.watch.told_time_is_up
            self.warn()
        if self.is_last_moment() and not self.saved:
            sure = self.ask()
            if self.is_last_moment():
                self.end(sure)

    def ask(self) -> bool:
        """Ask the scheduler; where it has moved the end, there is time to be warned of again."""
        self.asked = True
        reckoned = self.limit.left()
        sure = self.limit.ask(self.watch.output_of)
        left = self.limit.left()
        if left is not None and reckoned is not None and left > reckoned + 60 and self.told:
            self.told = [t for t in self.told if left <= t]
            self.events.add("time-moved", left=int(left))
            log("the end of the job's time was moved: it is in %s" % in_words(left))
            self.api.tell_tabs({"withdraw": "time"})
        return sure

    def passed(self) -> List[float]:
        """The warnings that are due and not told."""
        left = self.limit.left()
        if left is None:
            return []
        return [t for t in self.warnings if left <= t + SLACK and t not in self.told]

    def warn(self) -> None:
        """Say how much time is left."""
        left = self.limit.left()
        whole = None if left is None else int(left)
        # Slurm's own warning may come a minute before ours: one of them will do.
        early = 60 if self.signalled else SLACK
        self.told = [t for t in self.warnings if left is not None and left <= t + early]
        self.events.add("time-left", left=whole)
        log("the job's time is over " + ("soon" if left is None else "in " + in_words(left)))
        self.api.tell_tabs({"show": {"kind": "time", "left": whole}})

    def is_last_moment(self) -> bool:
        """It is time to end."""
        left = self.limit.left()
        return bool(self.before) and left is not None and left <= self.before

    def end(self, sure: bool) -> None:
        """Save, and end where the scheduler has said that the time is over (End)."""
        self.saved = True
        # A tab that does not answer must leave the time for an end in good order.
        seconds = min(SAVE_TIME, (self.limit.left() or 0.0) / 2)
        self.api.save_tabs("The time of this session is over.", seconds)
        if not sure:
            log("the scheduler does not say whether the end was moved: it goes on until it ends it")
            return
        left = self.limit.left() or 0.0
        reason = "The walltime is over: the session was ended in good order, %s before"
        raise End("time-limit", reason % in_words(left))
