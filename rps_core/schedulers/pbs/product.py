"""Detect the product of `qstat`: Torque and PBS share the names, not the output."""

from __future__ import annotations

import re

from rps_core.plugin import SchedulerError, Shell


def product_of_qstat(shell: Shell) -> str | None:
    """Return `pbs` for PBS Pro and OpenPBS, `torque`, or None for any other.

    PBS prints `pbs_version = 23.06.06`, Torque `Version: 6.1.3`. Slurm's wrappers have no such option.
    """
    try:
        done = shell("qstat", "--version", timeout=2.0)
    except SchedulerError:
        return None
    output = done.stdout + done.stderr
    if "pbs_version" in output:
        return "pbs"
    return "torque" if re.search(r"^version:\s*\d", output, re.IGNORECASE | re.MULTILINE) else None
