"""Slurm, the part that rendering needs: directives and the default account.

Submission, polling and cancelling on a real Slurm follow.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator

from rps_core.plugin import (
    SchedulerError,
    SessionSpec,
    Shell,
    format_walltime,
    hookimpl,
    render,
)


def directives(spec: SessionSpec) -> Iterator[str]:
    """The options of sbatch for a session, as sbatch(1) spells them.

    The job is never requeued (its claim is good for one redeem), and inherits no environment but the
    login shell's own.
    """
    wanted = spec.allocation
    yield f"--job-name=rps-{spec.name}"
    yield f"--comment={spec.tag}"
    yield f"--time={format_walltime(wanted.walltime)}"
    yield f"--nodes={wanted.nodes}"
    yield f"--ntasks-per-node={wanted.tasks}"
    for option, value in (
        ("account", wanted.account),
        ("partition", wanted.partition),
        ("qos", wanted.qos),
        ("reservation", wanted.reservation),
        ("constraint", wanted.constraint),
        ("cpus-per-task", wanted.cpus),
        ("mem", f"{wanted.memory_mb}M" if wanted.memory_mb else None),
    ):
        if value is not None:
            yield f"--{option}={value}"
    if wanted.gpus:
        yield (
            f"--gres=gpu:{wanted.gpus}" if spec.gpu_directive == "gres" else f"--gpus={wanted.gpus}"
        )
    yield "--no-requeue"
    yield "--export=NONE"
    yield f"--output={spec.session_dir / 'job.log'}"
    yield "--open-mode=append"
    yield from wanted.directives


def default_account(shell: Shell) -> str | None:
    """The user's default account in Slurm's accounting; None where Slurm keeps none.

    `sacctmgr --noheader --parsable2 show user NAME format=DefaultAccount` prints the account alone.
    """
    try:
        done = shell(
            "sacctmgr",
            "--noheader",
            "--parsable2",
            "show",
            "user",
            pwd.getpwuid(os.getuid()).pw_name,
            "format=DefaultAccount",
        )
    except SchedulerError:
        return None  # no accounting here: sbatch itself says if it needs an account
    lines = done.stdout.split()
    return lines[0] if done.code == 0 and lines else None


@hookimpl(trylast=True)
def rps_default_allocation(shell: Shell) -> str | None:
    """The user's default account."""
    return default_account(shell)


@hookimpl(trylast=True)
def rps_render_batch(spec: SessionSpec) -> str:
    """The template with `#SBATCH` lines."""
    lines = [f"#SBATCH {directive}" for directive in directives(spec)]
    return render(spec.template, lines, spec.session_dir)
