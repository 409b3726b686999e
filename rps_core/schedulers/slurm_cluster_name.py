"""What a Slurm calls its cluster: a second signal for sites whose host names leave it open."""

from __future__ import annotations

import re

from rps_core.errors import SchedulerError
from rps_core.shell import Shell


def slurm_cluster_name(shell: Shell) -> str | None:
    """`ClusterName` of `scontrol show config`; None where Slurm is not there or does not answer."""
    try:
        done = shell("scontrol", "show", "config", timeout=5)
    except SchedulerError:
        return None
    found = re.search(r"^ClusterName\s*=\s*(\S+)$", done.stdout, re.MULTILINE)
    return found[1] if found else None
