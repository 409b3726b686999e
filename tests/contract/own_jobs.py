"""Recorded jobs with the session's name, tag and owner.

The recordings show other jobs, which rps would not touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from rps_core.testing import Answer, Replies, Reply

TAG = "rps:one-two-three:0a0b0c0d"
WHICH = f"\x1frps-one-two-three\x1f{TAG}\x1f2026-11-22T18:00:00"
LATER = datetime(2100, 1, 1, tzinfo=UTC)  # than any job was submitted


def text_in_queue(answer: Answer) -> str:
    """Return the output with name, comment and submission in each record of squeue."""
    own = _one(answer, "\x1e")
    assert isinstance(own, Answer)
    return own.stdout


def in_queue(replies: Replies) -> Replies:
    """Add name, comment and submission to each record of squeue."""
    return _each(replies, "\x1e")


def in_accounting(replies: Replies) -> Replies:
    """Return the same for records of sacct, which are lines."""
    return _each(replies, "\n")


def _each(replies: Replies, end: str) -> Replies:
    if isinstance(replies, Sequence):
        return [_one(reply, end) for reply in replies]
    return _one(replies, end)


def _one(reply: Reply, end: str) -> Reply:
    if not isinstance(reply, Answer):
        return reply
    records = reply.stdout.split(end)
    own = [record + WHICH if "\x1f" in record else record for record in records]
    return replace(reply, stdout=end.join(own))
