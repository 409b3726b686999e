"""Why a session is as it is: the causes that there are, by the word that `rps list` shows.

The words are stable, for they are in JSON and in records. `docs/sessions.md` lists them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cause:
    """What it means, and what to do; both whole sentences. `advice` may be empty: nothing is to be done."""

    sentence: str
    advice: str = ""


_AGAIN = "`rps start` starts another."
_LESS = (
    "Ask for less: time (-t), cores (-c), memory (-m), GPUs (-g); or take another partition (-p)."
)
_SUPPORT = "Start it again; where that ends the same, tell the cluster's support, with these lines."

# While it lives.
WAITING: Mapping[str, Cause] = {
    "resources": Cause(
        "It waits for free nodes, and is next where these are free.",
        "Wait, or ask for less: small and short jobs find a gap sooner.",
    ),
    "priority": Cause(
        "Other jobs are before it in the queue.",
        "Wait, or ask for less: small and short jobs find a gap sooner. A partition for short jobs (debug, "
        "interactive) may be faster.",
    ),
    "held": Cause(
        "The job is held back, and does not start before it is let go.",
        "Ask the cluster's support why, where it was not you who held it.",
    ),
    "dependency": Cause(
        "It waits for another job.", "It starts when that job has ended as it should."
    ),
    "begin-time": Cause("It is not to start before a certain time.", "Wait for that time."),
    "queue-limit": Cause(
        "A limit of the queue, of the account or of yours is reached.",
        "End something that runs or waits (`rps list` shows it, `rps stop NAME` ends it), or ask for less.",
    ),
    "never": Cause(
        "As it was asked for, the job can never start.",
        "Stop it (`rps stop`), and start another without what cannot be had. Where it is too much: "
        + _LESS,
    ),
    "nodes-unavailable": Cause(
        "The nodes that it needs are down, drained or reserved.",
        "Wait, take another partition (-p), or ask for a time (-t) that ends before a maintenance begins.",
    ),
    "partition-down": Cause(
        "Its partition or queue is switched off.", "Stop it, and take another with -p."
    ),
    "waiting": Cause("It waits in the queue; the scheduler gives no reason.", "Wait a little."),
}
LIVING: Mapping[str, Cause] = {
    **WAITING,
    "starting": Cause("The job runs, and the notebook is starting.", "Wait a moment."),
    "ready": Cause("The notebook answers.", "`rps open` opens it, `rps url` prints its URL."),
    "suspended": Cause(
        "The scheduler has suspended the job.", "It goes on when the scheduler lets it."
    ),
    "lapsed": Cause(
        "The job runs, but its agent stopped telling the service that the notebook is there.",
        "Give it a minute: its node may be overloaded, or cut off from the service.",
    ),
    "ending": Cause("Its route is closed, and the job is ending."),
    "scheduler-away": Cause(
        "The scheduler does not answer.",
        "Nothing is concluded from that, and a job that runs goes on. Try again in a while.",
    ),
    "service-away": Cause(
        "The Reverse Proxy Service does not answer this host.",
        "The notebook goes on, and is reachable again when the service is. Tell the cluster's support.",
    ),
    "elsewhere": Cause(
        "Its job is on another cluster, and only that one's scheduler knows of it.",
        "Ask there, or give --cluster.",
    ),
    "submitting": Cause("It is being submitted.", "Wait a moment."),
    "unknown": Cause("What became of the job is not known.", "Try again in a while."),
}
# Once it is over, or was never there.
OVER: Mapping[str, Cause] = {
    "stopped": Cause("It was stopped with `rps stop`.", _AGAIN),
    "cancelled": Cause(
        "Its job was cancelled, and not through rps.",
        "Whoever cancelled it knows why; the lines say who, where the scheduler tells. " + _AGAIN,
    ),
    "allocation-over": Cause(
        "The allocation that it ran in was given back.",
        "`rps start` starts another, in a job of its own.",
    ),
    "time-limit": Cause(
        "The job ran for as long as it was allowed to.", "Ask for more time with -t."
    ),
    "idle": Cause(
        "Nothing ran in it for as long as `notebook.idle_timeout` says.",
        "Give it longer with --idle, where the site allows that. " + _AGAIN,
    ),
    "out-of-memory": Cause(
        "The job used more memory than it had asked for, and was ended.",
        "Ask for more with -m (`rps start -m 16G`), or hold less data at a time.",
    ),
    "node-failure": Cause(
        "The node that it ran on failed.", _AGAIN + " What was not saved is lost."
    ),
    "preempted": Cause(
        "A job that goes before it took its place.",
        "Take a partition (-p) or a quality of service (--qos) that is not preempted.",
    ),
    "no-account": Cause(
        "The account that it was to be charged to is not valid, or may not be used there.",
        "Name an allocation of yours with -A.",
    ),
    "queue-limit": Cause(
        "It was refused for a limit of the queue, of the account or of yours.",
        "End something that runs or waits (`rps list`, `rps stop`), or ask for less.",
    ),
    "no-partition": Cause(
        "The partition or queue is not there, is switched off, or is not for you.",
        "Take another with -p.",
    ),
    "too-much": Cause("No node of the partition can give what was asked for.", _LESS),
    "refused": Cause(
        "The scheduler refused the job.",
        "Its words say why; `rps start --dry-run` shows the script.",
    ),
    "scheduler-away": Cause(
        "The scheduler did not answer when the job was to be submitted.", "Try again in a while."
    ),
    "never-submitted": Cause("Its launcher was ended before it submitted the job.", _AGAIN),
    "no-module": Cause(
        "A module that was asked for could not be loaded on the node.",
        "`module avail` lists what there is; name them with --modules (`notebook.modules`).",
    ),
    "no-environment": Cause(
        "The conda environment could not be activated on the node.",
        "`conda env list` shows yours; where the node has no conda, load its module with --modules.",
    ),
    "no-jupyter": Cause(
        "There is no Jupyter on the node, with the modules and the environment that were asked for.",
        "Install jupyterlab there, or name what brings it: --modules, --conda-env, or "
        "`notebook.jupyter` for the program itself.",
    ),
    "no-python": Cause(
        "The node has no Python 3.6 or newer to run the agent with.",
        "Load one with --modules.",
    ),
    "no-directory": Cause(
        "The notebook's directory is not there on the node.",
        "Name one that the nodes see too, with -d.",
    ),
    "disk-full": Cause(
        "There was no room to write: a full file system, or your quota.",
        "Free some space in your home directory.",
    ),
    "port-taken": Cause(
        "No port was free on the node.",
        "Start it again, on another node if need be; `notebook.port_range` may be too small.",
    ),
    "port-refused": Cause(
        "The service does not accept the node's address or the notebook's port.",
        "The service takes addresses of the cluster's networks and ports from 1024 on: look at "
        "`notebook.port_range`, and tell the cluster's support.",
    ),
    "proxy-unreachable": Cause(
        "The Reverse Proxy Service cannot be reached from the node.",
        "Where other nodes can, start it again; else tell the cluster's support, with these lines.",
    ),
    "refused-by-service": Cause("The service refused the session.", _SUPPORT),
    "jupyter-failed": Cause(
        "Jupyter ended before it answered.",
        "The lines are the last that it wrote; `rps logs` shows all.",
    ),
    "jupyter-silent": Cause(
        "Jupyter did not answer in time.",
        "A busy file system may make it slow: `notebook.start_timeout` gives it longer. `rps logs` shows "
        "how far it came.",
    ),
    "jupyter-open": Cause(
        "Jupyter would have let others in, and was not published.",
        "Look at your own Jupyter configuration and extensions; the lines say what they change.",
    ),
    "jupyter-crashed": Cause(
        "Jupyter ended by itself, and not well.",
        "The lines are the last that it wrote; `rps logs` shows all.",
    ),
    "killed": Cause(
        "Jupyter was killed, most often for want of memory.",
        "Ask for more memory with -m (`rps start -m 16G`).",
    ),
    "closed": Cause("Jupyter was shut down from within, by its own menu.", _AGAIN),
    "revoked": Cause(
        "The service ended the session: its operator did, or it had not heard from it for too long.",
        _SUPPORT,
    ),
    "files-gone": Cause("The session's directory was removed while it ran.", _AGAIN),
    "script-failed": Cause(
        "The job ended before the notebook was started.",
        "The lines are the last of its log; `rps logs` shows all.",
    ),
    "defect": Cause("The agent has a defect.", "Please report it, with the session's log."),
    "unclear": Cause("It is over, and nothing tells why.", "`rps logs` shows what the job wrote."),
}


def advice_for(word: str, name: str, *, over: bool) -> str:
    """What to do about this session. The commands have its name: without one they are about the session that
    lives, which may be another, or there may be several."""
    commands = "logs" if over else "open|stop|url"
    advice = cause_of(word, over=over).advice
    return re.sub(rf"`rps ({commands})`", rf"`rps \1 {name}`", advice)


def cause_of(word: str, *, over: bool) -> Cause:
    """The cause of this word; a later version's word is answered as unclear."""
    table = OVER if over else {**OVER, **LIVING}
    return table.get(word) or (OVER["unclear"] if over else LIVING["unknown"])
