"""Why qsub and qdel fail: their words, the cause, and what to do.

The exit codes are the server's error numbers modulo 256 (Torque's src/include/pbs_error_db.h, OpenPBS's
src/include/pbs_error.h). 1 and 2 are qsub's own, and those of a site's filter or wrapper: what these print is
theirs to explain, and gets no hint of ours. The causes are those of `rps_core.diagnosis.causes.OVER`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rps_core.plugin import Cause, Finished, SchedulerError, quoted, without_rulers

# Exit codes: Torque's server, or trqauthd on this host, does not answer.
AWAY = frozenset({31, 33, 111, 113, 162, 214})
_LIMITS = (
    "`qstat -f -Q` shows the least and the most that each queue takes (resources_min, resources_max): "
    "request another walltime (-t), fewer cores or GPUs, or choose another queue (-p)."
)
_JOBS = "You have reached the limit on jobs in this queue. End one, or choose another queue (-p)."
_VALUE = "see `rps start --dry-run`."
TORQUE = {
    159: "You cannot use this queue: choose another with -p.",
    168: f"Torque cannot read a value: {_VALUE}",
    172: "`qstat -q` lists the queues; choose one with -p.",
    175: "This queue takes no jobs now: choose another with -p.",
    189: f"This Torque does not know a requested resource: {_VALUE}",
    190: _LIMITS,
    214: "The server is shutting down. Try again later.",
    228: _JOBS,
}
PBS = {
    38: _JOBS,
    159: "You cannot use this queue: choose another with -p.",
    166: f"PBS cannot read a value: {_VALUE}",
    170: "`qstat -q` lists the queues; choose one with -p.",
    173: "This queue takes no jobs now: choose another with -p.",
    187: f"This PBS does not know a requested resource: {_VALUE}",
    188: _LIMITS,
}
_CAUSES: Mapping[int, Cause] = {
    **dict.fromkeys((159, 170, 172, 173, 175), Cause.NO_PARTITION),
    **dict.fromkeys((188, 190), Cause.TOO_MUCH),
    **dict.fromkeys((38, 228), Cause.QUEUE_LIMIT),
    **dict.fromkeys(AWAY, Cause.SCHEDULER_AWAY),
}
# Its own words with exit codes 1 and 2 (src/cmds: Torque 6.1, qsub_functions.c; OpenPBS 23.06, qsub.c).
_OWN = (
    (r"qsub can not be run as root", "Run rps as an ordinary user."),
    (r"qsub: (?:invalid option -- '.'|illegal -\w+ value)", f"This qsub does not take an option: {_VALUE}"),
    (r"qsub: +script (?:file|not a file|is written|contains) ?.*", "qsub cannot read the batch script."),
)  # fmt: skip
_ACCOUNT = re.compile(
    r"'?(?:qsub: (?:submit error \()?Invalid Account\b"
    r"|sbatch: error: Batch job submission failed: Invalid account or account/partition combination)",
    re.IGNORECASE,
)
_PREFIX = re.compile(r"(?:qsub|qdel|sbatch): (?:error: )?(?:submit error )?")
_USAGE = re.compile(r"usage:", re.IGNORECASE)
# What Slurm's wrapper prints around sbatch's words (contribs/torque/qsub.pl).
_FRAME = re.compile(
    r"There was an error running the Slurm sbatch command\.|The command was:|and the output was:"
    r"|'\S*sbatch .*'"
)


def words(done: Finished) -> list[str]:
    """Return all that a command and its filters printed for the user, line by line.

    Left out are rulers, the names of the commands and the usage text. Slurm's wrapper quotes sbatch.
    """
    found: list[str] = []
    for output in (done.stderr, done.stdout):
        in_usage = False
        for line in without_rulers(output):
            text = line.strip(" []'") if "sbatch: " in line else line
            in_usage = bool(_USAGE.match(text.strip())) or (in_usage and not _PREFIX.match(text))
            bare = _PREFIX.sub("", text, count=1) if _PREFIX.match(text) else text
            inner = re.fullmatch(r"\((.*?)\)?", bare) if bare != text else None
            if not in_usage and bare.strip() and not _FRAME.fullmatch(line.strip()):
                found.append(inner[1].strip() if inner else bare)
    return without_rulers("\n".join(found))


def refusal(done: Finished, hints: Mapping[int, str]) -> SchedulerError:
    """Return the error of a qsub that failed, with all of its words.

    Args:
        hints: what the user can do, by the product's exit code.
    """
    lines = [line.strip(" []") for line in f"{done.stderr}\n{done.stdout}".splitlines()]
    if done.code in (1, 2):
        own = (hint for pattern, hint in _OWN for line in lines if re.fullmatch(pattern, line))
        hint = next(own, "")
    else:
        hint = hints.get(done.code, "") if done.stderr else ""
    account = any(_ACCOUNT.match(line) for line in lines)
    return SchedulerError(
        f"qsub refused the job (exit {done.code}):{quoted(words(done) or ['no message'])}",
        hint,
        transient=done.code in AWAY,
        cause=_CAUSES.get(done.code, Cause.NO_ACCOUNT if account else Cause.REFUSED),
    )
