"""Why a job waits, in plain words. Slurm's own code is kept beside them: support will ask for it."""

from __future__ import annotations

import re

_NOT_AS_IT_IS = "; as it is, it will never start"

_REASONS = {
    "AccountNotAllowed": "its account may not use this partition" + _NOT_AS_IT_IS,
    "BadConstraints": "no node is like that" + _NOT_AS_IT_IS,
    "BeginTime": "it is not to start before a certain time",
    "BurstBufferResources": "the burst buffer is full",
    "BurstBufferStageIn": "its data is being staged in",
    "Cleaning": "its nodes are being cleaned up after an earlier run",
    "Dependency": "it waits for another job",
    "DependencyNeverSatisfied": "it depends on a job that has failed" + _NOT_AS_IT_IS,
    "FrontEndDown": "no front end node of the cluster is up",
    "InvalidAccount": "its account is not valid" + _NOT_AS_IT_IS,
    "InvalidQOS": "its QoS is not valid" + _NOT_AS_IT_IS,
    "JobArrayTaskLimit": "as many tasks of the array run as may",
    "JobHeldAdmin": "an administrator holds it back",
    "JobHeldUser": "you hold it back",
    "JobLaunchFailure": "it could not be started on its node",
    "Licenses": "a license that it needs is in use",
    "MaxRequeueExceeded": "it was requeued too often",
    "NodeDown": "a node that it needs is down",
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions": (
        "the nodes that it needs are down, drained or reserved for others"
    ),
    "PartitionConfig": "its partition does not allow such a job" + _NOT_AS_IT_IS,
    "PartitionDown": "its partition is switched off",
    "PartitionInactive": "its partition is switched off",
    "PartitionNodeLimit": "its partition does not allow so many nodes" + _NOT_AS_IT_IS,
    "PartitionTimeLimit": "its partition does not allow so long a time" + _NOT_AS_IT_IS,
    "Priority": "other jobs are before it",
    "Prolog": "its node is being prepared",
    "QOSNotAllowed": "its QoS may not be used here" + _NOT_AS_IT_IS,
    "QOSTimeLimit": "its QoS does not allow any more time",
    "ReqNodeNotAvail": "a node that it needs is not available",
    "Reservation": "its reservation has not begun",
    "ReservationDeleted": "its reservation was deleted",
    "Resources": "it is next, as soon as nodes are free",
    "SchedDefer": "the scheduler will look at it later",
    "SystemFailure": "Slurm itself failed",
    "job requeued in held state": "it was put back into the queue, and is held there",
    "WaitingForScheduling": "the scheduler has not looked at it yet",
}
_ADDED = {
    "Reserved for maintenance": "the nodes are reserved for maintenance before it could end",
    "May be reserved for other job": "the node may be reserved for another job",
}
# The word for it (`rps_core.causes`); what is not named here is told by its ending, or is a limit.
_CAUSES = {
    "resources": ("Resources", "Licenses", "BurstBufferResources"),
    "priority": ("Priority", "SchedDefer"),
    "held": (
        "JobHeldAdmin", "JobHeldUser", "JobLaunchFailure", "job requeued in held state",
        "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD",
    ),
    "dependency": ("Dependency",),
    "begin-time": ("BeginTime", "Reservation"),
    "no-account": ("AccountNotAllowed", "InvalidAccount"),
    "queue-limit": ("JobArrayTaskLimit", "QOSTimeLimit"),
    "nodes-unavailable": ("ReqNodeNotAvail", "NodeDown", "FrontEndDown"),
    "partition-down": ("PartitionDown", "PartitionInactive"),
}  # fmt: skip
_CAUSE_OF = {code: cause for cause, codes in _CAUSES.items() for code in codes}
_LIMIT = re.compile(r"(QOS|Assoc)(Grp|Max)\w+")
_WHOSE = {"QOS": "its QoS", "Assoc": "its account"}
_WHAT = {"Grp": "all its jobs together may use", "Max": "one user or one job may use"}


def cause_of(raw: str) -> str | None:
    """The word for a `%r` of squeue, or for a state in which a job waits; None where there is none."""
    code = raw.partition(",")[0].strip()
    if code in _CAUSE_OF:
        return _CAUSE_OF[code]
    if _LIMIT.fullmatch(code):
        return "queue-limit"
    if code.startswith("Nodes required for job"):
        return "nodes-unavailable"
    return "never" if _REASONS.get(code, "").endswith(_NOT_AS_IT_IS) else None


def advice_for(job_id: str, raw: str) -> str | None:
    """What the user can do where the job is held, of the same words as `cause_of`; None where it is not."""
    if cause_of(raw) != "held":
        return None
    code = raw.partition(",")[0].strip()
    if code == "JobHeldAdmin":
        return "Ask the cluster's support why it is held: only they can let it go."
    release = f"`scontrol release {job_id}` lets it go"
    if code == "JobHeldUser":
        return f"{release}."
    return f"{release}; where Slurm refuses that, ask the cluster's support."


def in_plain_words(raw: str) -> str:
    """The reason, of a `%r` of squeue: a code, perhaps with a comma and a text that says more. What
    is not known is answered as it came.
    """
    code, _, more = (part.strip() for part in raw.partition(","))
    if more in _ADDED:
        return _ADDED[more]
    if raw in _REASONS or code in _REASONS:
        return _REASONS.get(raw) or _REASONS[code]
    limit = _LIMIT.fullmatch(code)
    if limit:
        return f"{_WHOSE[limit[1]]} has used up what {_WHAT[limit[2]]}"
    return raw
