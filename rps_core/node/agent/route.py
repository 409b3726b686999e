"""Keep the route to the notebook: what both kinds of service have in common."""

import random
from typing import Any, Callable, Dict, Optional, TypeVar

from rps_core.node.agent.events import End, EndCause, Events
from rps_core.node.agent.files import is_missing
from rps_core.node.agent.run_directory import RunDirectory
from rps_core.node.agent.service import ServiceAway, ServiceRefused
from rps_core.node.agent.session import Session
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import log

BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0)  # seconds between calls while the service is away
_T = TypeVar("_T")


class Route:
    """One session at the service, from `prepare` to `settle`."""

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
        self._unreachable = ""  # why, as last logged
        self._missing = 0  # looks in a row that did not find the session's directory

    def prepare(self) -> None:
        """Make the run directory with the notebook's files (End: refused)."""
        raise NotImplementedError

    def serving(self) -> Dict[str, Any]:
        """Return the settings with which Jupyter serves as the service expects."""
        raise NotImplementedError

    def trust(self) -> Any:
        """Return the TLS context that verifies Jupyter; None: it serves plain HTTP."""
        raise NotImplementedError

    def redeem(self, port: int) -> None:
        """Report Jupyter's port to the service (End: refused)."""
        raise NotImplementedError

    def renew(self) -> None:
        """Keep the route until something ends the session, which raises End."""
        raise NotImplementedError

    def revoke(self, reason: str, cause: str) -> None:
        """Report the session's end to the service."""
        raise NotImplementedError

    def report_job(self, reason: Optional[str]) -> None:
        """Report for the session's page that the job runs, and what for (docs/protocol.md).

        Once, if it can be.
        """

    def settle(self) -> None:
        """Wait for what `revoke` has begun."""
        raise NotImplementedError

    def insist(self, call: Callable[[], _T]) -> _T:
        """Make a call of the service until it answers (ServiceRefused)."""
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
            raise End(EndCause.REMOVED, "The session's directory is gone: %s" % self.session.path)

    def note_unreachable(self, reason: str) -> None:
        """Log once that the service cannot connect to Jupyter."""
        if reason != self._unreachable:
            self._unreachable = reason
            self.events.add("unreachable", reason=reason)
            log("not ready: %s. Trying again" % reason)

    def note_away(self, reason: str) -> None:
        """Log an outage of the service, once."""
        if not self._away:
            self._away = True
            self.events.add("service-away", reason=reason)
            log("the service does not answer: %s. Trying again" % reason)

    def note_back(self) -> None:
        """Log the end of an outage, once."""
        if self._away:
            self._away = False
            self.events.add("service-back")
            log("the service answers again")
