"""What the checks share: what they find, and what the earlier ones found out about this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rps_core.cluster import Here
from rps_core.errors import SchedulerError
from rps_core.planning import Plan
from rps_core.plugins import Detection, Plugins, Site
from rps_core.record import Endpoint
from rps_core.settings import Loaded
from rps_core.shell import Finished, Shell
from rps_core.store import Store

CALL_TIME = 10.0  # seconds for one command or one step of the network
PAGE_TIME = 60.0  # for the whole page


class Verdict(StrEnum):
    """What a line says."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the page: what was seen, and what to do about it. `fixed`: what --fix did about it."""

    verdict: Verdict
    text: str
    hint: str = ""
    fixed: str = ""


def passed(text: str) -> Finding:
    """It is as it should be."""
    return Finding(Verdict.PASS, text)


def warned(text: str, hint: str) -> Finding:
    """A session can be started, and something is not as it should be."""
    return Finding(Verdict.WARN, text, hint)


def failed(text: str, hint: str) -> Finding:
    """A session cannot be started, or is not safe."""
    return Finding(Verdict.FAIL, text, hint)


@dataclass(frozen=True)
class Answer:
    """What the service said: status, the Date header in Unix seconds, the JSON object, the text; when it was
    received, in Unix seconds, and how many it took."""

    status: int
    date: float | None
    found: dict[str, Any]
    text: str
    received: float
    took: float


class NotChecked(Exception):  # noqa: N818 - it is no error
    """A check lacks what an earlier one did not find; the text says what."""


@dataclass
class Case:
    """One examination. `wanted`: the cluster that was asked for by name; `inside`: this shell is a job's. The
    fields below that are set by the checks that find them; `the_…` gives them to those that need them."""

    wanted: str | None
    assignments: Sequence[str]
    run: Shell
    store: Store
    fix: bool = False
    inside: bool = False
    plugins: Plugins | None = None
    detection: Detection | None = None
    site: Site | None = None
    loaded: Loaded | None = None
    plan: Plan | None = None
    endpoint: Endpoint | None = None
    answer: Answer | None = None
    ends: float = field(default_factory=lambda: time.monotonic() + PAGE_TIME)

    def shell(self, *argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
        """A `Shell` that gives nobody more time than the page has."""
        return self.run(*argv, stdin=stdin, timeout=min(timeout, CALL_TIME, self.left()))

    def left(self) -> float:
        """Seconds that the page has.

        Raises:
            SchedulerError: none.
        """
        left = self.ends - time.monotonic()
        if left < 1:
            raise SchedulerError("the time for the whole page was over", transient=True)
        return left

    def the_site(self) -> Site:
        """The cluster."""
        if self.site is None:
            raise NotChecked("no cluster was detected")
        return self.site

    def the_settings(self) -> Loaded:
        """The configuration."""
        self.the_site()  # without a cluster it is not even looked at
        if self.loaded is None:
            raise NotChecked("the configuration is not valid")
        return self.loaded

    def here(self) -> Here:
        """Both, as the rest of rps takes them."""
        detection = self.detection
        return Here(self.the_site(), detection.reasons if detection else (), self.the_settings())
