"""Whether the scheduler answers what rps asks it, and how fast."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rps_core.doctor.case import Case, Finding, Verdict, passed, warned
from rps_core.errors import SchedulerError
from rps_core.models import Question

_SLOW = 5.0  # seconds: `rps list` takes as long


def scheduler(case: Case) -> Iterator[Finding]:
    """One cheap call of each command that rps uses."""
    site = case.the_site()
    questions = site.questions()
    if questions is None:
        yield warned(
            f"the plugin of {site.cluster.scheduler} names nothing to ask (rps_questions)",
            "`rps list` shows whether it answers.",
        )
        return
    for question in questions:
        yield _asked(question, case)
    if not questions:
        yield passed("it is rps's own on this machine: there is no daemon to ask")


def _asked(question: Question, case: Case) -> Finding:
    program = question.argv[0]
    verdict = Verdict.FAIL if question.needed else Verdict.WARN
    began = time.monotonic()
    try:
        done = case.shell(*question.argv)
    except SchedulerError as error:
        hint = error.hint or "The cluster's support knows whether it is down."
        return Finding(verdict, error.message, f"{question.without} {hint}".strip())
    took = time.monotonic() - began
    # Slurm's commands may fail with exit code 0, and say so on stderr alone.
    if done.code != 0 or (done.stderr.strip() and not done.stdout.strip()):
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        told = lines[-1] if lines else f"it exits with {done.code}"
        hint = question.without or "The cluster's support knows whether it is down."
        return Finding(verdict, f"{program} does not answer: {told}", hint)
    if took > _SLOW:
        return warned(
            f"{program} takes {took:.1f} s", "The scheduler is busy; commands of rps wait as long."
        )
    return passed(f"{program} answers in {took:.2f} s")
