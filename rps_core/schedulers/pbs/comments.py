"""Why a job waits or is held: the `comment` that PBS's and Torque's servers and schedulers give it.

The texts are those of OpenPBS 14.1 to 23.06 (src/scheduler/job_info.cpp, src/server) and of Torque 4.2 to 6.1
(src/scheduler.cc/samples/fifo, src/server). Maui writes no comment (its src/moab/MPBSI.c).
A text is matched as a whole, as a site's hook may write any other.
"""

from __future__ import annotations

import re

from rps_core.plugin import Cause, dataclass

NEVER_STARTS = "; this job can never start"
_STAYS = "If it stays so, send this message to the cluster's support."
_OTHER_QUEUE = "Use another queue (-p)."


@dataclass(frozen=True, slots=True)
class Meaning:
    """The cause of a comment, its plain words, and what the user can do; None: the cause's advice."""

    cause: Cause
    words: str
    advice: str | None = None


_PREFIX = re.compile(r"(?:Not Running: )+", re.IGNORECASE)
_ENDLESS = re.compile(r"Can Never Run: *", re.IGNORECASE)
_WHERE = r"in (?:queue \S+|complex)"
# Each pattern, the cause and plain words of a job that may start later. `{}` are the pattern's groups.
_NOT_NOW: tuple[tuple[str, Cause, str], ...] = (
    # Queues
    (r"Queue not started\.?", Cause.PARTITION_DOWN,
     "its queue is stopped: none of its jobs starts until an administrator starts it"),
    (r"Queue not an execution queue\.?", Cause.PARTITION_DOWN, "its queue only passes jobs to other queues"),
    (r"Queue is configured to be ignored", Cause.PARTITION_DOWN, "the scheduler leaves its queue out"),
    # Limits on jobs
    (r"User has reached (?:server|queue(?: \S+)?) running job limit\.?", Cause.QUEUE_LIMIT,
     "you have reached the limit on running jobs"),
    (r"(?:Queue \S+|Server) job limit reached for user \S+", Cause.QUEUE_LIMIT,
     "you have reached the limit on running jobs"),
    (r"(Group|Project) has reached (?:server|queue(?: \S+)?)(?:'s)? running limit\.?", Cause.QUEUE_LIMIT,
     "your {} has reached the limit on running jobs"),
    (r"(?:Queue \S+|Server) job limit reached for (group|project) \S+", Cause.QUEUE_LIMIT,
     "your {} has reached the limit on running jobs"),
    (r"(Queue|Server)(?: \S+)? job limit has been reached\.?", Cause.QUEUE_LIMIT,
     "the {} runs as many jobs as its limit allows"),
    (r"Number of concurrent running subjobs limit reached", Cause.QUEUE_LIMIT,
     "the limit of running tasks of the array is reached"),
    (r"Node has reached (?:job|user|group) run limit", Cause.QUEUE_LIMIT,
     "its nodes run as many jobs as their limit allows"),
    # Limits on resources
    (r"(?:Queue \S+|Server) per-user limit reached on resource (\S+)", Cause.QUEUE_LIMIT,
     "your jobs hold as much of {} as the limit allows"),
    (rf"would exceed user .+'s limit on resource (\S+) {_WHERE}", Cause.QUEUE_LIMIT,
     "your jobs hold as much of {} as the limit allows"),
    (r"(?:Queue \S+|Server) per-(group|project) limit reached on resource (\S+)", Cause.QUEUE_LIMIT,
     "the jobs of your {} hold as much of {} as the limit allows"),
    (rf"would exceed (group|project) .+'s limit on resource (\S+) {_WHERE}", Cause.QUEUE_LIMIT,
     "the jobs of your {} hold as much of {} as the limit allows"),
    (rf"would exceed overall limit on resource (\S+) {_WHERE}", Cause.QUEUE_LIMIT,
     "all jobs together hold as much of {} as the limit allows"),
    (r"Job would exceed mission CPU share|Job exceeds total mission share", Cause.QUEUE_LIMIT,
     "the share of cores of your mission is used up"),
    (r"Job has zero shares for fairshare", Cause.QUEUE_LIMIT, "you have no share of the cluster"),
    # Resources
    (r"Insufficient amount of (?:queue |server )?resource: (\S+).*", Cause.RESOURCES,
     "not enough of {} is free yet"),
    (r"No available resources on nodes|Too few free resources", Cause.RESOURCES,
     "the requested resources are not free yet"),
    (r"Not enough of the right type of nodes are available", Cause.RESOURCES, "no suitable node is free yet"),
    (r"Not enough (?:free |total )?nodes available", Cause.RESOURCES, "not enough nodes are free yet"),
    (r"Not enough (memory|cpus) available", Cause.RESOURCES, "not enough {} are free yet"),
    (r"\S+ set .+ has too few free resources", Cause.RESOURCES,
     "the group of nodes that it needs (a placement set) has too few free resources"),
    (r"can't fit in the largest placement set, and can't span psets", Cause.RESOURCES,
     "it fits into no group of nodes (a placement set)"),
    (r"Node ineligible because job requested pack placement and won't fit on node", Cause.RESOURCES,
     "no node has enough free for all of it"),
    (r"Node can't satisfy a multi-node job", Cause.RESOURCES, "a node is not free for jobs of several nodes"),
    (r".+ is requesting an exclusive node and node is in use", Cause.RESOURCES,
     "it needs a node for itself, and the nodes are in use"),
    (r"(?:Load is above max limit|All timesharing nodes are too loaded to run job)", Cause.RESOURCES,
     "the nodes are too busy"),
    (r"Max number of small cpusets has been reached", Cause.RESOURCES,
     "its nodes run as many small jobs as they can"),
    (r"Max token usage reached", Cause.RESOURCES, "the tokens that it needs are in use"),
    (r"Provisioning for job would interfere with backfill job"
     r"|Provision conflict with existing job/reservation"
     r"|Cannot provision, vnode has job or reservation running", Cause.RESOURCES,
     "the nodes that would have to be provisioned for it are in use"),
    # Priority
    (r"Job would (?:interfere with a top job|conflict with (?:reservation or top|starving) job)",
     Cause.PRIORITY, "it would delay a job that is before it"),
    (r"Draining system to allow starving job to run", Cause.PRIORITY,
     "the scheduler keeps nodes free for a job that has waited longer"),
    (r"Job would break strict sorted order|Strict fifo order", Cause.PRIORITY,
     "jobs start in strict order, and another is before it"),
    (r"Can't preempt enough work to run job", Cause.PRIORITY, "too few jobs can make room for it"),
    (r"Job is under job_sort_formula threshold value", Cause.PRIORITY,
     "its priority is below the least that the scheduler starts"),
    # Times
    (r"Dedicated time conflict", Cause.NODES_UNAVAILABLE,
     "the cluster is dedicated to other work at this time"),
    (r"Job would cross dedicated time bound(?:a)?ry", Cause.NODES_UNAVAILABLE,
     "it could not end before the cluster is dedicated to other work"),
    (r"Job will run in (primetime|nonprimetime) only", Cause.BEGIN_TIME, "its queue starts jobs in {} only"),
    (r"Job will cross into (primetime|non-primetime)", Cause.BEGIN_TIME, "it could not end before {} begins"),
    # Nodes
    (r"Job would interfere with a confirmed reservation(?:: .*)?", Cause.NODES_UNAVAILABLE,
     "the nodes are reserved for others before it could end"),
    (r"Node is in an ineligible state: (.+)", Cause.NODES_UNAVAILABLE, "a node that it needs is {}"),
    (r"Node is of an ineligible type: (.+)", Cause.NODES_UNAVAILABLE, "a node that it needs is of type {}"),
    (r"Nodes not available", Cause.NODES_UNAVAILABLE, "the nodes that it needs are not available"),
    (r"Node has no PBS license", Cause.NODES_UNAVAILABLE, "a node that it needs has no license of PBS"),
    (r"Node not eligible for advance reservation", Cause.NODES_UNAVAILABLE,
     "a node that it needs cannot be reserved"),
    (r"Specified (.+) does not exist: (.+)", Cause.NODES_UNAVAILABLE,
     "it requests something that does not exist ({}): {}"),
    (r"Cannot provision, (?:provisioning disabled on (?:server|vnode)|host has multiple vnodes)",
     Cause.NODES_UNAVAILABLE, "no node can be provisioned for it"),
    (r"Cannot provision, requested ([AE]OE .+) not available on vnode", Cause.NODES_UNAVAILABLE,
     "no node has the environment that it requests ({})"),
    (r"Could not create all of the cgroups for this job\.", Cause.NODES_UNAVAILABLE,
     "a node could not create its cgroups"),
    # Starts
    (r"PBS Error: (.+)", Cause.WAITING, "an attempt to start it failed: {}"),
    (r"Internal Scheduling Error|An internal scheduling error has \w+", Cause.WAITING,
     "the scheduler had an internal error"),
    (r"Job not in queued state", Cause.WAITING, "the scheduler has not considered it yet"),
    (r"Job was sent for execution at .+", Cause.WAITING, "it is being sent to its node"),
    (r"Job (?:run at|manually qrun|started on) ?.+|Job manually qrun\.", Cause.WAITING,
     "it was started before, and is in the queue again"),
    (r"Job has been moved to \".+\"", Cause.WAITING, "it was moved to another queue"),
)  # fmt: skip
# Plain words of a job that can never start, where they differ.
_NEVER: tuple[tuple[str, str], ...] = (
    (r"Insufficient amount of (?:queue |server )?resource: (\S+).*", "it requests more of {} than there is"),
    (r"No available resources on nodes|Too few free resources", "no node has what it requests"),
    (r"Not enough of the right type of nodes are available", "there are too few nodes of the type"),
    (r"Not enough (?:free |total )?nodes available", "it requests more nodes than there are"),
    (r"Node ineligible because job requested pack placement and won't fit on node", "it fits on no node"),
    (r"\S+ set .+ has too few free resources|can't fit in the largest placement set, and can't span psets",
     "it fits into no group of nodes (a placement set)"),
    (rf".* limit reached on resource (\S+)|would exceed .* limit on resource (\S+) {_WHERE}",
     "it requests more of {} than a limit allows"),
    (r"Job (?:would exceed mission CPU|exceeds total mission) share",
     "it requests more cores than the share of your mission"),
    (r"invalid placement spec|Bad requested resource data|Invalid Job/Resv .*",
     "PBS cannot read its request"),
)  # fmt: skip
# Of a job that is held: more than `Hold_Types` shows.
_HELD: tuple[tuple[str, str], ...] = (
    (r"job held, too many failed attempts to run", "it could not be started too often, and is held"),
    (r"Job Array Held, too many failed attempts to run subjob .+",
     "one of its tasks could not be started too often, and it is held"),
    (r"job held, provisioning failed to start", "no node could be provisioned for it, and it is held"),
    (r"job held due to possible security breach of job tmpdir, failed to start",
     "its node refused its temporary directory, and it is held"),
    (r"(?:.*:)?job has bad password", "it is held because of a wrong password"),
    (r"Job held by '(.+)' hook on .+", "it is held by the site's hook {}"),
    (r"Job held by (\S+) on .+", "it is held by {}"),
    (r"Job .+ file says it is in a running state but has no exec host list, adding system hold",
     "the server lost the list of its nodes, and it is held"),
    (r"Job .+ was checkpointed and terminated to .+", "it was checkpointed, ended and is held"),
    (r"Checkpoint script failed with return value of \S+", "its checkpoint failed, and it is held"),
)  # fmt: skip


