"""Read recorded terminal sessions (tests/contract/recorded/) as answers to replay.

    === what it shows
    [user@directory]$ command
    --- stdout (N chars):
    --- stderr (N chars):
    --- rc=0  elapsed=0.007s

Extra environment or the command's input may stand before `--- stdout`. N was counted before the recordings
were tidied up, so the lines count, not the lengths.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rps_core.testing import Answer

RECORDED = Path(__file__).parent / "recorded"
_ONE = re.compile(
    r"^=== (?P<title>.*)\n\[.*?\]\$ (?P<command>.*)\n(?:.*\n)*?"
    r"--- stdout \(\d+ chars\):\n(?P<stdout>(?:.*\n)*?)"
    r"--- stderr \(\d+ chars\):\n(?P<stderr>(?:.*\n)*?)"
    r"--- rc=(?P<code>\d+) ",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Recorded:
    """One command and its answer."""

    command: str
    answer: Answer


def read(name: str) -> dict[str, Recorded]:
    """Return the commands of a transcript, by what each shows."""
    text = (RECORDED / name).read_text("utf-8", "replace")
    found: dict[str, Recorded] = {}
    for one in _ONE.finditer(text):
        assert one["title"] not in found, f"{name}: {one['title']} is there twice"
        answer = Answer(int(one["code"]), one["stdout"], one["stderr"])
        found[one["title"]] = Recorded(one["command"], answer)
    assert len(found) == text.count("\n=== ") + text.startswith("=== "), name
    return found
