"""Render a session's batch script from a static one.

Directives go on top, and a line sets the session's directory. Nothing else that a user typed reaches the
script as shell text; the directory is quoted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from rps_core.errors import UsageError

MARKER = "# rps: session"
# Where the directory above is writable by others on the node, another user can create the missing session's
# directory. In bash, dash, ksh and zsh -O is true for a file of the user. The agent checks the whole path.
ONLY_OURS = (
    '[ -O "$RPS_SESSION" ] || { echo "rps: $RPS_SESSION is not yours on this node" >&2; exit 1; }'
)
_ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]*")


def render(template: Path, directives: Sequence[str], session_dir: Path) -> str:
    """Render a batch script from a template.

    `RPS_SESSION=…` replaces the line `# rps: session`; without such a line it goes above the first line that
    is no comment.

    Args:
        template: a shell script.
        directives: whole lines, which go below the `#!` line.
        session_dir: the session's directory.

    Raises:
        UsageError: the template cannot be read, or is no shell script; or a directive has a line break.
    """
    for directive in directives:
        if not _ONE_LINE.fullmatch(directive):
            raise UsageError(
                f"The directive {directive!r} holds a line break or a control character",
                "A directive is one line of the batch script.",
            )
    lines = _script_lines(template)
    session = [f"RPS_SESSION={shlex.quote(str(session_dir))}", ONLY_OURS]
    body = lines[1:]
    if MARKER in body:
        at = body.index(MARKER)
        body[at : at + 1] = session
    else:
        # Below the template's own directives: a scheduler reads them up to the first line of shell.
        shell = (n for n, line in enumerate(body) if line.strip() and line.lstrip()[0] != "#")
        first = next(shell, len(body))
        body[first:first] = session
    return "\n".join([lines[0], *directives, *body]) + "\n"


def _script_lines(template: Path) -> list[str]:
    try:
        text = template.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"The batch script {template} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"The batch script {template} is not a text file") from None
    if "\0" in text or not text.startswith("#!"):
        raise UsageError(
            f"The batch script {template} is not a shell script: its first line has no #!",
            "Begin it with #!/bin/bash -l",
        )
    # Not splitlines, which also splits at form feeds and the like: a shell reads them as text.
    return text.removesuffix("\n").replace("\r\n", "\n").split("\n")
