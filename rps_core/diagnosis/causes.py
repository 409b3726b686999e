"""The meaning and the advice of each cause in `rps list` (docs/sessions.md)."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rps_core.protocol import Cause
from rps_core.values import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a cause, in whole sentences.

    `advice` is what the user can do; empty: nothing.
    """

    sentence: str
    advice: str = ""


_AGAIN = "`rps start` starts another."
_LESS = (
    "Request less time (-t), cores (-c), memory (-m) or GPUs (-g), or use another partition (-p)."
)
_LOGIN_SHELL = (
    "Check what ~/.bash_profile, ~/.bash_login or ~/.profile run: an `exec` of another shell, or a command "
    "that fails or waits, ends each job. `rps doctor` tests it (line `login shell`)."
)
_SUPPORT = "Start it again. If it fails again, send these lines to the cluster's support."

# Of a job that waits.
WAITING: Mapping[str, Meaning] = {
    Cause.RESOURCES: Meaning(
        "The job is waiting for free nodes and is next in the queue.",
        "Wait, or request less: small and short jobs start sooner.",
    ),
    Cause.PRIORITY: Meaning(
        "The job is waiting behind other jobs in the queue.",
        "Wait, or request less: small and short jobs start sooner. A partition for short jobs (debug, "
        "interactive) may be faster.",
    ),
    Cause.HELD: Meaning(
        "The job is held and does not start before it is released.",
        "If you did not hold it yourself, ask the cluster's support why it is held.",
    ),
    Cause.DEPENDENCY: Meaning(
        "The job is waiting for another job.", "It starts when that job has ended successfully."
    ),
    Cause.BEGIN_TIME: Meaning("The job has a start time in the future.", "Wait for that time."),
    Cause.QUEUE_LIMIT: Meaning(
        "A limit of the queue, the account or the user is reached.",
        "Stop another session (`rps list`, `rps stop NAME`) or cancel another job, or request less.",
    ),
    Cause.NEVER: Meaning(
        "The job can never start with its current requests.",
        "Stop it (`rps stop`), and start another without the impossible request. If it is too much: "
        + _LESS,
    ),
    Cause.NODES_UNAVAILABLE: Meaning(
        "The nodes that the job needs are down, drained or reserved.",
        "Wait, use another partition (-p), or request a walltime (-t) that ends before a maintenance.",
    ),
    Cause.PARTITION_DOWN: Meaning(
        "The partition or queue is disabled.", "Stop the session, and use another partition (-p)."
    ),
    Cause.WAITING: Meaning("The job is waiting in the queue.", "Wait."),
}
# Of a session that lives.
LIVING: Mapping[str, Meaning] = {
    **WAITING,
    Cause.STARTING: Meaning("The job is running, the notebook is starting.", "Wait a moment."),
    Cause.READY: Meaning("The notebook answers.", "`rps open` opens it, `rps url` prints its URL."),
    Cause.SUSPENDED: Meaning(
        "The scheduler has suspended the job.", "It continues when the scheduler resumes it."
    ),
    Cause.LAPSED: Meaning(
        "The job is running, but its agent has stopped renewing the route.",
        "Wait a minute: the node may be overloaded, or disconnected from the service.",
    ),
    Cause.ROUTE_GONE: Meaning(
        "The job is running, but the service does not know its name any more: its URL leads nowhere.",
        "Stop it (`rps stop`), and start another.",
    ),
    Cause.ENDING: Meaning("The route is closed, the job is ending."),
    Cause.SCHEDULER_AWAY: Meaning(
        "The scheduler does not answer.",
        "A running job continues. Try again later.",
    ),
    Cause.SERVICE_AWAY: Meaning(
        "The Reverse Proxy Service does not answer this host.",
        "The notebook continues, and is reachable again when the service is. Inform the cluster's support.",
    ),
    Cause.ELSEWHERE: Meaning(
        "The job is on another cluster, and only that cluster's scheduler knows it.",
        "Run the command there, or use --cluster.",
    ),
    Cause.SUBMITTING: Meaning("The job is being submitted.", "Wait a moment."),
    Cause.ID_REUSED: Meaning(
        "The scheduler no longer has the session's job: its id belongs to another job.",
        "`rps stop` ends the session, and leaves the other job alone.",
    ),
    Cause.UNKNOWN: Meaning("The state of the job is unknown.", "Try again later."),
}
# Of a session that has ended, or whose job was never submitted.
OVER: Mapping[str, Meaning] = {
    Cause.STOPPED: Meaning("The session was stopped with `rps stop`.", _AGAIN),
    Cause.CANCELLED: Meaning(
        "The job was cancelled, but not with rps.",
        "The lines name the user who cancelled it, if the scheduler reports that. " + _AGAIN,
    ),
    Cause.ALLOCATION_OVER: Meaning(
        "The allocation that the session ran in has ended.",
        "`rps start` starts another session, in a new job.",
    ),
    Cause.TIME_LIMIT: Meaning("The job reached its walltime limit.", "Request more time with -t."),
    Cause.IDLE: Meaning(
        "The session was inactive for `notebook.idle_timeout`.",
        "Use a longer --idle, if the site allows it. " + _AGAIN,
    ),
    Cause.OUT_OF_MEMORY: Meaning(
        "The job exceeded its memory limit and was killed.",
        "Request more with -m (`rps start -m 16G`), or use less memory.",
    ),
    Cause.NODE_FAILURE: Meaning("The node failed.", _AGAIN + " Unsaved work is lost."),
    Cause.PREEMPTED: Meaning(
        "A job with higher priority took the job's place.",
        "Use a partition (-p) or a quality of service (--qos) without preemption.",
    ),
    Cause.NO_ACCOUNT: Meaning(
        "The account is invalid, or not allowed there.",
        "Use one of your allocations with -A.",
    ),
    Cause.QUEUE_LIMIT: Meaning(
        "The job was rejected because of a limit of the queue, the account or the user.",
        "Stop another session (`rps list`, `rps stop`) or cancel another job, or request less.",
    ),
    Cause.NO_PARTITION: Meaning(
        "The partition or queue does not exist, is disabled, or is not open to you.",
        "Use another one with -p.",
    ),
    Cause.TOO_MUCH: Meaning("No node of the partition can satisfy the request.", _LESS),
    Cause.REFUSED: Meaning(
        "The scheduler rejected the job.",
        "Its message says why; `rps start --dry-run` prints the script.",
    ),
    Cause.SCHEDULER_AWAY: Meaning(
        "The scheduler did not answer during the submission.", "Try again later."
    ),
    Cause.PLUGIN_BROKEN: Meaning(
        "The plugin of the site or of its scheduler failed during the submission.",
        "Its message names the plugin, its file and line: report it to its authors.",
    ),
    Cause.ID_REUSED: Meaning(
        "The scheduler lost the session's job, and gave its id to another job.", _AGAIN
    ),
    Cause.NEVER_SUBMITTED: Meaning("The launcher was ended before it submitted the job.", _AGAIN),
    Cause.NO_MODULE: Meaning(
        "A module could not be loaded on the node.",
        "`module avail` lists the modules; select them with --modules (`notebook.modules`).",
    ),
    Cause.NO_ENVIRONMENT: Meaning(
        "The conda environment could not be activated on the node.",
        "`conda env list` shows yours. If the node has no conda, load its module with --modules.",
    ),
    Cause.NO_JUPYTER: Meaning(
        "There is no Jupyter on the node, with the requested modules and environment.",
        "Install jupyterlab there, or select an installation with --modules, --conda-env or "
        "`notebook.jupyter`.",
    ),
    Cause.NO_PYTHON: Meaning(
        "The node has no Python 3.6 or newer for the agent.",
        "Load one with --modules.",
    ),
    Cause.NO_DIRECTORY: Meaning(
        "The notebook's directory does not exist on the node.",
        "Use a directory that the compute nodes see too (-d).",
    ),
    Cause.DISK_FULL: Meaning(
        "No space left: a full file system, or your quota.",
        "Free some space in your home directory.",
    ),
    Cause.PORT_TAKEN: Meaning(
        "No free port on the node.",
        "Start it again, if necessary on another node; `notebook.port_range` may be too small.",
    ),
    Cause.PORT_REFUSED: Meaning(
        "The service does not accept the node's address or the notebook's port.",
        "The service accepts addresses of the cluster's networks and ports from 1024 on: check "
        "`notebook.port_range` and `proxy.node_address`, or inform the cluster's support.",
    ),
    Cause.PROXY_UNREACHABLE: Meaning(
        "The node cannot reach the Reverse Proxy Service.",
        "If other nodes can, start it again; otherwise send these lines to the cluster's support.",
    ),
    Cause.NODE_UNREACHABLE: Meaning(
        "The service could not connect to the notebook on its node.",
        "The lines show the address that it tried. If it is not the node's, addresses are translated on the "
        "way, and `proxy.node_address` is the setting for it: send these lines to the cluster's support.",
    ),
    Cause.REFUSED_BY_SERVICE: Meaning("The service rejected the session.", _SUPPORT),
    Cause.NOT_STARTED: Meaning(
        "Jupyter could not be started on the node.",
        "The lines say why: a setting that does not fit this node, or a problem of the node. Correct the "
        "setting, or send the lines to the cluster's support.",
    ),
    Cause.APPLICATION_FAILED: Meaning(
        "The application did not start.",
        "The lines are the end of its output; `rps logs` prints all of it.",
    ),
    Cause.JUPYTER_FAILED: Meaning(
        "Jupyter exited before it answered.",
        "The lines are the end of its output; `rps logs` prints all of it.",
    ),
    Cause.JUPYTER_SILENT: Meaning(
        "Jupyter did not answer in time.",
        "A busy file system may slow it down: increase `notebook.start_timeout`. `rps logs` prints its "
        "output.",
    ),
    Cause.JUPYTER_OPEN: Meaning(
        "Jupyter would have allowed access without its token, and was not published.",
        "Check your own Jupyter configuration and extensions; the lines say what they change.",
    ),
    Cause.JUPYTER_CRASHED: Meaning(
        "Jupyter exited with an error.",
        "The lines are the end of its output; `rps logs` prints all of it.",
    ),
    Cause.KILLED: Meaning(
        "Jupyter was killed, usually because of a lack of memory.",
        "Request more memory with -m (`rps start -m 16G`).",
    ),
    Cause.CLOSED: Meaning("Jupyter was shut down from its own menu.", _AGAIN),
    Cause.REVOKED: Meaning(
        "The service ended the session: its operator did, or the lease expired.",
        _SUPPORT,
    ),
    Cause.FILES_GONE: Meaning("The session's directory was removed during the session.", _AGAIN),
    Cause.SCRIPT_FAILED: Meaning(
        "The job's script ended before the notebook was started.",
        "If it printed lines, the last ones are above; `rps logs` prints all of them.",
    ),
    Cause.NO_LOG: Meaning(
        "The job ended without a log: it could not write one, or never ran on a node.",
        "Check that the compute nodes see the session's directory and can write to it (`rps doctor`, line "
        "`sessions`); if not, set XDG_STATE_HOME to a directory where they do.",
    ),
    Cause.EMPTY_LOG: Meaning(
        "The job ended with an empty log, before its script ran.", _LOGIN_SHELL
    ),
    Cause.BEFORE_THE_SCRIPT: Meaning(
        "The job ended before its script ran: its log is of your login shell or the scheduler.",
        _LOGIN_SHELL,
    ),
    Cause.FILES_UNSEEN: Meaning(
        "The node does not see the session's directory, or not as yours.",
        "Set XDG_STATE_HOME to a directory that the compute nodes share, then start again.",
    ),
    Cause.DEFECT: Meaning("The agent has a bug.", "Please report it, with the session's log."),
    Cause.UNCLEAR: Meaning(
        "The session has ended, without evidence of the cause.",
        "`rps logs` prints the job's output.",
    ),
}


def advice_for(word: str, name: str, *, over: bool) -> str:
    """Return the advice for a cause, with the session's name in its commands.

    Without a name the commands act on the only living session: there may be none, or several.
    """
    commands = "logs" if over else "open|stop|url"
    advice = meaning_of(word, over=over).advice
    return re.sub(rf"`rps ({commands})`", rf"`rps \1 {name}`", advice)


def meaning_of(word: str, *, over: bool) -> Meaning:
    """Return the meaning of a cause; of a later version's word, that it is unclear."""
    table = OVER if over else {**OVER, **LIVING}
    return table.get(word) or (OVER[Cause.UNCLEAR] if over else LIVING[Cause.UNKNOWN])
