"""The route at a satellite (docs/protocol.md): no certificate, claim or lease."""

import time
from threading import Thread
from typing import Any, Dict, Optional

from rps_core.node.agent.events import End, EndCause, Events
from rps_core.node.agent.lease import REVOKE_TIME
from rps_core.node.agent.route import Route
from rps_core.node.agent.run_directory import RunDirectory
from rps_core.node.agent.satellite import REDEEMED, Satellite, refusal_of
from rps_core.node.agent.service import Service, ServiceAway, ServiceRefused
from rps_core.node.agent.session import Session
from rps_core.node.agent.wake import in_thread
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import log

NO_WAY_BACK = (502, 503, 504)  # statuses of Apache's mod_proxy if it cannot connect
DESTROY_TIME = 15.0  # seconds for the call: nothing else ends the route


class SatelliteRoute(Route):
    """A satellite's route.

    It exists up to two minutes after the name is redeemed, and for two days unless the name is
    destroyed. Jupyter serves plain HTTP, protected by its token alone.
    """

    def __init__(
        self, session: Session, run_directory: RunDirectory, watch: Watch, events: Events
    ) -> None:
        super().__init__(session, run_directory, watch, events)
        self._service = Satellite(*session.service)
        self._name = session.claim
        self._port = 0
        self._redeeming = False  # we have asked for it, whether or not an answer came
        self._destroyed: Optional[bool] = None  # the name; None: not tried
        self._destroyer: Optional[Thread] = None

    def prepare(self) -> None:
        """Find the address that the service reaches, and check the name."""
        try:
            self.insist(self._see_unredeemed)
        except ServiceRefused as refused:
            raise self._refusal(refused) from None
        self.address = self._service.local_address
        self.run_directory.make()

    def _see_unredeemed(self) -> bool:
        """Return whether the name is unredeemed; False: this agent has redeemed it.

        Raises:
            ServiceRefused: another client has, or the service does not know it.
        """
        state = self._service.state(self._name)
        if state in REDEEMED and self._redeeming:
            return False  # the answer to our own call was lost
        if state in REDEEMED:
            raise refusal_of("Oops! Unknown nonce or nonce already used", "")
        if not state:
            raise refusal_of("Oops! Unknown nonce or nonce already destroyed", "")
        return True

    def serving(self) -> Dict[str, Any]:
        """Return the settings for plain HTTP.

        The service may pass on another Host than the browser's, so Jupyter gets the session's origin; the
        cookie is for HTTPS only, which the browser uses.
        """
        plain = {"certfile": "", "keyfile": "", "ssl_options": {}}
        return dict(plain, allow_origin=self.session.origin, cookie_options={"secure": True})

    def trust(self) -> Any:
        """Nothing: see `JupyterApi.check_protected`."""

    def redeem(self, port: int) -> None:
        """Report Jupyter's port to the service, which makes the route."""
        self._port = port

        def once() -> None:
            if not self._see_unredeemed():
                return
            again, self._redeeming = self._redeeming, True
            try:
                self._service.redeem(self._name, port)
            except ServiceRefused as refused:
                # Our call before may only just have been served.
                if again and refused.code == "used":
                    raise ServiceAway("it does not report yet that the name is redeemed") from None
                raise

        try:
            self.insist(once)
        except ServiceRefused as refused:
            raise self._refusal(refused) from None
        self.events.add("redeemed", address=self.address, port=port)
        log("redeemed the name: the service makes the notebook reachable within two minutes")

    def renew(self) -> None:
        """Ask for the route until it exists, and call the notebook through it.

        A satellite has no leases: what ends the session is the application or the job.
        """
        reachable = late = False
        began = time.monotonic()
        deadline: Optional[float] = None  # for a notebook that the service cannot connect to
        while True:
            self.sleep(15.0 if reachable else 5.0)
            if reachable:
                continue
            try:
                state = self.watch.aside(lambda: self._service.state(self._name))
            except (ServiceAway, ServiceRefused) as error:
                self.note_away(str(error))
                continue
            self.note_back()
            if not state:
                raise End(EndCause.REVOKED, "The service does not know the session's name any more")
            if state == "PR":
                reason = self.watch.aside(self._way_back)
                if reason:
                    deadline = deadline or time.monotonic() + self.session.start_timeout
                    if time.monotonic() > deadline:
                        raise End(EndCause.UNREACHABLE, reason)
                    self.note_unreachable(reason)
                    continue
                reachable = True
                self.events.add("ready", address=self.address, port=self._port)
                log("ready")
            elif not late and time.monotonic() - began > 300:
                late = True
                log(
                    "the service has not made the notebook reachable for five minutes. Asking again"
                )

    def _way_back(self) -> str:
        """Call the notebook at its public host; return why the service cannot connect to it.

        Empty: it can, or this node cannot call that host.
        """
        host, port, connect, ca_file = self.session.service
        public = Service(self.session.host, port, connect or host, ca_file)
        try:
            status = public.status("/api")
        except ServiceAway:
            return ""
        if status not in NO_WAY_BACK:
            return ""
        return (
            "The service cannot connect to %s, port %d: the session's URL answers with status %d"
            % (self.address, self._port, status)
        )

    def revoke(self, _reason: str, _cause: str) -> None:
        """Destroy the name while the application is being ended; `settle` waits for it."""
        self._destroyed = False
        seconds = DESTROY_TIME if self._redeeming else REVOKE_TIME
        self._destroy_until = time.monotonic() + seconds

        def destroy() -> None:
            while time.monotonic() < self._destroy_until:
                try:
                    self._service.destroy(self._name)
                except ServiceAway:
                    time.sleep(0.5)
                    continue
                except ServiceRefused as refused:
                    if refused.code != "gone":
                        log("the service did not destroy the name: %s" % refused)
                        return
                self._destroyed = True
                return

        self._destroyer = in_thread(destroy)
        self.events.add("destroying")  # the launcher then knows why the name is gone

    def settle(self) -> None:
        """Wait until the name is destroyed, or the time for it has passed."""
        if self._destroyed is None:
            return
        while (
            self._destroyer
            and self._destroyer.is_alive()
            and time.monotonic() < self._destroy_until
            and not self.watch.hurry()
        ):
            self._destroyer.join(0.05)
        if self._redeeming and not self._destroyed:
            self.events.add("route-left", address=self.address, port=self._port)
            log("could not report the end to the service: it keeps the route for up to 49 hours")

    def _refusal(self, refused: ServiceRefused) -> End:
        """Return the session's end for a refusal of the service."""
        if refused.code == "used":
            self.ours = False  # another job of this session may have been faster
        reason = "The service refused the session: %s" % refused
        return End(EndCause.REFUSED, ". ".join(filter(None, (reason, refused.advice))))
