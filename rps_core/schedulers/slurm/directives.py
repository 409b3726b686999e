"""The options of sbatch, as `#SBATCH` lines.

sbatch parses such a line by rules that resemble a shell's: a blank or a `#` outside quotes ends an argument;
a backslash quotes the next character inside both kinds of quotes, but does not quote a blank outside.
`option` writes a value so that sbatch reads it back unchanged, `arguments` parses as sbatch does (both
compared with sbatch 22.05).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rps_core.plugin import SessionSpec, UsageError, format_walltime
from rps_core.schedulers.slurm import gpus
from rps_core.schedulers.slurm.options import parse

_PLAIN = re.compile(r"[A-Za-z0-9_./:,@%+=&|*~^-]+")
_BLANKS = " \t\n\v\f\r"  # C's, not Unicode's
_EARLY = 60  # seconds by which Slurm may send a signal too early (sbatch(1), --signal)
_LONGEST = 4000  # bytes; sbatch copies an argument into a buffer of 8192 without a check

# The options that rps sets, which no directive may give, and the reason.
_OURS = {
    "array": "a session is one job",
    "cluster": "rps looks for the job on this cluster",
    "clusters": "rps looks for the job on this cluster",
    "comment": "rps identifies the job by it",
    "error": "`rps logs` and `rps why` read the job's errors in its output",
    "export": "the job must not inherit the environment of the terminal",
    "export-file": "the job must not inherit the environment of the terminal",
    "job-name": "rps identifies the job by it",
    "open-mode": "`rps logs` reads the job's output",
    "output": "`rps logs` reads the job's output",
    "parsable": "rps reads what sbatch prints",
    "quiet": "rps reads what sbatch prints",
    "requeue": "a session's name is valid for one run",
    "test-only": "`rps start --dry-run` shows the script",
    "time": "use `rps start -t`, which checks and shows it",
    "wait": "use `rps start --wait`",
    "wrap": "rps renders the script",
}
# Those of them that are on sbatch's command line, which overrides a script (`commands.submit`).
_ON_COMMAND_LINE = ("comment", "job-name")
_MAGIC_WORDS = ("#SBATCH", "#SLURM")  # src/sbatch/opt.c


def directives(spec: SessionSpec) -> Iterator[str]:
    """Yield the options for a session, one a line, without `#SBATCH`.

    The job is never requeued, because its claim can be redeemed once, and inherits no environment of the
    terminal.

    Raises:
        UsageError: sbatch cannot take a value.
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
    own = [(directive, check_directive(directive)) for directive in wanted.directives]
    requested = gpus.option(spec, [arguments for _, arguments in own])
    if requested is not None:
        yield option(*requested)
    if _is_long_enough(spec):
        # To the batch shell alone, which the agent has replaced (exec).
        yield f"--signal=B:USR1@{spec.warn_before}"
    yield "--no-requeue"
    yield "--export=NONE"
    yield option("output", file_pattern(spec.session_dir / "job.log"))
    yield "--open-mode=append"
    for directive, arguments in own:
        left = gpus.without_gres(arguments) if requested and requested[0] == "gres" else arguments
        if left == arguments:
            yield directive
        elif left:
            yield " ".join(map(_quoted, left))


def _is_long_enough(spec: SessionSpec) -> bool:
    """Return whether the warning comes in the second half of the job.

    A shorter job could receive the signal while it still loads its modules.
    """
    early = spec.warn_before + _EARLY
    return spec.warn_before > 0 and spec.allocation.walltime.total_seconds() >= 2 * early


def job_name(session: str) -> str:
    """Return the name of a session's job."""
    return f"rps-{session}"


def option(name: str, value: str) -> str:
    """Return `--name=value`, quoted so that sbatch reads the value unchanged.

    Raises:
        UsageError: the value is empty or too long, or contains an unprintable character.
    """
    if not value or not value.isprintable():
        what = "is empty" if not value else f"contains an unprintable character: {value!r}"
        raise UsageError(f"The value of --{name} {what}", "Correct the setting, or leave it out.")
    if len(value.encode("utf-8", "surrogateescape")) > _LONGEST:
        raise UsageError(f"The value of --{name} is longer than {_LONGEST} bytes")
    return f"--{name}={_quoted(value)}"


