"""A session in the operator's list."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rps_proxy.registry.session import Session


def described(session: Session, *, live: bool) -> dict[str, Any]:
    """Describe a session: its user, job, address and age, and nothing that opens it."""
    return {
        "name": session.name,
        "phase": session.phase.name.lower(),
        "live": live,
        "lapsed": session.lapsed is not None,
        "user": session.user,
        "cluster": session.cluster,
        "job_id": session.job,
        "address": session.address,
        "port": session.port,
        "source": session.source,
        "created": datetime.fromtimestamp(session.created, UTC).isoformat(timespec="seconds"),
    }
