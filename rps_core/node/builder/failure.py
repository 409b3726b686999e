"""The error of a build, with the last lines that its tool printed."""

from typing import Iterable, List


class BuildError(Exception):
    """An environment could not be built.

    `lines` are the last ones of the tool; `advice` is a sentence, or empty.
    """

    def __init__(self, reason: str, lines: Iterable[str] = (), advice: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.lines: List[str] = list(lines)
        self.advice = advice
