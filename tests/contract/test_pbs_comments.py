"""Each comment in the sources of OpenPBS and Torque has a cause and a text.

The text says if the job can never start.
"""

from __future__ import annotations

import pytest

from rps_core.diagnosis.causes import WAITING
from rps_core.jobs import Known
from rps_core.protocol import Cause
from rps_core.schedulers.pbs.states import status_of
from tests.contract.transcripts import RECORDED

HELD = "held: "
NOT_NOW, NEVER = "Not Running: ", "Can Never Run: "


def recorded(product: str) -> list[str]:
    """Return the format strings; each placeholder is filled in."""
    lines = (RECORDED / product / "comments.txt").read_text().splitlines()
    texts = [line.split("\t")[0] for line in lines if not line.startswith("#")]
    return [text.replace("%s", "x1-y.z") for text in texts]


OPENPBS, TORQUE = recorded("openpbs"), recorded("torque")
SCHEDULERS = [text for text in [*OPENPBS, *TORQUE] if text.startswith((NOT_NOW, NEVER))]
OTHERS = [text for text in [*OPENPBS, *TORQUE] if not text.startswith((NOT_NOW, NEVER, HELD))]
HOLDS = [text.removeprefix(HELD) for text in [*OPENPBS, *TORQUE] if text.startswith(HELD)]


def waiting(comment: str, state: str = "Q", **more: str) -> Known:
    found = status_of(
        {"Job_Id": "7.mgr", "job_state": state, "comment": comment, "server": "mgr", **more}
    )
    assert isinstance(found, Known)
    assert found.raw_reason == comment
    assert found.reason
    return found


def test_the_lists_are_those_of_the_sources() -> None:
    assert len(OPENPBS) == len(set(OPENPBS)) > 110
    assert len(TORQUE) == len(set(TORQUE)) > 25


@pytest.mark.parametrize(
    "comment", [*(one for one in SCHEDULERS if one.startswith(NOT_NOW)), *OTHERS]
)
def test_each_comment_has_a_cause_and_plain_words(comment: str) -> None:
    found = waiting(comment)
    assert found.cause in WAITING
    assert found.cause != Cause.NEVER
    assert found.reason not in (comment, "it waits for its turn")
    assert "never" not in (found.reason or "")
    assert "{" not in (found.reason or "")
    if found.cause == Cause.WAITING:
        assert found.advice


@pytest.mark.parametrize("comment", SCHEDULERS)
def test_what_can_never_run_says_so(comment: str) -> None:
    """The scheduler puts the prefix before any of its texts."""
    text = comment.removeprefix(NOT_NOW).removeprefix(NEVER)
    found = waiting(NEVER + text)
    assert found.cause == Cause.NEVER
    assert (found.reason or "").endswith("; this job can never start")
    assert not {"yet", "wait", "until"} & set((found.reason or "").split())


@pytest.mark.parametrize("comment", HOLDS)
def test_a_held_job_says_what_its_comment_knows(comment: str) -> None:
    found = waiting(comment, "H", Hold_Types="s")
    assert found.cause == Cause.HELD
    assert "it depends on another job, or" not in (found.reason or "")
    assert "held" in (found.reason or "")
    assert "support" in (found.advice or "")


def test_a_users_own_hold_is_the_users() -> None:
    found = waiting("Job held by alice on Mon Nov 23 10:00:00 2026", "H", Hold_Types="u")
    assert found.reason == "it is held by you"
    assert found.advice == "`qrls 7.mgr` releases it."


@pytest.mark.parametrize(
    ("comment", "cause", "words"),
    [
        ("Not Running: would exceed user alice's limit on resource ncpus in queue long", "queue-limit",
         "your jobs hold as much of ncpus as the limit allows"),
        ("Not Running: Queue long per-project limit reached on resource ngpus", "queue-limit",
         "the jobs of your project hold as much of ngpus as the limit allows"),
        ("Not Running: Job would interfere with a confirmed reservation: R12.mgr", "nodes-unavailable",
         "the nodes are reserved for others before it could end"),
        ("Can Never Run: would exceed overall limit on resource mem in complex", "never",
         "it requests more of mem than a limit allows; this job can never start"),
        ("Can Never Run: Insufficient amount of resource: ncpus (R: 999 A: 4 T: 4)", "never",
         "it requests more of ncpus than there is; this job can never start"),
        # A runjob hook that rejects
        ("Not Running: PBS Error: project abc123 has {no} hours left", "waiting",
         "an attempt to start it failed: project abc123 has {no} hours left"),
    ],
)  # fmt: skip
def test_the_words_name_what_is_missing(comment: str, cause: str, words: str) -> None:
    found = waiting(comment)
    assert (found.cause, found.reason) == (cause, words)


@pytest.mark.parametrize(
    "comment",
    ["Site: the limit of your reservation can never run out", "Dedicated time for you: Monday",
     "Not Running: by order of the\nadministrators"],
)  # fmt: skip
def test_an_unknown_comment_is_quoted_whole_and_none_of_its_words_is_a_cause(comment: str) -> None:
    found = waiting(comment)
    assert found.cause is None
    assert found.reason == " ".join(comment.split())


def test_an_unknown_text_of_a_job_that_can_never_run_is_quoted() -> None:
    assert (
        waiting("Can Never Run: No such moon.").reason == "No such moon; this job can never start"
    )
