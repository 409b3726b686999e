"""Why Slurm's commands fail: the line that tells, the word for it (`rps_core.causes.OVER`), and what to do
about it."""

from __future__ import annotations

import re

# The command may have done its work: nobody knows until it is looked up.
_UNANSWERED = re.compile(
    r"socket timed out|unable to contact slurm controller|zero bytes were transmitted"
    r"|connection (reset|timed out|refused)|message receive failure|unexpected message"
    r"|temporarily unable to accept|resource temporarily unavailable|send/recv",
    re.IGNORECASE,
)
# Nothing was sent, and it may go better later.
_NOT_SENT = re.compile(r"authentication error|munge|configuration source", re.IGNORECASE)

_PREFIX = re.compile(r"^[a-z]+: (?:(?:error|fatal|warning|info): )?|^slurm_[a-z_]+ error: ")
# Lines around the one that tells.
_NOISE = re.compile(
    r"If munged is up|slurm_send_node_msg|slurm_persist_conn_open|resolve_ctls_from_dns_srv"
    r"|fetch_config|_establish_config_source|Sending PersistInit msg|Try \"s|Terminating job"
)
_SUMMARY = "Batch job submission failed: "

_HINTS = (
    (
        r"invalid account or account/partition",
        "no-account",
        "Name an allocation of yours with -A; `sacctmgr show associations user=$USER "
        "format=account,partition` lists them.",
    ),
    (r"invalid partition", "no-partition", "Name a partition with -p; `sinfo --summarize` lists them."),
    (
        r"partition not available",
        "no-partition",
        "Its administrators have switched it off: take another with -p; `sinfo --summarize` lists them.",
    ),
    (
        r"group not permitted to use this partition|access/permission denied",
        "no-partition",
        "Take another partition with -p, or another account with -A.",
    ),
    (
        r"invalid qos",
        "refused",
        "Leave --qos out, or name one that your account may use; `sacctmgr show associations "
        "user=$USER format=account,qos` lists them.",
    ),
    (
        r"time limit",
        "queue-limit",
        "Ask for less with -t; `sinfo --format='%P %l'` shows the limit of each partition.",
    ),
    (
        r"generic resource|gres",
        "too-much",
        "Take a partition that has GPUs with -p; `sinfo --format='%P %G'` shows them.",
    ),
    (
        r"node configuration is not available|can not be satisfied|memory specification",
        "too-much",
        "No node of the partition has so many cores (-c), so much memory (-m) or so many GPUs (-g): ask "
        "for less, or take another with -p; `sinfo --format='%P %c %m %G'` shows what they have.",
    ),
    (
        r"node count|more processors requested",
        "too-much",
        "Ask for fewer nodes or cores; `sinfo --summarize` shows how many a partition has.",
    ),
    (
        r"invalid feature",
        "too-much",
        "`sinfo --format='%P %f'` shows the features that --constraint can name.",
    ),
    (
        r"reservation",
        "refused",
        "`scontrol show reservation` lists them; leave --reservation out for none.",
    ),
    (
        r"job violates accounting/qos policy|submit ?limit",
        "queue-limit",
        "You have as many jobs as you may, or ask for more than you may. `rps list` shows your sessions.",
    ),
    (
        r"munge|authentication error",
        "scheduler-away",
        "The authentication service of this host (munge) does not work: tell its administrators.",
    ),
    (
        r"configuration source",
        "scheduler-away",
        "This host is not set up for Slurm. Is it a login node of the cluster?",
    ),
    (
        r"unable to contact|socket timed out",
        "scheduler-away",
        "Slurm's controller does not answer. Try again in a while; `scontrol ping` tells when it is back.",
    ),
    (
        r"unrecognized option|invalid directive",
        "refused",
        "See `man sbatch`; `rps start --dry-run` shows the script.",
    ),
)  # fmt: skip


def may_have_worked(stderr: str) -> bool:
    """Whether the controller's answer got lost, so that the request may have been granted."""
    return _UNANSWERED.search(stderr) is not None


def is_passing(stderr: str) -> bool:
    """Whether the same command may succeed later, untouched."""
    return may_have_worked(stderr) or _NOT_SENT.search(stderr) is not None


def telling(stderr: str, stdout: str = "") -> str:
    """What a failed command said, in one line: its first line of substance, and sbatch's summary where
    that says more. Empty if it said nothing.
    """
    lines = [line.strip() for line in [*stderr.splitlines(), *stdout.splitlines()] if line.strip()]
    bare = [_bare(line) for line in lines]
    of_substance = [line for line in bare if not _NOISE.search(line)] or bare
    if not of_substance:
        return ""
    first = of_substance[0]
    summary = next((_bare(line) for line in lines if _SUMMARY in line), first)
    return first if summary == first else f"{first} ({summary})"


def hint(told: str) -> str:
    """What the user can do about it; empty where Slurm's words must do."""
    return _looked_up(told)[1]


def cause(told: str) -> str:
    """The word for it."""
    return _looked_up(told)[0]


def _looked_up(told: str) -> tuple[str, str]:
    found = (
        (word, text) for pattern, word, text in _HINTS if re.search(pattern, told, re.IGNORECASE)
    )
    return next(found, ("refused", ""))


def _bare(line: str) -> str:
    text = _PREFIX.sub("", line)
    return text.removeprefix(_SUMMARY)
