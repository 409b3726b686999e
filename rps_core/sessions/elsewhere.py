"""Find out whether a session's job can be polled and cancelled on this host.

Clusters differ by name, and those of one name (two clusters without a site, with one home directory)
by what the scheduler calls itself (`rps_cluster_identity`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rps_core.errors import SchedulerError
from rps_core.jobs import Unknown
from rps_core.protocol import Cause
from rps_core.sessions import identity as identities

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext
    from rps_core.state.record import SessionRecord


def elsewhere(
    record: SessionRecord, here: ClusterContext | None, *, remembered: str | None = None
) -> Unknown | None:
    """Return why this host's scheduler must not be asked; None: it may.

    The cause is `elsewhere`, or `scheduler-away` if the scheduler does not say which cluster it is.

    Args:
        record: the session.
        here: this host's cluster.
        remembered: the scheduler's last answer (`identity.remembered`), which suffices if it is the record's
            identity. For a query whose answer shows the job's owner and its name or tag, and from which no
            end of the job is concluded. None: ask.
    """
    if here is None or record.cluster != here.site.cluster.name:
        return Unknown(
            reason=f"its job is on {record.cluster}: ask there, or with --cluster {record.cluster}",
            cause=Cause.ELSEWHERE,
        )
    if record.cluster_identity is None:  # of an earlier version, or of a scheduler without one
        return None
    if remembered == record.cluster_identity:
        return None
    try:
        identity = identities.asked(here)
    except SchedulerError as error:
        return Unknown(reason=error.message, cause=Cause.SCHEDULER_AWAY)
    if identity == record.cluster_identity:
        return None
    if identity is None:
        return Unknown(
            reason=f"the scheduler does not say which cluster it is; the job is on {record.cluster_identity}",
            cause=Cause.SCHEDULER_AWAY,
        )
    return Unknown(
        reason=f"its job is on {record.cluster_identity}, and this is {identity}: ask there",
        cause=Cause.ELSEWHERE,
    )


def place(record: SessionRecord) -> str:
    """Return the cluster's name, with what its scheduler calls it."""
    return (
        f"{record.cluster} ({record.cluster_identity})"
        if record.cluster_identity
        else record.cluster
    )
