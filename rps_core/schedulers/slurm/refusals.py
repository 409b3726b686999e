"""Why Slurm's commands fail: the message, the cause, and what to do.

The causes are those of `rps_core.diagnosis.causes.OVER`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rps_core.plugin import Cause, dataclass, without_rulers
from rps_core.schedulers.slurm.limits import limit

if TYPE_CHECKING:
    from rps_core.plugin import Finished

# Patterns are compiled when they are first used: few commands fail.
# The controller may have done what the command requested.
_UNANSWERED = (
    r"(?i)socket timed out|unable to contact slurm controller|zero bytes were transmitted"
    r"|connection (reset|timed out|refused)|message receive failure|unexpected message"
    r"|temporarily unable to accept|resource temporarily unavailable|send/recv"
)
# Nothing was sent; the same command may succeed later.
_NOT_SENT = r"(?i)authentication error|munge|configuration source"

# `<function> error: <text>` is printed by Slurm's API (src/api, such as slurm_submit_batch_job).
_PREFIX = (
    r"^(?:sbatch|scancel|squeue|sacct|sacctmgr|sinfo|scontrol|srun): (?:(?:error|fatal|warning|info): )?"
    r"|^slurm_[a-z_]+ error: "
)
# Lines around the one with the cause.
_NOISE = (
    r"If munged is up|slurm_send_node_msg|slurm_persist_conn_open|resolve_ctls_from_dns_srv"
    r"|fetch_config|_establish_config_source|Sending PersistInit msg|Try \"s|Terminating job"
    r"|^\S+: (?:common_)?init: .* loaded"  # of --verbose: the plugins that scancel loads
)
_TERMINATES = r"Terminating (?:\w+ )?job"  # printed by --verbose
_NO_SUCH_JOB = "Invalid job id specified"
_SUMMARY = "Batch job submission failed: "
_AWAY = (
    Cause.SCHEDULER_AWAY,
    "Slurm's controller does not answer. Try again later; `scontrol ping` shows when it is back.",
)
_MUNGE = (
    Cause.SCHEDULER_AWAY,
    "The authentication service of this host (munge) does not work: report it to its administrators.",
)
_NO_PARTITION = "Choose a partition with -p; `sinfo --summarize` lists them."
_RESERVATION = (
    Cause.REFUSED,
    "`scontrol show reservation` lists the reservations; omit --reservation for none.",
)
_NODES = (
    Cause.TOO_MUCH,
    "`scontrol show partition` shows the fewest and the most nodes of a job (MinNodes, MaxNodes), and the "
    "cores: request so many, or choose another with -p.",
)
_CONFIGURATION = (
    Cause.TOO_MUCH,
    "No node of the partition has so many cores (-c), so much memory (-m) or so many GPUs (-g): request "
    "less, or choose another with -p; `sinfo --format='%P %c %m %G'` shows what they have.",
)
_GPUS = (
    Cause.TOO_MUCH,
    "Choose a partition with GPUs with -p; `sinfo --format='%P %G'` shows them.",
)
# The cause and what to do by the error code, which the commands print as its text in Slurm's table
# (slurm_errtab in src/common/slurm_errno.c, 22.05 to 25.11). A code without an entry gets no hint.
_CODES: Mapping[str, tuple[Cause, str]] = {
    # ESLURM_INVALID_ACCOUNT
    "Invalid account or account/partition combination specified": (
        Cause.NO_ACCOUNT,
        "Choose one of your allocations with -A; `sacctmgr show associations user=$USER "
        "format=account,partition` lists them.",
    ),
    # ESLURM_INVALID_PARTITION_NAME, ESLURM_DEFAULT_PARTITION_NOT_SET
    "Invalid partition name specified": (Cause.NO_PARTITION, _NO_PARTITION),
    "No partition specified or system default partition": (Cause.NO_PARTITION, _NO_PARTITION),
    # ESLURM_PARTITION_NOT_AVAIL, ESLURM_PARTITION_DOWN
    **dict.fromkeys(
        ("Required partition not available (inactive or drain)", "Partition in DOWN state"),
        (
            Cause.NO_PARTITION,
            "Its administrators disabled it: choose another with -p; `sinfo --summarize` lists them.",
        ),
    ),
    # ESLURM_JOB_MISSING_REQUIRED_PARTITION_GROUP
    "User's group not permitted to use this partition": (
        Cause.NO_PARTITION,
        "Choose another partition with -p.",
    ),
    # ESLURM_INVALID_QOS
    "Invalid qos specification": (
        Cause.REFUSED,
        "Omit --qos, or choose one that your account can use; `sacctmgr show associations "
        "user=$USER format=account,qos` lists them.",
    ),
    # ESLURM_INVALID_TIME_LIMIT, ESLURM_MISSING_TIME_LIMIT
    "Requested time limit is invalid (missing or exceeds some limit)": (
        Cause.QUEUE_LIMIT,
        "Request less with -t; `sinfo --format='%P %l'` shows the limit of each partition.",
    ),
    "Time limit specification required, but not provided": (
        Cause.REFUSED,
        "Give a walltime with -t.",
    ),
    # ESLURM_INVALID_GRES, ESLURM_INVALID_GRES_TYPE
    "Invalid generic resource (gres) specification": _GPUS,
    "Invalid GRES specification (with and without type identification)": _GPUS,
    # ESLURM_REQUESTED_NODE_CONFIG_UNAVAILABLE, ESLURM_INVALID_TASK_MEMORY
    "Requested node configuration is not available": _CONFIGURATION,
    "Memory required by task is not available": _CONFIGURATION,
    # ESLURM_INVALID_NODE_COUNT, ESLURM_INVALID_CPU_COUNT, ESLURM_TOO_MANY_REQUESTED_CPUS
    "Node count specification invalid": _NODES,
    "CPU count specification invalid": _NODES,
    "More processors requested than permitted": (
        Cause.TOO_MUCH,
        "Request fewer nodes or cores; `sinfo --summarize` shows how many a partition has.",
    ),
    # ESLURM_INVALID_FEATURE
    "Invalid feature specification": (
        Cause.TOO_MUCH,
        "`sinfo --format='%P %f'` lists the features for --constraint.",
    ),
    # ESLURM_RESERVATION_ACCESS, _INVALID, _NOT_USABLE
    "Access denied to requested reservation": _RESERVATION,
    "Requested reservation is invalid": _RESERVATION,
    "Requested reservation not usable now": _RESERVATION,
    # ESLURM_ACCOUNTING_POLICY. sbatch prints the limit above it, if slurmctld names one.
    "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)": (
        Cause.QUEUE_LIMIT,
        "A limit of your account or QoS: `sacctmgr show associations user=$USER` and `sacctmgr show qos` "
        "show them.",
    ),
    # ESLURM_QOS_THRES
    "Requested account has breached requested QOS usage threshold": (Cause.QUEUE_LIMIT, ""),
    # SLURM_PROTOCOL_AUTHENTICATION_ERROR
    "Protocol authentication error": _MUNGE,
    # SLURMCTLD_COMMUNICATIONS_*, SLURM_PROTOCOL_SOCKET_IMPL_TIMEOUT, ESLURM_IN_STANDBY_MODE
    **dict.fromkeys(
        (
            *(
                f"Unable to contact slurm controller ({what} failure)"
                for what in ("connect", "send", "receive", "shutdown")
            ),
            "Socket timed out on send/recv operation",
            "Zero Bytes were transmitted or received",
            "Rate limit exceeded, please retry momentarily",
            "Rate limit exceeded, please retry later",
            "Slurm backup controller in standby mode",
        ),
        _AWAY,
    ),
}
# Errors without a code, of a command that sent nothing.
_UNSENT = (
    (re.compile(r"Munge encode failed: .*"), _MUNGE),
    (
        re.compile(r"Could not establish a configuration source"),
        (
            Cause.SCHEDULER_AWAY,
            "This host is not set up for Slurm. Is it a login node of the cluster?",
        ),
    ),
    (
        re.compile(r"(?:unrecognized option '.*'|invalid option -- '.'|Invalid directive .*)"),
        (Cause.REFUSED, "See `man sbatch`; `rps start --dry-run` shows the script."),
    ),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command failed.

    `lines` are all that it printed. `cause` is a word of `rps_core.diagnosis.causes.OVER`, `hint`
    what the user can do; empty: Slurm's words have to do.
    """

    lines: tuple[str, ...]
    cause: Cause
    hint: str


