"""Why a job waits, in plain words.

Slurm's own code is kept beside them, because support asks for it. squeue shows the name of a reason
(src/common/job_state_reason.c), or a sentence in its place (`state_desc`, src/slurmctld).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rps_core.plugin import Cause
from rps_core.schedulers.slurm.limits import limit

_NEVER_STARTS = "; this job can never start"

# The cause and plain words of each reason that is no limit (`limits`).
_REASONS: Mapping[str, tuple[Cause, str]] = {
    "AccountingPolicy": (Cause.QUEUE_LIMIT, "a policy of its account or QoS is in its way"),
    "AccountNotAllowed": (Cause.NO_ACCOUNT, "its account may not use this partition" + _NEVER_STARTS),
    "AssociationJobLimit": (Cause.QUEUE_LIMIT, "the limit of jobs of its account is reached"),
    "AssociationResourceLimit": (Cause.QUEUE_LIMIT, "a resource limit of its account is reached"),
    "AssociationTimeLimit": (Cause.QUEUE_LIMIT, "the time limit of its account is reached"),
    "BadConstraints": (Cause.NEVER, "no node satisfies its constraints" + _NEVER_STARTS),
    "BeginTime": (Cause.BEGIN_TIME, "its begin time is in the future"),
    "BlockFreeAction": (Cause.RESOURCES, "its block of nodes is being freed"),
    "BlockMaxError": (Cause.NODES_UNAVAILABLE, "its block of nodes had too many errors"),
    "BurstBufferOperation": (Cause.HELD, "an operation of its burst buffer failed"),
    "BurstBufferResources": (Cause.RESOURCES, "the burst buffer is full"),
    "BurstBufferStageIn": (Cause.RESOURCES, "its data is being staged in"),
    "Cleaning": (Cause.RESOURCES, "its nodes are being cleaned up after an earlier run"),
    "Constraints": (Cause.NODES_UNAVAILABLE, "no available node satisfies its constraints now"),
    "DeadLine": (Cause.NEVER, "its deadline has passed" + _NEVER_STARTS),
    "Dependency": (Cause.DEPENDENCY, "it waits for another job"),
    "DependencyNeverSatisfied": (Cause.NEVER, "it depends on a job that has failed" + _NEVER_STARTS),
    "FedJobLock": (Cause.PRIORITY, "another cluster of the federation considers it now"),
    "FrontEndDown": (Cause.NODES_UNAVAILABLE, "no front end node of the cluster is up"),
    "InactiveLimit": (Cause.HELD, "its last run ended at the limit of inactivity"),
    "InvalidAccount": (Cause.NO_ACCOUNT, "its account is not valid" + _NEVER_STARTS),
    "InvalidQOS": (Cause.NEVER, "its QoS is not valid" + _NEVER_STARTS),
    "JobArrayTaskLimit": (Cause.QUEUE_LIMIT, "the limit of running tasks of the array is reached"),
    "JobHeldAdmin": (Cause.HELD, "an administrator holds it"),
    "JobHeldUser": (Cause.HELD, "you hold it"),
    "JobHoldMaxRequeue": (Cause.HELD, "it was requeued too often and is held"),
    "JobLaunchFailure": (Cause.HELD, "it could not be started on its node"),
    "Licenses": (Cause.RESOURCES, "a license that it needs is in use"),
    "MaxMemPerLimit": (
        Cause.NEVER, "it requests more memory than a core or a node may have" + _NEVER_STARTS,
    ),
    "MaxPoweredUpNodes": (Cause.RESOURCES, "as many nodes as allowed are powered up"),
    "MaxRequeueExceeded": (Cause.HELD, "it was requeued too often"),
    "MpiPortsBusy": (Cause.RESOURCES, "the ports that its MPI needs are in use"),
    "NodeDown": (Cause.NODES_UNAVAILABLE, "a node that it needs is down"),
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions": (
        Cause.NODES_UNAVAILABLE, "the nodes that it needs are down, drained or reserved for others",
    ),
    "NonZeroExitCode": (Cause.HELD, "its last run ended with an exit code other than 0"),
    "NvidiaImexChannels": (Cause.RESOURCES, "the NVIDIA IMEX channels are in use"),
    "OutOfMemory": (Cause.HELD, "its last run exceeded its memory limit"),
    "PartitionConfig": (Cause.NEVER, "its partition does not allow such a job" + _NEVER_STARTS),
    "PartitionDown": (Cause.PARTITION_DOWN, "its partition is down"),
    "PartitionInactive": (Cause.PARTITION_DOWN, "its partition is inactive"),
    "PartitionNodeLimit": (
        Cause.NEVER, "it requests more or fewer nodes than its partition allows" + _NEVER_STARTS,
    ),
    "PartitionTimeLimit": (
        Cause.NEVER, "it requests a longer walltime than its partition allows" + _NEVER_STARTS,
    ),
    "PowerNotAvail": (Cause.RESOURCES, "the electric power for its nodes is in use"),
    "PowerReserved": (Cause.RESOURCES, "the electric power for its nodes is reserved"),
    "Priority": (Cause.PRIORITY, "other jobs have a higher priority"),
    "Prolog": (Cause.RESOURCES, "its node is being prepared"),
    "QOSJobLimit": (Cause.QUEUE_LIMIT, "the limit of jobs of its QoS is reached"),
    "QOSNotAllowed": (Cause.NEVER, "its QoS may not be used here" + _NEVER_STARTS),
    "QOSResourceLimit": (Cause.QUEUE_LIMIT, "a resource limit of its QoS is reached"),
    "QOSTimeLimit": (Cause.QUEUE_LIMIT, "the time limit of its QoS is used up"),
    "QOSUsageThreshold": (Cause.QUEUE_LIMIT, "its account has used more than its QoS allows"),
    "RaisedSignal": (Cause.HELD, "its last run was killed by a signal"),
    "ReqNodeNotAvail": (Cause.NODES_UNAVAILABLE, "a node that it needs is not available"),
    "Reservation": (Cause.BEGIN_TIME, "its reservation has not begun, or is full"),
    "ReservationDeleted": (Cause.HELD, "its reservation was deleted"),
    "ReservationInvalid": (Cause.HELD, "its reservation is not valid"),
    "Resources": (Cause.RESOURCES, "it is next, as soon as nodes are free"),
    "SchedDefer": (Cause.PRIORITY, "the scheduler considers it later"),
    "SystemFailure": (Cause.HELD, "Slurm had an internal failure"),
    "TimeLimit": (Cause.HELD, "its last run reached its walltime limit"),
    "WaitingForScheduling": (Cause.PRIORITY, "the scheduler has not considered it yet"),
    "job requeued in held state": (Cause.HELD, "it was requeued and is held"),
}  # fmt: skip
# Of the states that `status_in_queue` gives in place of a reason.
_HELD_STATES = frozenset({"REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
# Sentences: src/slurmctld/partition_mgr.c, node_scheduler.c, read_config.c, reservation.c, job_mgr.c,
# src/plugins/burst_buffer (25.11).
_SENTENCES = (
    (r"Job's account not (?:known|permitted)\b.* use this partition .*", "AccountNotAllowed"),
    (r"Job's QOS not (?:known|permitted)\b.* use this partition .*", "QOSNotAllowed"),
    (r"uid \d+ not in group permitted to use this partition .*", "PartitionConfig"),
    (r"License request '.*' is no longer valid, holding job", "JobHeldAdmin"),
    (r"Reservation \S+ was deleted", "ReservationDeleted"),
    (r"Reservation \S+ is invalid", "ReservationInvalid"),
    (r"launch (?:failed|failure limit exceeded) requeued held", "JobLaunchFailure"),
    (r"user env retrieval failed requeued held", "JobLaunchFailure"),
    (r"job requeued in special exit state", "job requeued in held state"),
    (r"RaisedSignal:\d+\(.*\)", "RaisedSignal"),
    (r"burst_buffer/\w+: .*", "BurstBufferOperation"),
)
_ADDED = {
    "Reserved for maintenance": "the nodes are reserved for maintenance that begins before it could end",
    "May be reserved for other job": "the node may be reserved for another job",
}
_ADVICE = {
    "QOSTimeLimit": "Use another QoS (--qos), or ask the cluster's support for more.",
    "AssociationTimeLimit": "Use another account (-A), or ask the cluster's support for more.",
    "QOSNotAllowed": "Use another QoS (--qos) or partition (-p).",
    "InvalidQOS": "Use another QoS (--qos).",
    "AccountNotAllowed": "Use another account (-A) or partition (-p).",
}


def cause_of(raw: str) -> Cause | None:
    """Return the cause for squeue's `%r` or the state of a waiting job, or None."""
    code = _code(raw)
    if code in _REASONS:
        return _REASONS[code][0]
    if code in _HELD_STATES:
        return Cause.HELD
    met = limit(code)
    if met is None:
        return None
    return Cause.NEVER if met.is_endless else Cause.QUEUE_LIMIT


