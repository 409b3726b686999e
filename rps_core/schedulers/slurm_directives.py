"""What sbatch is asked for, as `#SBATCH` lines.

sbatch reads such a line with rules of its own, that resemble a shell's and are not: a blank or a `#`
outside of quotes ends an argument, a backslash takes the next character's meaning away inside both
kinds of quotes, but not from a blank outside. `option` writes so that sbatch reads back exactly what
was meant, and `arguments` reads as sbatch does (both held against sbatch 22.05).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rps_core.plugin import SessionSpec, UsageError, format_walltime

_PLAIN = re.compile(r"[A-Za-z0-9_./:,@%+=&|*~^-]+")
_BLANKS = " \t\n\v\f\r"  # C's, not Unicode's
_EARLY = 60  # seconds by which Slurm may send a signal too soon (sbatch(1), --signal)
_LONGEST = 4000  # bytes; sbatch copies an argument into a buffer of 8192 without looking

# Options that rps answers for itself, and why nobody else may give them. Short forms in the second place.
_OURS = {
    "array": ("a", "a session is one job"),
    "clusters": ("M", "the job is looked for on this cluster"),
    "comment": ("", "the job is recognised by it"),
    "export": ("", "the job must not inherit the environment of the terminal"),
    "export-file": ("", "the job must not inherit the environment of the terminal"),
    "job-name": ("J", "the job is recognised by it"),
    "open-mode": ("", "`rps logs` reads the job's output"),
    "output": ("o", "`rps logs` reads the job's output"),
    "parsable": ("", "rps reads what sbatch prints"),
    "quiet": ("Q", "rps reads what sbatch prints"),
    "requeue": ("", "a session's name is good for one run"),
    "test-only": ("", "`rps start --dry-run` shows the script"),
    "time": ("t", "give it with -t, so that it can be checked and shown"),
    "wait": ("W", "`rps start --wait` waits"),
    "wrap": ("", "the script is rendered by rps"),
}


def directives(spec: SessionSpec) -> Iterator[str]:
    """The options for a session, one a line, without the prompt.

    The job is never requeued (its claim is good for one redeem), and inherits no environment but the
    login shell's own.

    Raises:
        UsageError: a value that cannot be told to sbatch.
    """
    wanted = spec.allocation
    yield f"--job-name={job_name(spec.name)}"
    yield option("comment", spec.tag)
    yield f"--time={format_walltime(wanted.walltime)}"
    yield f"--nodes={wanted.nodes}"
    yield f"--ntasks-per-node={wanted.tasks}"
    for name, value in (
        ("account", wanted.account),
        ("partition", wanted.partition),
        ("qos", wanted.qos),
        ("reservation", wanted.reservation),
        ("constraint", wanted.constraint),
    ):
        if value is not None:
            yield option(name, value)
    if wanted.cpus:
        yield f"--cpus-per-task={wanted.cpus}"
    if wanted.memory_mb:
        yield f"--mem={wanted.memory_mb}M"
    if wanted.gpus and spec.gpu_directive == "gres":
        yield f"--gres=gpu:{wanted.gpus}"
    elif wanted.gpus:
        yield f"--gpus={wanted.gpus * wanted.nodes}"  # sbatch counts those of the whole job here
    if _is_long_enough(spec):
        # To the batch shell alone, which the agent has taken the place of.
        yield f"--signal=B:USR1@{spec.warn_before}"
    yield "--no-requeue"
    yield "--export=NONE"
    yield option("output", file_pattern(spec.session_dir / "job.log"))
    yield "--open-mode=append"
    for directive in wanted.directives:
        check_directive(directive)
        yield directive


def _is_long_enough(spec: SessionSpec) -> bool:
    """Whether the warning comes in the second half of the job: a shorter one might get it while its
    modules are still being loaded."""
    early = spec.warn_before + _EARLY
    return spec.warn_before > 0 and spec.allocation.walltime.total_seconds() >= 2 * early


def job_name(session: str) -> str:
    """The name of a session's job."""
    return f"rps-{session}"


def option(name: str, value: str) -> str:
    """`--name=value` that sbatch reads as just that, whatever is in the value.

    Raises:
        UsageError: it is empty or too long, or has a line break or another control character in it.
    """
    if not value or not value.isprintable():
        what = "is empty" if not value else f"{value!r} holds a line break or a control character"
        raise UsageError(
            f"The value of --{name} {what}", "Leave the option out, or mend its value."
        )
    if len(value.encode("utf-8", "surrogateescape")) > _LONGEST:
        raise UsageError(f"The value of --{name} is longer than {_LONGEST} bytes")
    if _PLAIN.fullmatch(value):
        return f"--{name}={value}"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'--{name}="{escaped}"'


def file_pattern(path: Path) -> str:
    """The path as Slurm's options for output files want it: `%` starts a replacement there.

    Raises:
        UsageError: it has a backslash, with which Slurm turns replacements off and drops it.
    """
    text = str(path)
    if "\\" in text:
        raise UsageError(
            f"Slurm cannot write to {text}: its name has a backslash in it",
            "Set XDG_STATE_HOME to a directory whose name has none.",
        )
    return text.replace("%", "%%")


def check_directive(directive: str) -> None:
    """See that a directive of the user's or the site's is one that sbatch reads, and not one of ours.

    Raises:
        UsageError: it is not.
    """
    found = arguments(directive)
    if not found or not found[0].startswith("-"):
        raise UsageError(
            f"The directive {directive!r} is no option of sbatch",
            "Write it as sbatch(1) does, without #SBATCH: --exclusive",
        )
    for argument in found:
        name = _one_of_ours(argument)
        if name is not None:
            raise UsageError(
                f"The directive {directive!r} gives --{name}, which is not to be given here",
                f"Leave it out: {_OURS[name][1]}.",
            )


def arguments(directive: str) -> list[str]:
    """The arguments that sbatch reads from a directive.

    Raises:
        UsageError: a quote is not closed, or a backslash stands where sbatch makes nothing of it.
    """
    found: list[str] = []
    current: str | None = (
        None  # the argument so far; an empty one is one too, once there were quotes
    )
    quote = ""
    characters = iter(directive)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if not escaped or (not quote and escaped in _BLANKS):
                raise UsageError(
                    f"The directive {directive!r} has a backslash that sbatch does not understand",
                    "Put what holds blanks into quotes.",
                )
            current = (current or "") + escaped
        elif character == quote:
            quote = ""
        elif quote:
            current = (current or "") + character
        elif character in "\"'":
            quote, current = character, current or ""
        elif character == "#":
            break
        elif character not in _BLANKS:
            current = (current or "") + character
        elif current is not None:
            found.append(current)
            current = None
    if quote:
        raise UsageError(f"The directive {directive!r} has a {quote} that is not closed")
    return found if current is None else [*found, current]


def _one_of_ours(argument: str) -> str | None:
    """The name of our option that an argument gives; sbatch takes long names shortened."""
    if argument.startswith("--"):
        given = argument[2:].partition("=")[0]
        for name in _OURS:
            if given and name.startswith(given):
                return name
        return None
    if argument.startswith("-") and len(argument) > 1:
        for name, (short, _) in _OURS.items():
            if short and argument[1] == short:
                return name
    return None
