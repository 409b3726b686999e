"""Parse the job states posted to `update-jobs.cgi`, as the satellite does.

A line is a job id, white space, and a code or word of the scheduler; what follows is ignored, so that
`CANCELLED by 1000` of sacct is `CANCELLED`. The satellite strips all but letters from the code and is
case-sensitive. What it lists in etc/satconfig.pm means here what it means there: a job that is COMPLETING or
SUSPENDED counts as gone. Codes that only this service knows are others of Slurm, and those of Torque and PBS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rps_proxy.registry.session import JobState

_CODES = {
    JobState.QUEUED: (
        "CF PD RF RH RQ CONFIGURING PENDING REQUEUE_FED REQUEUE_HOLD REQUEUED "  # as the satellite
        "EXPEDITING "  # Slurm 25.11: it may be requeued at once
        "H Q T W"  # Torque, PBS
    ),
    JobState.RUNNING: (
        "R RUNNING "  # as the satellite
        "RS RESIZING "  # Slurm
        "B E U"  # Torque, PBS
    ),
    JobState.GONE: (
        "BF CA CG DL F NF OOM PR RD RV S SE SI SO ST TO BOOT_FAIL CANCELLED COMPLETED COMPLETING DEADLINE "
        "FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED RESV_DEL_HOLD SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED "
        "SUSPENDED TIMEOUT "  # as the satellite
        "CD LAUNCH_FAILED RECONFIG_FAIL REVOKED "  # Slurm
        "C X"  # Torque, PBS
    ),
}
# REQUEUE_FED in the satellite's list never matches there, since it strips the underscore from what is posted.
_STATES = {
    code.replace("_", ""): state for state, codes in _CODES.items() for code in codes.split()
}

_NO_JOB_ID = re.compile(r"[^-a-zA-Z0-9._]")
_NO_CODE = re.compile(r"[^a-zA-Z]")


def clean_job_id(text: str) -> str:
    """Return `text` with only the characters that the satellite keeps of a job id."""
    return _NO_JOB_ID.sub("", text)


def job_states(text: str) -> Iterator[tuple[str, JobState]]:
    """Yield job id and state of each line with a known code; skip other lines."""
    for line in text.split("\n"):
        fields = line.split()
        if len(fields) < 2:
            continue
        job_id, state = clean_job_id(fields[0]), _STATES.get(_NO_CODE.sub("", fields[1]))
        if job_id and state is not None:
            yield job_id, state
