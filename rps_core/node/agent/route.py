"""The route from the service to the notebook: what both kinds of service have in common."""

import random
from typing import Any, Callable, Dict, TypeVar

from rps_core.node.agent.events import End, Events
from rps_core.node.agent.files import is_missing
from rps_core.node.agent.run_directory import RunDirectory
from rps_core.node.agent.service import ServiceAway, ServiceRefused
from rps_core.node.agent.session import Session
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import log

BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between calls while the service is away
_T = TypeVar("_T")


class Route:
    """One session at the service: `prepare`, `redeem`, `renew`, and at the end `revoke` and `settle`."""

    def __init__(
        self, session: Session, run_directory: RunDirectory, watch: Watch, events: Events
    ) -> None:
        self.session = session
        self.run_directory = run_directory
        self.watch = watch
        self.events = events
        self.address = ""  # where the service reaches us, once `prepare` has asked it
        self.ours = True  # the session is ours to end, and its secrets ours to remove
        self._away = False
        self._missing = 0  # looks in a row that did not find the session's directory

    def prepare(self) -> None:
        """Make the run directory, with what the notebook needs to be reached (End: refused)."""
        raise NotImplementedError

    def serving(self) -> Dict[str, Any]:
        """The settings with which Jupyter serves as the service expects."""
        raise NotImplementedError

    def trust(self) -> Any:
        """What verifies our own Jupyter when we look at it; None where it serves plain HTTP."""
        raise NotImplementedError

    def redeem(self, port: int) -> None:
        """Tell the service where Jupyter is (End: refused)."""
        raise NotImplementedError

    def renew(self) -> None:
        """Keep the route until something ends the session, which raises End."""
        raise NotImplementedError

    def revoke(self, reason: str, cause: str) -> None:
        """Tell the service that the session is over."""
        raise NotImplementedError

    def settle(self) -> None:
        """Wait for what `revoke` has begun."""
        raise NotImplementedError

    def insist(self, call: Callable[[], _T]) -> _T:
        """A call of the service, repeated until it answers (ServiceRefused: it said no)."""
        attempt = 0
        while True:
            try:
                answer = self.watch.aside(call)
            except ServiceAway as away:
                self.note_away(away.reason)
            except ServiceRefused:
                self.note_back()
                raise
            else:
                self.note_back()
                return answer
            # Jitter, or else every session of the cluster comes back in the same instant.
            delay = BACK_OFF[min(attempt, len(BACK_OFF) - 1)] * random.uniform(0.7, 1.3)  # noqa: S311
            attempt += 1
            self.watch.sleep(delay)

    def sleep(self, seconds: float) -> None:
        """Wait about this long, and see that the session's directory is there (End)."""
        self.watch.sleep(seconds * random.uniform(0.9, 1.0))  # noqa: S311
        # Twice in a row: one look may err, on NFS.
        self._missing = self._missing + 1 if is_missing(self.session.path) else 0
        if self._missing == 2:
            raise End("removed", "The session's directory is gone: %s" % self.session.path)

    def note_away(self, reason: str) -> None:
        """Once per outage."""
        if not self._away:
            self._away = True
            self.events.add("service-away", reason=reason)
            log("the service is away (%s); trying on" % reason)

    def note_back(self) -> None:
        """Once per outage, when it is over."""
        if self._away:
            self._away = False
            self.events.add("service-back")
            log("the service is back")