def refusal(stderr: str, stdout: str = "") -> Refusal:
    """Read the output of a command that failed: the words of the site's plugins, and Slurm's code."""
    lines = words(stderr, stdout)
    code = _code(stderr)
    others = [line for line in lines if line != code]
    cause, hint = _CODES.get(code or "", (Cause.REFUSED, ""))
    met = next((met for met in map(limit, others) if met), None)
    if met:
        cause, hint = Cause.QUEUE_LIMIT, met.advice
    elif code is None:
        known = (entry for pattern, entry in _UNSENT for line in lines if pattern.fullmatch(line))
        known_code = (_CODES[line] for line in lines if line in _CODES)
        cause, hint = next(known, None) or next(known_code, (Cause.REFUSED, ""))
    shown = (
        [f"{others[0]} ({code})"]
        if code and len(others) == 1
        else [*others, *([code] if code else [])]
    )
    return Refusal(tuple(shown), cause, hint)


def words(stderr: str, stdout: str = "") -> list[str]:
    """Return what a command printed for the user, line by line.

    Left out are rulers, the command's name, and the lines around a failed connection.
    """
    bare = without_rulers("\n".join(map(_bare, f"{stderr}\n{stdout}".splitlines())))
    return [line for line in bare if not re.search(_NOISE, line)] or bare