def meaning_of(comment: str) -> Meaning | None:
    """Return the meaning of a waiting job's comment; None: it is of no scheduler that rps knows."""
    text = comment.strip()
    endless = _ENDLESS.match(text)
    if endless:
        return _endless(text[endless.end() :])
    text = _PREFIX.sub("", text, count=1)
    for pattern, cause, words in _NOT_NOW:
        if found := re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL):
            advice = _STAYS if cause is Cause.WAITING else None
            if cause is Cause.PARTITION_DOWN:
                advice = _OTHER_QUEUE if "passes" in words else None
            return Meaning(cause, _filled(words, found), advice)
    return None


def hold_of(comment: str) -> str | None:
    """Return why a job is held, in plain words; None: its comment does not show it."""
    for pattern, words in _HELD:
        if found := re.fullmatch(pattern, comment.strip(), re.IGNORECASE | re.DOTALL):
            return _filled(words, found)
    return None


def _endless(text: str) -> Meaning:
    for pattern, words in _NEVER:
        if found := re.fullmatch(pattern, text, re.IGNORECASE | re.DOTALL):
            return Meaning(Cause.NEVER, _filled(words, found) + NEVER_STARTS)
    return Meaning(Cause.NEVER, f"{text.rstrip('. ') or 'no reason'}{NEVER_STARTS}")


def _filled(words: str, found: re.Match[str]) -> str:
    values = [
        value.lower() if value in ("Group", "Project", "Queue", "Server") else value
        for value in found.groups()
        if value is not None
    ]
    return words.format(*values)