def _quoted(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def file_pattern(path: Path) -> str:
    """Return a path for an option that names an output file.

    There `%` begins a replacement symbol (sbatch(1), FILENAME PATTERN).

    Raises:
        UsageError: it contains a backslash, which Slurm drops, and which disables replacement symbols.
    """
    text = str(path)
    if "\\" in text:
        raise UsageError(
            f"Slurm cannot write to {text}: the path contains a backslash",
            "Set XDG_STATE_HOME to a directory whose path has none.",
        )
    return text.replace("%", "%%")


def check_directive(directive: str) -> list[str]:
    """Check a directive of the user or the site, and return its arguments.

    Raises:
        UsageError: it is no option of sbatch, lacks its value, or is one that rps sets.
    """
    found = arguments(directive)
    if not found or not found[0].startswith("-"):
        raise UsageError(
            f"The directive {directive!r} is no option of sbatch",
            "Write it as in sbatch(1), without #SBATCH: --exclusive",
        )
    for given in parse(found):
        if given.is_cut:
            raise UsageError(
                f"The directive {directive!r} lacks the value of --{given.names[0]}",
                "sbatch would take the next directive for it: write both in one directive.",
            )
        for name in _OURS.keys() & given.names:
            raise UsageError(
                f"The directive {directive!r} sets --{name}, which rps sets",
                f"Omit it: {_OURS[name]}.",
            )
    return found


def check_template(spec: SessionSpec, lines: Sequence[str]) -> None:
    """Check the directives of a batch script of the user or the site.

    sbatch applies them after those that rps inserts above them, and parses all lines as one list.

    Args:
        spec: the session.
        lines: the template's lines below the first.

    Raises:
        UsageError: some are no options of sbatch, options that rps sets, or request GPUs as the session does.
    """
    wrong: dict[str, None] = {}
    found: list[str] = []
    places: list[str] = []
    for number, line in enumerate(lines, 2):
        words = line.strip()
        if words and not words.startswith("#"):
            break  # sbatch stops here
        magic = next((word for word in _MAGIC_WORDS if line.startswith(word)), None)
        if magic is None:
            continue
        place = f"line {number}, `{words}`"
        try:
            of_line = arguments(line.removeprefix(magic))
        except UsageError as error:
            wrong[f"{place}: {error.message}. {error.hint}"] = None
            continue
        if of_line and of_line[0].lower() in ("hetjob", "packjob"):
            wrong[f"{place} makes a heterogeneous job. Remove it: a session is one job."] = None
            continue
        found += of_line
        places += [place] * len(of_line)
    for given in parse(found):
        place = places[given.words.start]
        for name in given.names:
            if name in _OURS and name not in _ON_COMMAND_LINE:
                reason = f"sets --{name}, which rps sets. Remove it: {_OURS[name]}."
                wrong[f"{place} {reason}"] = None
            if clash := gpus.clash(spec, name, given.value or ""):
                wrong[f"{place} {clash}"] = None
    if wrong:
        raise UsageError(
            f"The batch script {spec.template} has directives that a session cannot have",
            "\n".join(wrong),
        )


def arguments(directive: str) -> list[str]:
    """Parse a directive into arguments, as sbatch does.

    Raises:
        UsageError: a quote is not closed, or sbatch does not understand a backslash.
    """
    found: list[str] = []
    current: str | None = None  # the argument so far; quotes alone make an empty one
    quote = ""
    characters = iter(directive)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if not escaped or (not quote and escaped in _BLANKS):
                raise UsageError(
                    f"The directive {directive!r} has a backslash that sbatch does not understand",
                    "Quote the argument that contains blanks.",
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
