"""Warn before the walltime limit, and end the session in good order."""

from typing import List

from rps_core.node.agent.events import End, EndCause, Events
from rps_core.node.agent.jupyter_api import SAVE_TIME, JupyterApi
from rps_core.node.agent.time_limit import SLACK, TimeLimit
from rps_core.node.agent.watch import Care, Watch
from rps_core.node.agent.words import in_words, log

# Seconds between looks whether the limit was moved, often enough for the warnings.
CHECK_EVERY = 600.0
WARNINGS = (1800, 600, 120)  # seconds before the walltime limit at which users are warned


class TimeCare(Care):
    """Warns before the walltime limit, and ends the session in good order just before.

    It ends the session only if the scheduler, asked at that moment, confirms the limit. If it cannot be
    asked, documents are saved, and the scheduler's signal ends the session.
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
        # In the second half of the job only: at its start the user knows its length.
        self.warnings = [t for t in WARNINGS if walltime is None or 2 * t <= walltime]
        self.before = min(shutdown_before, (walltime or shutdown_before * 10) / 10)
        self.given: List[float] = []  # of `warnings`
        self.signalled = False  # the scheduler's own warning was passed on
        can_move = limit.job.walltime_can_change and limit.job.time_query is not None
        # At once: a submit filter may have shortened what was requested.
        self.check_at = 0.0 if can_move else float("inf")
        self.saved = False

    def due(self) -> float:
        """Return the seconds until there is something to do."""
        left = self.limit.left()
        coming = [float(t) for t in self.warnings if t not in self.given]
        if self.before and not self.saved:
            coming.append(self.before)
        until_check = self.check_at - self.limit.now()
        if left is None or not coming:
            return max(0.1, min(60.0, until_check))
        return max(0.1, min(left - max(coming), until_check))

    def attend(self) -> None:
        """Do what is due now (End: the walltime limit is reached)."""
        if self.limit.now() >= self.check_at:
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
        """Ask the scheduler for the limit; if it was moved, warnings are due again."""
        self.check_at = (
            self.limit.now() + CHECK_EVERY if self.check_at < float("inf") else self.check_at
        )
        reckoned = self.limit.left()
        sure = self.limit.ask(self.watch.output_of)
        left = self.limit.left()
        if left is not None and reckoned is not None and left > reckoned + 60 and self.given:
            self.given = [t for t in self.given if left <= t]
            self.events.add("time-moved", left=int(left))
            log("the walltime limit was moved: the job now ends in %s" % in_words(left))
            self.api.tell_tabs({"withdraw": "time"})
        return sure

    def passed(self) -> List[float]:
        """Return the warnings that are due and not given."""
        left = self.limit.left()
        if left is None:
            return []
        return [t for t in self.warnings if left <= t + SLACK and t not in self.given]

    def warn(self) -> None:
        """Warn of the time that is left."""
        left = self.limit.left()
        whole = None if left is None else int(left)
        # Slurm's own warning may come a minute before ours: one of them will do.
        early = 60 if self.signalled else SLACK
        self.given = [t for t in self.warnings if left is not None and left <= t + early]
        self.events.add("time-left", left=whole)
        log(
            "the job reaches its walltime limit "
            + ("soon" if left is None else "in " + in_words(left))
        )
        self.api.tell_tabs({"show": {"kind": "time", "left": whole}})

    def is_last_moment(self) -> bool:
        """Return whether it is time to end."""
        left = self.limit.left()
        return bool(self.before) and left is not None and left <= self.before

    def end(self, sure: bool) -> None:
        """Save documents, and end the session if the scheduler confirms the limit (End)."""
        self.saved = True
        # A tab that does not answer must leave the time for an end in good order.
        seconds = min(SAVE_TIME, (self.limit.left() or 0.0) / 2)
        self.api.save_tabs("The time of this session is over.", seconds)
        if not sure:
            log(
                "could not ask the scheduler whether the limit was moved: it will end the job itself"
            )
            return
        left = self.limit.left() or 0.0
        reason = "The walltime limit was near: the agent saved and ended the session %s before it"
        raise End(EndCause.TIME_LIMIT, reason % in_words(left))
