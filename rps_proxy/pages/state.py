"""A session's state as its page shows it, to anyone who has the name.

Pages show no user, job id or node. Launchers, agents and the feed send words of docs/protocol.md; the
sentences are the service's (`catalogue`) or the operator's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from rps_core.protocol import BUILDING, Cause, EndCause
from rps_proxy.registry.session import JobState, Phase, Session

# The states of a waiting page, which changes between them without a reload.
WAITING = ("pending", "queued", "starting")
# Final states.
FINAL = ("ended", "unknown")

# The causes that agents, launchers and the feed send (docs/protocol.md) and for which the pages have words.
CAUSES = frozenset(
    {
        # Why a job waits or is suspended.
        Cause.RESOURCES, Cause.PRIORITY, Cause.HELD, Cause.DEPENDENCY, Cause.BEGIN_TIME, Cause.QUEUE_LIMIT,
        Cause.NEVER, Cause.NO_ACCOUNT, Cause.NODES_UNAVAILABLE, Cause.PARTITION_DOWN, Cause.SUSPENDED,
        # What a job does before its notebook starts.
        BUILDING,
        # Why a session ended.
        EndCause.APPLICATION_EXIT, EndCause.CANCELLED, EndCause.COMPLETED, EndCause.ENDED, EndCause.FAILED,
        EndCause.NODE_FAILED, EndCause.NOT_SUBMITTED, EndCause.OUT_OF_MEMORY, EndCause.PREEMPTED,
        EndCause.REMOVED, EndCause.SIGNAL, EndCause.START_FAILED, EndCause.STOPPED, EndCause.TIMEOUT,
        EndCause.WALLTIME, EndCause.TIME_LIMIT, EndCause.UNREACHABLE, EndCause.IDLE,
    }
)  # fmt: skip
# The launcher sends the cluster's name: no sentence or address, since pages are public.
_CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class PageState:
    """What a page shows; `wording` has the sentences.

    `state` is `ready` or a key of `render.PAGES`; `cause` (of `CAUSES`) is why the job waits or the session
    ended, and `notice` the same in the operator's words; `estimate` is when the scheduler expects to start
    the job, and `seen` when it was last queried, both in seconds since 1970. `unreached`: the service cannot
    connect to the notebook. `satellite`: the session is one of the satellite's clients, which know no command
    of rps; and a route of it says nothing of its job. `name` and `cluster` are the session's, if known.
    """

    state: str
    cause: str | None = None
    estimate: float | None = None
    seen: float | None = None
    notice: str | None = None
    unreached: bool = False
    satellite: bool = False
    name: str | None = None
    cluster: str | None = None


def standing(session: Session | None, *, live: bool, unreached: bool = False) -> PageState:
    """Return a session's state for its page.

    `live`: its route works now; `unreached`: the service could not connect to its notebook.

    A job reported gone shows as ended, until its notebook answers again. An unknown state is never reported,
    so it changes nothing.
    """
    if session is None:
        return PageState("ready" if live else "unknown")
    state = PageState("ready") if live else _without_a_route(session, unreached=unreached)
    return replace(
        state, satellite=session.satellite, name=session.name, cluster=_shown_cluster(session)
    )


def known_cause(cause: object) -> str | None:
    """Return a cause for which the pages have words; None: it is not one of `CAUSES`."""
    return str(cause) if isinstance(cause, str) and cause in CAUSES else None


def _without_a_route(session: Session, *, unreached: bool) -> PageState:
    cause = known_cause(session.job_reason)
    if session.phase is Phase.GONE or session.job_state is JobState.GONE:
        return PageState("ended", cause, notice=session.notice)
    if session.phase is Phase.READY:
        if session.lapsed is None:  # the engine does not have its route yet
            return PageState("starting")
        return PageState("lapsed", cause if session.job_state is JobState.RUNNING else None)
    if unreached:
        return PageState("starting", unreached=True)
    if session.job_state is JobState.RUNNING:
        return PageState("starting", cause if cause == BUILDING else None)
    if session.job_state is JobState.QUEUED:
        return PageState("queued", cause, session.job_estimate, session.job_seen)
    return PageState("pending")


def _shown_cluster(session: Session) -> str | None:
    cluster = session.cluster
    return cluster if cluster is not None and _CLUSTER.fullmatch(cluster) else None
