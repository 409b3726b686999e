"""What the checks share: their findings, and the results of earlier checks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any

from rps_core.cluster import ClusterContext
from rps_core.config.settings import LoadedSettings
from rps_core.errors import SchedulerError
from rps_core.hooks.manager import Detection, Plugins
from rps_core.hooks.site import Site
from rps_core.launch.plan import Plan
from rps_core.state.record import Endpoint
from rps_core.state.store import Store
from rps_core.system import shell
from rps_core.system.shell import Finished
from rps_core.traits import CommandVariables
from rps_core.values import dataclass

CALL_TIME = 10.0  # seconds for one command or network call
PAGE_TIME = 60.0  # seconds for the whole run


class Verdict(StrEnum):
    """The result of a check."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One result: what was found, what to do (`hint`), what --fix did (`fixed`)."""

    verdict: Verdict
    text: str
    hint: str = ""
    fixed: str = ""


def passed(text: str) -> Finding:
    """Return a finding that needs no action."""
    return Finding(Verdict.PASS, text)


def warned(text: str, hint: str) -> Finding:
    """Return a problem that does not prevent a session."""
    return Finding(Verdict.WARN, text, hint)


def failed(text: str, hint: str) -> Finding:
    """Return a problem that prevents a session or makes it unsafe."""
    return Finding(Verdict.FAIL, text, hint)


@dataclass(frozen=True)
class Answer:
    """The service's answer.

    Attributes:
        status: the HTTP status.
        date: the Date header in Unix seconds, or None.
        found: the JSON object; empty if the body is not one.
        text: the body.
        received: the time of receipt in Unix seconds.
        took: the duration of the call in seconds.
    """

    status: int
    date: float | None
    found: dict[str, Any]
    text: str
    received: float
    took: float


class NotChecked(Exception):  # noqa: N818 - not an error
    """A check needs the result of an earlier check that failed; the text names it."""


@dataclass
class Checkup:
    """The state of one run of the doctor.

    Attributes:
        wanted: the cluster named by the user, or None to detect it.
        inside: this shell runs in a job.
        variables: the environment of the scheduler's commands, once the cluster is known.
        plugins, detection, site, loaded, plan, endpoint, answer: the results of checks. `the_…` return them
            to later checks.
    """

    wanted: str | None
    assignments: Sequence[str]
    store: Store
    fix: bool = False
    inside: bool = False
    plugins: Plugins | None = None
    broken_shown: int = 0
    detection: Detection | None = None
    site: Site | None = None
    variables: CommandVariables | None = None
    loaded: LoadedSettings | None = None
    plan: Plan | None = None
    endpoint: Endpoint | None = None
    answer: Answer | None = None
    ends: float = field(default_factory=lambda: time.monotonic() + PAGE_TIME)

    def shell(self, *argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        """Run a program, like `Shell`, within the remaining time of the run."""
        return self.run(*argv, stdin=stdin, timeout=min(timeout, CALL_TIME, self.left()))

    def run(self, *argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        """Run a program, like `Shell`."""
        return shell.bound(self.variables)(*argv, stdin=stdin, timeout=timeout)

    def left(self) -> float:
        """Return the remaining time in seconds.

        Raises:
            SchedulerError: no time is left.
        """
        left = self.ends - time.monotonic()
        if left < 1:
            raise SchedulerError("the time limit of the whole run was reached", transient=True)
        return left

    def the_site(self) -> Site:
        """Return the detected cluster's site, or raise `NotChecked`."""
        if self.site is None:
            raise NotChecked("no cluster was detected")
        return self.site

    def the_settings(self) -> LoadedSettings:
        """Return the configuration, or raise `NotChecked`."""
        self.the_site()  # without a cluster the configuration is not read
        if self.loaded is None:
            raise NotChecked("the configuration is not valid")
        return self.loaded

    def here(self) -> ClusterContext:
        """Return the cluster's context, or raise `NotChecked`."""
        detection = self.detection
        return ClusterContext(
            self.the_site(),
            detection.reasons if detection else (),
            self.the_settings(),
            shell=self.shell,
        )
