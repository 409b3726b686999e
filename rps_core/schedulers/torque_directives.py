"""The options of qsub, as `#PBS` lines; what is Torque's alone, and what PBS shares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from rps_core.plugin import SessionSpec, UsageError
from rps_core.schedulers.torque_forgotten import OUTPUT

# What every shell takes for itself, and qsub too: it splits at blanks, commas and colons, expands $.
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*")
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./+@=-]*")


def directives(spec: SessionSpec) -> Iterator[str]:
    """The options of qsub for a session, as qsub(1) spells them.

    Raises:
        UsageError: a value that no directive can hold.
    """
    wanted = spec.allocation
    yield f"-N {job_name(spec.name)}"
    yield f"-l {_nodes(spec)}"
    yield f"-l walltime={walltime(spec)}"
    if wanted.memory_mb:
        yield f"-l mem={wanted.memory_mb * wanted.nodes}mb"
    if wanted.partition is not None:
        yield f"-q {plain('queue', wanted.partition)}"
    if wanted.account is not None:
        yield f"-A {plain('account', wanted.account)}"
    if wanted.qos is not None:  # Moab's, as is the next
        yield f"-l qos={plain('quality of service', wanted.qos)}"
    if wanted.reservation is not None:
        yield f"-l advres={plain('reservation', wanted.reservation)}"
    yield from fixed_options(spec.session_dir)
    yield from wanted.directives


def fixed_options(session_dir: Path) -> list[str]:
    """The options that are the same for every session: it is never run again, for its claim is good
    for one redeem, and where its output goes.

    That is not job.log: that is written live, by the job itself, and Torque, which delivers its copy when
    the job has ended, would replace it. What is in this one is from before and from the outside.

    Raises:
        UsageError: the path has characters that qsub or a wrapper would expand.
    """
    path = session_dir / OUTPUT
    if not _PLAIN_PATH.fullmatch(str(path)):
        raise UsageError(
            f"The path of the session's files, {session_dir}, cannot be given to qsub",
            "Set XDG_STATE_HOME to a directory whose path has letters, digits and _ . / + @ = - only.",
        )
    return ["-r n", "-j oe", f"-o {path}"]


def plain(what: str, value: str) -> str:
    """The value, if a directive can hold it.

    Raises:
        UsageError: it has other characters than names have.
    """
    if not PLAIN.fullmatch(value):
        raise UsageError(
            f"No {what} can be called {value!r}",
            "Letters, digits and _ . + @ - are what qsub takes.",
        )
    return value


def job_name(session: str) -> str:
    """The name of a session's job, by which a submission is found again and told from other people's jobs.
    15 characters, the first a letter, is what every Torque takes and shows whole, so it holds a digest."""
    return f"rps-{hashlib.sha256(session.encode()).hexdigest()[:10]}"


def is_job_name(text: str) -> bool:
    """Whether it is one that `job_name` makes."""
    return re.fullmatch(r"rps-[0-9a-f]{10}", text, re.ASCII) is not None


def walltime(spec: SessionSpec) -> str:
    """`HH:MM:SS`, with as many hours as there are: qsub reads no days as Slurm writes them."""
    total = int(spec.allocation.walltime.total_seconds())
    return f"{total // 3600:02d}:{total // 60 % 60:02d}:{total % 60:02d}"


def _nodes(spec: SessionSpec) -> str:
    wanted = spec.allocation
    parts = [f"nodes={wanted.nodes}", f"ppn={wanted.tasks * (wanted.cpus or 1)}"]
    if wanted.gpus:
        parts.append(f"gpus={wanted.gpus}")
    if wanted.constraint is not None:
        parts += [plain("feature", feature) for feature in wanted.constraint.split(":")]
    return ":".join(parts)
