"""Check that the scheduler answers the commands that rps uses, and how fast."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rps_core.doctor.checkup import Checkup, Finding, Verdict, passed, warned
from rps_core.errors import SchedulerError
from rps_core.traits import HealthCheck

_SLOW = 5.0  # seconds: `rps list` takes as long


def scheduler(case: Checkup) -> Iterator[Finding]:
    """Run one cheap call of each command that rps uses."""
    site = case.the_site()
    questions = site.health_checks()
    if questions is None:
        yield warned(
            f"the plugin of {site.cluster.scheduler} defines no checks (rps_health_checks)",
            "`rps list` shows whether the scheduler answers.",
        )
        return
    for question in questions:
        yield _asked(question, case)
    if not questions:
        yield passed("rps's own scheduler on this host, without a daemon to check")


def _asked(question: HealthCheck, case: Checkup) -> Finding:
    program = question.argv[0]
    verdict = Verdict.FAIL if question.needed else Verdict.WARN
    began = time.monotonic()
    try:
        done = case.shell(*question.argv)
    except SchedulerError as error:
        hint = error.hint or "Ask the cluster's support whether the scheduler is down."
        return Finding(verdict, error.message, f"{question.without} {hint}".strip())
    took = time.monotonic() - began
    # Slurm's commands may fail with exit code 0 and an error on stderr only.
    if done.code != 0 or (done.stderr.strip() and not done.stdout.strip()):
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        error_text = lines[-1] if lines else f"exit code {done.code}"
        hint = question.without or "Ask the cluster's support whether the scheduler is down."
        return Finding(verdict, f"{program} does not answer: {error_text}", hint)
    if took > _SLOW:
        return warned(
            f"{program} takes {took:.1f} s", "The scheduler is busy: rps's commands take as long."
        )
    return passed(f"{program} answers in {took:.2f} s")
