"""What this host's scheduler calls its cluster, remembered: the query is a command of its own.

A remembered identity chooses where to begin: a job that the scheduler shows with the session's name or tag
and owner is the session's. Before a job is taken as ended, or is cancelled, the scheduler is asked.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.errors import SchedulerError
from rps_core.system import cache, paths
from rps_core.system.programs import which

if TYPE_CHECKING:
    from rps_core.cluster import ClusterContext

_FRESH = 3600.0  # seconds for which a new session's record may have it
_KEPT = 8  # of several hosts and environments on one home directory
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # login nodes of two clusters can have one name


def remembered(here: ClusterContext, within: float | None = None) -> str | None:
    """Return the scheduler's last answer on this host; None: there is none.

    Args:
        here: the cluster.
        within: the seconds since the answer, at most; None: any time.
    """
    try:
        found = cache.read_object(_file())[_where(here)]
        age = time.time() - float(found["asked"])
        if within is not None and not 0 <= age < within:
            return None
        return str(found["identity"])
    except (KeyError, TypeError, ValueError):
        return None  # not remembered, or damaged


def asked(here: ClusterContext) -> str | None:
    """Return what the scheduler answers (`rps_cluster_identity`), and remember it.

    Raises:
        SchedulerError: it does not answer.
    """
    identity = here.site.identity(here.shell)
    where, known = _where(here), cache.read_object(_file())
    if identity is not None and identity != remembered(here, _FRESH / 2):
        known.pop(where, None)
        recent = list(known.items())[1 - _KEPT :]
        entry = {"identity": identity, "asked": time.time()}
        cache.replace(_file(), json.dumps(dict([*recent, (where, entry)])))
    return identity


def of_a_new_session(here: ClusterContext) -> str | None:
    """Return the identity for a record; None: the scheduler does not answer, and may still take the job."""
    try:
        return remembered(here, _FRESH) or asked(here)
    except SchedulerError:
        return None


def _where(here: ClusterContext) -> str:
    """Return what the answer depends on: the host since its start, the commands and their environment."""
    variables = here.site.command_variables()
    names = variables.kept if variables else ()
    programs = sorted({check.argv[0] for check in here.site.health_checks() or ()})
    cluster = here.site.cluster
    return json.dumps(
        [
            os.uname().nodename,
            _boot(),
            cluster.name,
            cluster.scheduler,
            dict(variables.fixed) if variables else {},
            {name: os.environ.get(name) for name in names},
            {name: which(name) for name in programs},
        ]
    )


def _boot() -> str:
    try:
        return _BOOT.read_text("ascii").strip()
    except OSError:
        return ""


def _file() -> Path:
    return paths.cache_dir() / "identities.json"
