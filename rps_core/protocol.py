"""The vocabularies and formats of the launcher and the service.

docs/protocol.md describes both. The grammar of messages is in `rps_core.node.agent.protocol`: the agent has
no other package. The codes with which the service refuses a call are in `rps_proxy.refusals`.
"""

from __future__ import annotations

from enum import StrEnum

from rps_core.node.agent.protocol import LONGEST_REASON as LONGEST_REASON

LONGEST_OWNER = 64  # characters, of a job that the feed found to belong to another user


BUILDING = "building"  # the reason of a running job whose environment is being built


class Cause(StrEnum):
    """The cause of a session's state or end, as in `rps list`, JSON and records.

    `rps_core.diagnosis.causes` has the meaning of each, and the advice. The words are stable; a record may
    hold one of a later version, so that readers take any text.
    """

    RESOURCES = "resources"
    PRIORITY = "priority"
    HELD = "held"
    DEPENDENCY = "dependency"
    BEGIN_TIME = "begin-time"
    QUEUE_LIMIT = "queue-limit"
    NEVER = "never"
    NODES_UNAVAILABLE = "nodes-unavailable"
    PARTITION_DOWN = "partition-down"
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    SUSPENDED = "suspended"
    LAPSED = "lapsed"
    ROUTE_GONE = "route-gone"
    ENDING = "ending"
    SCHEDULER_AWAY = "scheduler-away"
    SERVICE_AWAY = "service-away"
    ELSEWHERE = "elsewhere"
    SUBMITTING = "submitting"
    ID_REUSED = "id-reused"
    UNKNOWN = "unknown"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    ALLOCATION_OVER = "allocation-over"
    TIME_LIMIT = "time-limit"
    IDLE = "idle"
    OUT_OF_MEMORY = "out-of-memory"
    NODE_FAILURE = "node-failure"
    PREEMPTED = "preempted"
    NO_ACCOUNT = "no-account"
    NO_PARTITION = "no-partition"
    TOO_MUCH = "too-much"
    REFUSED = "refused"
    PLUGIN_BROKEN = "plugin-broken"
    NEVER_SUBMITTED = "never-submitted"
    NO_MODULE = "no-module"
    NO_ENVIRONMENT = "no-environment"
    NO_JUPYTER = "no-jupyter"
    NO_PYTHON = "no-python"
    NO_DIRECTORY = "no-directory"
    DISK_FULL = "disk-full"
    PORT_TAKEN = "port-taken"
    PORT_REFUSED = "port-refused"
    PROXY_UNREACHABLE = "proxy-unreachable"
    NODE_UNREACHABLE = "node-unreachable"
    REFUSED_BY_SERVICE = "refused-by-service"
    NOT_STARTED = "not-started"
    APPLICATION_FAILED = "application-failed"
    JUPYTER_FAILED = "jupyter-failed"
    JUPYTER_SILENT = "jupyter-silent"
    JUPYTER_OPEN = "jupyter-open"
    JUPYTER_CRASHED = "jupyter-crashed"
    KILLED = "killed"
    CLOSED = "closed"
    REVOKED = "revoked"
    FILES_GONE = "files-gone"
    SCRIPT_FAILED = "script-failed"
    NO_LOG = "no-log"
    EMPTY_LOG = "empty-log"
    BEFORE_THE_SCRIPT = "before-the-script"
    FILES_UNSEEN = "files-unseen"
    DEFECT = "defect"
    UNCLEAR = "unclear"


class EndCause(StrEnum):
    """The cause of an end, as the service's page and `events.jsonl` have it.

    The first ones are the agent's: see `rps_core.node.agent.events.EndCause`.
    """

    APPLICATION_EXIT = "application-exit"
    IDLE = "idle"
    REFUSED = "refused"
    REMOVED = "removed"
    REVOKED = "revoked"
    SIGNAL = "signal"
    START_FAILED = "start-failed"
    TIMEOUT = "timeout"
    TIME_LIMIT = "time-limit"
    UNREACHABLE = "unreachable"
    # Of the launcher, also from the scheduler's outcome of the job.
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    ENDED = "ended"
    FAILED = "failed"
    NODE_FAILED = "node failed"
    NOT_SUBMITTED = "not-submitted"
    OUT_OF_MEMORY = "out of memory"
    PREEMPTED = "preempted"
    STOPPED = "stopped"
    WALLTIME = "walltime"


def munge_payload(host: str, content: bytes) -> bytes:
    """Return the payload of a MUNGE credential.

    It is the request with the body `content` to the service at `host`.
    """
    import hashlib

    return f"rps issue 1\n{host}\n{hashlib.sha256(content).hexdigest()}\n".encode("ascii")