def _code(stderr: str) -> str | None:
    """Return the text of the error code in sbatch's last line; None: it printed no code."""
    found = [line for line in stderr.splitlines() if _SUMMARY in line]
    return _bare(found[-1]).strip() if found else None


def may_have_worked(stderr: str) -> bool:
    """Return whether the controller may have done what a command requested.

    With a code that code decides: a site's own words may be about anything.
    """
    return re.search(_UNANSWERED, _code(stderr) or stderr) is not None


def is_passing(stderr: str) -> bool:
    """Return whether the same command may succeed later."""
    return may_have_worked(stderr) or re.search(_NOT_SENT, _code(stderr) or stderr) is not None


def is_another(done: Finished) -> bool:
    """Return whether scancel left a living job of the id alone, which has another name or user.

    Its exit code is 0 then. It says that no job matches, but not if a job with another id does
    (src/scancel/scancel.c, _filter_job_records).
    """
    return done.code == 0 and not has_ended(done.stderr) and not re.search(_TERMINATES, done.stderr)


def has_ended(stderr: str) -> bool:
    """Return whether scancel found no living job of the id."""
    return "already completing or completed" in stderr or _NO_SUCH_JOB in stderr


def message(stderr: str, stdout: str = "") -> str:
    """Return a failed command's message in one line; empty: it printed none.

    It is the first line that is not noise, with sbatch's summary if that has more.
    """
    lines = [line.strip() for line in [*stderr.splitlines(), *stdout.splitlines()] if line.strip()]
    bare = [_bare(line) for line in lines]
    messages = [line for line in bare if not re.search(_NOISE, line)] or bare
    if not messages:
        return ""
    first = messages[0]
    summary = next((_bare(line) for line in lines if _SUMMARY in line), first)
    return first if summary == first else f"{first} ({summary})"


def _bare(line: str) -> str:
    text = re.sub(_PREFIX, "", line)
    return text.removeprefix(_SUMMARY)
