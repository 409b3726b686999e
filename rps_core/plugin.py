"""All that a plugin imports: the marker, the values, the errors.

    from rps_core.plugin import Claim, Cluster, Host, hookimpl

    @hookimpl
    def rps_detect_cluster(host: Host) -> Claim | None: ...

The hooks themselves are described in `rps_core.hookspecs`.
"""

from pluggy import HookimplMarker

from rps_core.account import login_name
from rps_core.errors import SchedulerError, UsageError
from rps_core.models import (
    Allocation,
    Claim,
    Cluster,
    Evidence,
    Gone,
    Host,
    Job,
    JobPhase,
    JobStatus,
    Known,
    Outcome,
    Question,
    SessionSpec,
    Sighting,
    Submission,
    Unknown,
)
from rps_core.quantities import format_walltime
from rps_core.record import Record
from rps_core.rendering import render
from rps_core.schedulers.slurm_cluster_name import slurm_cluster_name
from rps_core.shell import Finished, Shell

hookimpl = HookimplMarker("rps")

__all__ = [
    "Allocation",
    "Claim",
    "Cluster",
    "Evidence",
    "Finished",
    "Gone",
    "Host",
    "Job",
    "JobPhase",
    "JobStatus",
    "Known",
    "Outcome",
    "Question",
    "Record",
    "SchedulerError",
    "SessionSpec",
    "Shell",
    "Sighting",
    "Submission",
    "Unknown",
    "UsageError",
    "format_walltime",
    "hookimpl",
    "login_name",
    "render",
    "slurm_cluster_name",
]
