"""The options of qsub that the user or the site sets: `job.directives`, and `#PBS` lines of a script.

qsub splits such a line into arguments and parses these with getopt(3) (`do_dir` in Torque's
src/cmds/qsub_functions.c and PBS's src/cmds/qsub.c).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from rps_core.plugin import SessionSpec, UsageError

_WITHOUT_ARGUMENT = "EfGhInVxXzZ"  # Torque's and PBS's; all others have one
# The options that a session cannot have, and the reason.
_REFUSED = {
    "C": "rps's own directives begin with #PBS",
    "I": "a session is a batch job",
    "J": "a session is one job",
    "N": "rps identifies the job by it",
    "S": "the script's first line names its shell",
    "j": "`rps why` reads the job's output",
    "o": "`rps why` reads the job's output",
    "r": "a session's name is valid for one run",
    "t": "a session is one job",
    "z": "rps reads what qsub prints",
}
# Those of them that are on qsub's command line, which overrides a script (`torque.submit`).
_ON_COMMAND_LINE = "Njor"
_RESOURCE = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*=")


def resources(spec: SessionSpec) -> frozenset[str]:
    """Return the names of the resources that `-l` requests in the directives and in the template.

    An option `-L`, Torque's other notation for nodes, counts as a resource `L`.

    Raises:
        UsageError: an option would break the session, or is none.
    """
    found: set[str] = set()
    for directive in spec.allocation.directives:
        if not directive.isprintable():  # `render` refuses it
            continue
        place = f"The directive {directive!r}"
        options = list(_options(directive, place))
        if not options:
            raise UsageError(
                f"{place} is no option of qsub", "Write it as in qsub(1), without #PBS: -m n"
            )
        for option, value in options:
            _check(option, value, place, _REFUSED)
            found |= _requested(option, value)
    in_script = {option: _REFUSED[option] for option in _REFUSED if option not in _ON_COMMAND_LINE}
    for number, text in _script_directives(spec.template):
        place = f"{spec.template}, line {number}, `#PBS {text}`"
        for option, value in _options(text, place):
            _check(option, value, place, in_script)
            found |= _requested(option, value)
    return frozenset(found)


def _script_directives(template: Path) -> Iterator[tuple[int, str]]:
    """Yield line numbers and options of a script's `#PBS` lines, as far as qsub reads them."""
    try:
        lines = template.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError):  # render says so
        return
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("#PBS"):
            yield number, text.removeprefix("#PBS").strip()
        elif text and not text.startswith(("#", ":")):
            return


def _options(text: str, place: str) -> Iterator[tuple[str, str]]:
    """Yield the options of a line, and their arguments."""
    try:
        words = iter(shlex.split(text))
    except ValueError:
        raise UsageError(f"{place} has a quote that is not closed") from None
    for word in words:
        if not word.startswith("-") or word == "-":
            raise UsageError(f"{place}: {word!r} is no option of qsub")
        letters = word[1:]
        while letters:
            option, letters = letters[0], letters[1:]
            if option in _WITHOUT_ARGUMENT:
                yield option, ""
            else:
                yield option, letters or next(words, "")
                break


def _check(option: str, value: str, place: str, refused: dict[str, str]) -> None:
    if option in refused:
        raise UsageError(
            f"{place} sets -{option}, which a session cannot have", f"Omit it: {refused[option]}."
        )
    # Into the node's spool or the home instead of the file of -o; PBS's `d` writes that file directly.
    if (option == "k" and set("oe") & set(value) and "d" not in value) or option == "R":
        raise UsageError(
            f"{place} moves or removes the job's output", "Omit it: `rps why` reads that output."
        )
    names = [name.lower() for name in _names(value)]
    if option == "l" and "walltime" in names:
        raise UsageError(
            f"{place} sets the walltime, which rps sets",
            "Omit it: use `rps start -t`, which checks and shows it.",
        )
    if option == "W" and {"block", "interactive"} & set(names):
        raise UsageError(
            f"{place}: qsub would not return while the job runs",
            "Omit it: use `rps start --wait`.",
        )


def _requested(option: str, value: str) -> set[str]:
    if option == "L":
        return {"L"}
    return {name.lower() for name in _names(value)} if option == "l" else set()


def _names(value: str) -> list[str]:
    """Return the names of `a=1,b=2`.

    A comma in a value begins no name without an equals sign.
    """
    return [found[1] for part in value.split(",") if (found := _RESOURCE.match(part))]
