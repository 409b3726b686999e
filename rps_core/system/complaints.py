"""Separate a scheduler's answer from its complaint.

Commands fail with exit code 0, too: without a history PBS's `qstat -x` and `qselect -x` print an error and
exit with 0 (openpbs 23.06, src/cmds/qstat.c), and so does Slurm's `squeue` after a time-out. Other lines on
stderr are harmless: ld.so's about LD_PRELOAD, a shell's about a locale, a site's banner.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from rps_core.system.shell import Finished

# A failed connection, which libraries report without the command's name.
_NO_CONNECTION = (
    r"timed out|time-out|unable to (?:contact|communicate)|cannot connect|could not connect"
    r"|connection (?:reset|refused)|authentication error|munge|socket_connect|zero bytes were transmitted"
)


def complains(done: Finished) -> bool:
    """Return whether a command reports an error on stderr, whatever its exit code.

    Its own lines begin with its name (`qselect: …`, `squeue: error: …`) or with Slurm's function
    (`slurm_load_jobs error: …`); its warnings are none.
    """
    name = re.escape(PurePath(done.argv[0]).name)
    own = re.compile(
        rf"(?:{name}: (?!(?:warning|info|verbose|debug\d?): )|slurm_\w+ error: |error: )\s*\S"
    )
    return any(
        own.match(line) or re.search(_NO_CONNECTION, line, re.IGNORECASE)
        for line in (text.strip() for text in done.stderr.splitlines())
    )


def has_answered(done: Finished) -> bool:
    """Return whether a command answered: exit code 0, and some output or no error.

    An empty answer is one: there are no such jobs.
    """
    return done.code == 0 and (bool(done.stdout.strip()) or not complains(done))


def without_rulers(text: str) -> list[str]:
    """Return the lines of some output for people: without rulers, empty lines and repetitions.

    A ruler has neither letters nor digits, such as the `=====` around a site's banner.
    """
    lines = (line.expandtabs().rstrip() for line in text.splitlines())
    return list(dict.fromkeys(line for line in lines if any(c.isalnum() for c in line)))


def quoted(lines: Sequence[str]) -> str:
    """Return a scheduler's words to follow a colon: one line after a blank, several indented below."""
    if len(lines) < 2:
        return f" {''.join(lines).strip()}"
    import textwrap

    return "".join(f"\n  {line}" for line in textwrap.dedent("\n".join(lines)).splitlines())
