"""Turning a static batch script into a session's: directives on top, and one line with its directory.

Nothing a user typed reaches the script as shell text, but for the session's directory, which is quoted.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from rps_core.errors import UsageError

MARKER = "# rps: session"
_ONE_LINE = re.compile(r"[^\x00-\x1f\x7f]*")


def render(template: Path, directives: Sequence[str], session_dir: Path) -> str:
    """The template with `directives` (whole lines) below its `#!` line, and `RPS_SESSION=…` where the
    line `# rps: session` stands, or else above the first line that is no comment.

    Raises:
        UsageError: the template cannot be read as a shell script, or a directive has a line break.
    """
    for directive in directives:
        if not _ONE_LINE.fullmatch(directive):
            raise UsageError(
                f"The directive {directive!r} holds a line break or a control character",
                "A directive is one line of the batch script.",
            )
    lines = _script_lines(template)
    session = f"RPS_SESSION={shlex.quote(str(session_dir))}"
    body = lines[1:]
    if MARKER in body:
        body[body.index(MARKER)] = session
    else:
        # Below the user's own directives: a scheduler reads them up to the first line of shell.
        first = next(
            (n for n, line in enumerate(body) if line and not line.startswith("#")), len(body)
        )
        body.insert(first, session)
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
    # Not splitlines: that cuts at form feeds and the like, which are text to a shell.
    return text.removesuffix("\n").replace("\r\n", "\n").split("\n")