def advice_for(job_id: str, raw: str) -> str | None:
    """Return what the user can do about a hold or a limit.

    `raw` is as for `cause_of`. None: the advice of the cause applies.
    """
    code = _code(raw)
    met = limit(code)
    advice = met.advice if met else _ADVICE.get(code)
    if advice is not None:
        endless = in_plain_words(raw).endswith(_NEVER_STARTS)
        return f"End this session (`rps stop`), and start another. {advice}" if endless else advice
    if cause_of(raw) != Cause.HELD:
        return None
    if code == "JobHeldAdmin":
        return "Ask the cluster's support why it is held: only they can release it."
    release = f"`scontrol release {job_id}` releases it"
    if code == "JobHeldUser":
        return f"{release}."
    return f"{release}. If Slurm refuses that, ask the cluster's support."


def in_plain_words(raw: str) -> str:
    """Translate squeue's `%r`.

    It is a code, which a comma and more text may follow, or a sentence. An unknown one is returned unchanged.
    """
    more = raw.partition(",")[2].strip()
    if more in _ADDED:
        return _ADDED[more]
    code = _code(raw)
    if code in _REASONS:
        return _REASONS[code][1]
    met = limit(code)
    if met is None:
        return raw
    return met.text + (_NEVER_STARTS if met.is_endless else "")


def _code(raw: str) -> str:
    """Return the name of the reason.

    For a sentence it is that of the reason that Slurm sets with it.
    """
    text = raw.strip()
    if text in _REASONS:
        return text
    named = (code for pattern, code in _SENTENCES if re.fullmatch(pattern, text))
    return next(named, text.partition(",")[0].strip())
