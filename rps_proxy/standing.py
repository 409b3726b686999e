"""How a session stands, as its own page tells it: to anybody who has its name, and nothing more.

No user, no job's id, no node. What a page says is put into words here, once, for the pages without
JavaScript and for what the others are sent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from rps_proxy.session import JobState, Phase, Session

# The states in which a page waits; it goes from one to the other without being loaded anew.
WAITING = ("pending", "queued", "starting")
# Nothing more will come.
OVER = ("ended", "unknown")

# What the agent or the launcher gives as the cause of an end (docs/protocol.md), in words for the page.
_CAUSES = {
    "application-exit": "Jupyter was shut down, or ended by itself",
    "cancelled": "the job was cancelled",
    "completed": "the job ended",
    "ended": "the job ended",
    "failed": "the job failed",
    "node failed": "the node failed",
    "not-submitted": "the job could not be submitted",
    "out of memory": "the job ran out of memory",
    "preempted": "another job took its place",
    "removed": "the session's files were removed",
    "signal": "the scheduler ended the job, or somebody had it ended",
    "start-failed": "the notebook could not be started",
    "stopped": "it was stopped",
    "timeout": "the notebook did not answer in time",
    "walltime": "its walltime was over",
    "time-limit": "its walltime was over",
    "idle": "nothing had run in it for a while",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """`state` is `ready` or a key of `pages.PAGES`. `reason` is why it waits or ended, in plain words;
    `estimate` when the scheduler means to start the job, and `seen` when it was last asked: both in
    seconds since 1970."""

    state: str
    reason: str | None = None
    estimate: float | None = None
    seen: float | None = None

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return _TITLES[self.state]

    @property
    def text(self) -> str:
        """The same in a sentence or two, the reason included."""
        if self.state in ("queued", "lapsed", "ended") and self.reason:
            reason = self.reason.strip().rstrip(".")
            if self.state != "queued":
                reason = reason[:1].upper() + reason[1:]
            return _WITH_REASON[self.state].format(reason)
        return _TEXTS[self.state]


_TITLES = {
    "pending": "Waiting for your notebook",
    "queued": "Waiting in the queue",
    "starting": "Your notebook is starting",
    "ready": "Your notebook is ready",
    "lapsed": "Your notebook is silent",
    "ended": "This session is over",
    "unknown": "No such session",
    "not-answering": "Your notebook does not answer",
}
_TEXTS = {
    "pending": "Your job is in the queue, or just starting.",
    "queued": "Your job waits for its turn.",
    "starting": "Your job is running, and Jupyter is on its way up.",
    "ready": "It opens now.",
    "lapsed": "Nothing was heard of its job for a while. The job may be suspended, or its node cut off.",
    "ended": "Its job has ended, so there is no notebook here any more.",
    "unknown": "Nobody was given this name, or it was long ago.",
    "not-answering": "Its job is running, but the notebook could not be reached just now.",
}
_WITH_REASON = {
    "queued": "Why your job waits: {}.",
    "lapsed": "Nothing was heard of its job for a while. {}.",
    "ended": "{}. There is no notebook here any more.",
}


def standing(session: Session | None, *, live: bool) -> Standing:
    """How a session stands; `live`: its route answers now, whatever else is said.

    Unknown is nobody's report, so it changes nothing. A job that was said to be over shows as ended, and
    comes back if its notebook does.
    """
    if live:
        return Standing("ready")
    if session is None:
        return Standing("unknown")
    if session.phase is Phase.GONE or session.job_state is JobState.GONE:
        return Standing("ended", session.job_reason)
    if session.phase is Phase.READY:
        if session.lapsed is None:  # the engine does not have its route yet
            return Standing("starting")
        running = session.job_state is JobState.RUNNING
        return Standing("lapsed", session.job_reason if running else None)
    if session.job_state is JobState.RUNNING:
        return Standing("starting")
    if session.job_state is JobState.QUEUED:
        return Standing("queued", session.job_reason, session.job_estimate, session.job_seen)
    return Standing("pending")


def words_for(cause: object) -> str | None:
    """The page's words for the cause of an end; None for one that is not known here."""
    return _CAUSES.get(cause) if isinstance(cause, str) else None


def expected(moment: float, now: float | None = None) -> str:
    """When something is to be, from now: `in about 25 minutes`."""
    left = moment - (time.time() if now is None else now)
    if left < 0:
        return f"{_span(-left)} ago, which has passed"
    return f"in {'about ' if left >= 60 else ''}{_span(left)}"


def age(moment: float, now: float | None = None) -> str:
    """How long ago something was: `2 minutes ago`."""
    return f"{_span((time.time() if now is None else now) - moment)} ago"


def _span(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        # From two of them on; between one and two, the smaller unit says more.
        if seconds >= 2 * length or (unit == "minute" and seconds >= length):
            number = round(seconds / length)
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return "less than a minute"
