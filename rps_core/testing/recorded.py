"""A shell that replays what a real scheduler was seen to answer."""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rps_core.errors import SchedulerError
from rps_core.shell import Finished


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int = 0
    stdout: str = ""
    stderr: str = ""


@dataclass(frozen=True, slots=True)
class _NoAnswer:
    what: str


TIMEOUT = _NoAnswer("did not answer within 30 s")
MISSING = _NoAnswer("is not on the PATH of this host")

Reply: TypeAlias = Answer | _NoAnswer
Replies: TypeAlias = Reply | Sequence[Reply]


class RecordedShell:
    """A `Shell` that replays recorded answers, and fails on any command it has none for.

    `answers` maps a command, as one types it (`"qstat -x 12"`) or as a tuple of arguments, to its
    answer; a sequence of answers is given one after the other, the last one for good. `TIMEOUT` and
    `MISSING` are answers too: the program hangs, or is not there. A key that is a program's name and
    nothing else, `"qstat"`, answers only that program without arguments; `every_command` answers all.

    `calls` holds the argument lists in the order they came, `inputs` what each was given on stdin.
    """

    def __init__(
        self, answers: Mapping[str | tuple[str, ...], Replies], default: Reply | None = None
    ) -> None:
        self._answers: dict[tuple[str, ...], list[Reply]] = {}
        for command, replies in answers.items():
            argv = tuple(shlex.split(command)) if isinstance(command, str) else command
            self._answers[argv] = list(replies) if isinstance(replies, Sequence) else [replies]
        self._default = default
        self.calls: list[tuple[str, ...]] = []
        self.inputs: list[str] = []

    def __call__(self, *argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        """Answer as recorded; `timeout` counts for nothing here."""
        del timeout
        self.calls.append(argv)
        self.inputs.append(stdin)
        replies = self._answers.get(argv)
        if replies is None and self._default is None:
            known = "\n  ".join(shlex.join(command) for command in self._answers) or "(nothing)"
            raise AssertionError(
                f"no answer is recorded for\n  {shlex.join(argv)}\nbut for\n  {known}"
            )
        reply = self._default if replies is None else replies[0]
        if replies is not None and len(replies) > 1:
            replies.pop(0)
        if isinstance(reply, Answer):
            return Finished(argv, reply.code, reply.stdout, reply.stderr)
        assert reply is not None
        raise SchedulerError(f"`{argv[0]}` {reply.what}", transient=reply is TIMEOUT)


def every_command(reply: Reply) -> RecordedShell:
    """A shell that gives the same answer to whatever it is asked."""
    return RecordedShell({}, default=reply)
