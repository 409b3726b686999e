"""A shell that replays recorded output of a real scheduler."""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rps_core.errors import SchedulerError
from rps_core.system.shell import Finished


@dataclass(frozen=True, slots=True)
class Answer:
    """A command's output and exit code."""

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
    """A `Shell` that replays recorded answers and fails on any other command.

    `answers` maps a command line (`"qstat -x 12"`) or a tuple of arguments to its answer. A sequence of
    answers is used in order, its last one repeatedly. The answers `TIMEOUT` and `MISSING` are a program that
    hangs and one that is not installed. The key `"qstat"` answers that program without arguments;
    `every_command` answers all.

    `calls` has the argument lists in their order, `inputs` the stdin of each.
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
        """Return the recorded answer; `timeout` is ignored."""
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
    """Return a shell that gives the same answer to every command."""
    return RecordedShell({}, default=reply)


def by_program(replies: Mapping[str, Reply]) -> RecordedShell:
    """Return a shell that gives each program one answer, whatever its arguments; others are missing."""
    return _ByProgram(replies)


class _ByProgram(RecordedShell):
    def __init__(self, replies: Mapping[str, Reply]) -> None:
        super().__init__({})
        self._replies = replies

    def __call__(self, *argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        """Return the program's answer."""
        self._default = self._replies.get(argv[0], MISSING)
        return super().__call__(*argv, stdin=stdin, timeout=timeout)
