"""`rps why`: print the explanation of a session's state."""

from __future__ import annotations

import sys

from rps_core.display.colour import BOLD, Colours
from rps_core.display.prose import echo
from rps_core.display.wording import reason_in_full
from rps_core.sessions.explain import Explanation
from rps_core.text import plain

_SOURCE_WIDTH = 12


def print_explanation(answer: Explanation) -> None:
    """Print state, meaning, evidence and advice."""
    colours = Colours(sys.stdout)
    session = answer.session
    state = colours.state(session.state)
    word = "" if answer.cause == session.state else f": {answer.cause}"
    echo(f"{session.record.called} {'' if session.over else 'is '}{state}{word}")
    reason = plain(reason_in_full(session))
    if reason:
        echo(f"({reason})")
    echo(f"\n{plain(answer.sentence)}")
    if answer.evidence:
        echo("")
    for one in answer.evidence:
        source = f"  {one.source.ljust(_SOURCE_WIDTH)}"
        echo(f"{source}{plain(one.line.expandtabs()).strip()}", indent=" " * len(source))
    if answer.advice:
        echo(f"\n{colours.paint('What to do:', BOLD)} {plain(answer.advice)}")
