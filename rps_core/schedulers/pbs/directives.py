"""The options of qsub, as `#PBS` lines: Torque's, and those that PBS shares."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from rps_core.plugin import SessionSpec, UsageError
from rps_core.schedulers.pbs import own_options
from rps_core.schedulers.pbs.forgotten import OUTPUT

# What neither a shell nor qsub changes: qsub splits at blanks, commas and colons, and expands $.
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*")
# What qsub reads behind `gpus=N:` as the mode in which the GPUs run.
_GPU_MODES = ("default", "exclusive", "exclusive_process", "exclusive_thread", "reseterr", "shared")
JOB_SHELL = "job-shell"  # in the session's directory
_NODES = frozenset({"nodes", "procs", "L"})  # Torque's ways to request nodes
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./+@=-]*")


def directives(spec: SessionSpec) -> Iterator[str]:
    """Yield the options of qsub for a session, in the form of qsub(1).

    A resource that the user's directives or script request is not requested here.

    Raises:
        UsageError: no directive can contain a value, or one of the user's would break the session.
    """
    wanted = spec.allocation
    requested = own_options.resources(spec)
    yield f"-N {job_name(spec.name)}"
    if not requested & _NODES:
        yield f"-l {_nodes(spec)}"
    yield f"-l walltime={walltime(spec)}"
    if wanted.memory_mb and not requested & {"mem", "L"}:
        yield f"-l mem={wanted.memory_mb * wanted.nodes}mb"
    if wanted.partition is not None:
        yield f"-q {plain('queue', wanted.partition)}"
    if wanted.account is not None:
        yield f"-A {plain('account', wanted.account)}"
    if wanted.qos is not None and "qos" not in requested:  # an option of Moab, as the next
        yield f"-l qos={plain('quality of service', wanted.qos)}"
    if wanted.reservation is not None and "advres" not in requested:
        yield f"-l advres={plain('reservation', wanted.reservation)}"
    yield from fixed_options(spec.session_dir)
    yield from shell_option(spec.session_dir)
    yield from wanted.directives


def fixed_options(session_dir: Path) -> list[str]:
    """Return the options of every session: no rerun, and the output file.

    The job is never rerun, because its claim can be redeemed once. The output file is not job.log, which the
    job itself writes: Torque delivers its copy after the end of the job and would replace it. It has the
    output from before the job opens job.log, and Torque's own messages.

    Raises:
        UsageError: the path contains characters that qsub or a wrapper would expand.
    """
    path = session_dir / OUTPUT
    if not _PLAIN_PATH.fullmatch(str(path)):
        raise UsageError(
            f"qsub cannot take the path of the session's files, {session_dir}",
            "Set XDG_STATE_HOME to a directory whose path has only letters, digits and _ . / + @ = -",
        )
    return ["-r n", "-j oe", f"-o {path}"]


def shell_option(session_dir: Path) -> list[str]:
    """Return the option for the job's shell, which `write_job_shell` writes.

    Only a directive: Slurm's wrapper of qsub prints a warning about the option. Empty: the file system
    executes no files (`noexec`), so the login shell stays above the batch script.
    """
    existing = next(path for path in (session_dir, *session_dir.parents) if path.exists())
    if os.statvfs(existing).f_flag & os.ST_NOEXEC:
        return []
    return [f"-S {session_dir / JOB_SHELL}"]


def write_job_shell(session_dir: Path) -> None:
    """Write the job's shell (job-shell.sh) into the session's directory."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(os.open(session_dir / JOB_SHELL, flags, 0o700), "wb") as file:  # noqa: PTH123
        os.fchmod(file.fileno(), 0o700)
        file.write(Path(__file__).with_name("job-shell.sh").read_bytes())


def plain(what: str, value: str) -> str:
    """Return a value that a directive can contain.

    Raises:
        UsageError: it contains characters that no name has.
    """
    if not PLAIN.fullmatch(value):
        raise UsageError(
            f"{value!r} is not a valid {what}",
            "qsub takes letters, digits and _ . + @ -",
        )
    return value


def job_name(session: str) -> str:
    """Return the name of a session's job, by which rps finds it among other jobs.

    Every version of Torque accepts and shows 15 characters, the first a letter. So the name contains a
    digest.
    """
    return f"rps-{hashlib.sha256(session.encode()).hexdigest()[:10]}"


def is_job_name(text: str) -> bool:
    """Return whether a text has the form of `job_name`."""
    return re.fullmatch(r"rps-[0-9a-f]{10}", text, re.ASCII) is not None


def walltime(spec: SessionSpec) -> str:
    """Return the walltime as `HH:MM:SS`.

    The hours can exceed 24, because qsub has no notation for days.
    """
    total = int(spec.allocation.walltime.total_seconds())
    return f"{total // 3600:02d}:{total // 60 % 60:02d}:{total % 60:02d}"


def _nodes(spec: SessionSpec) -> str:
    wanted = spec.allocation
    parts = [f"nodes={wanted.nodes}", f"ppn={wanted.tasks * (wanted.cpus or 1)}"]
    if wanted.gpus:
        parts.append(f"gpus={wanted.gpus}")
    if wanted.gpus and wanted.gpu_type is not None:
        parts.append(_property(wanted.gpu_type))
    if wanted.constraint is not None:
        parts += [plain("feature", feature) for feature in wanted.constraint.split(":")]
    return ":".join(parts)


def _property(gpu_type: str) -> str:
    """Return the property of nodes with this type of GPU.

    Torque has no types: sites give such nodes a property ("Requesting resources" of its guide:
    `nodes=1:ppn=2:gpus=1:PROPERTY`).

    Raises:
        UsageError: Torque would take the name for a GPU's mode.
    """
    if gpu_type.lower() in _GPU_MODES:
        raise UsageError(
            f"{gpu_type!r} is not a type of GPU: Torque reads it as a mode",
            "Omit it, or request the mode with `job.directives`.",
        )
    return plain("type of GPU", gpu_type)
