"""The route at a service of the older kind (docs/protocol.md): no certificate, no claim and no lease."""

import time
from threading import Thread
from typing import Any, Dict, Optional

from rps_core.node.agent.events import End, Events
from rps_core.node.agent.lease import REVOKE_TIME
from rps_core.node.agent.route import Route
from rps_core.node.agent.run_directory import RunDirectory
from rps_core.node.agent.satellite import REDEEMED, Satellite, refusal_of
from rps_core.node.agent.service import ServiceAway, ServiceRefused
from rps_core.node.agent.session import Session
from rps_core.node.agent.wake import in_thread
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import log

DESTROY_TIME = 15.0  # seconds spent on telling the service: there nothing else ends the route


class SatelliteRoute(Route):
    """A route that is there up to two minutes after the name is redeemed, and stays for two days unless
    we destroy the name. Jupyter serves plain HTTP, protected by its token alone."""

    def __init__(
        self, session: Session, run_directory: RunDirectory, watch: Watch, events: Events
    ) -> None:
        super().__init__(session, run_directory, watch, events)
        self._service = Satellite(*session.service)
        self._name = session.claim
        self._port = 0
        self._redeeming = False  # we have asked for it, whether or not an answer came
        self._destroyed: Optional[bool] = None  # the name; None: nobody has tried
        self._destroyer: Optional[Thread] = None

    def prepare(self) -> None:
        """What is learnt is the address the service reaches us at, and that the name is still there and
        nobody's."""
        try:
            self.insist(self._see_unredeemed)
        except ServiceRefused as refused:
            raise self._refusal(refused) from None
        self.address = self._service.local_address
        self.run_directory.make()

    def _see_unredeemed(self) -> bool:
        """True while the name is to be redeemed, false when we did.

        Raises:
            ServiceRefused: somebody else did, or the service does not know it.
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
        """Plain HTTP. The service may pass on another Host than the browser's, so that Jupyter is told
        which pages are its own; and the cookie, which the browser has by HTTPS, stays there."""
        plain = {"certfile": "", "keyfile": "", "ssl_options": {}}
        return dict(plain, allow_origin=self.session.origin, cookie_options={"secure": True})

    def trust(self) -> Any:
        """Nothing: see `JupyterApi.check_protected`."""

    def redeem(self, port: int) -> None:
        """Tell the service where Jupyter is; it makes the route within two minutes."""
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
                    raise ServiceAway("it has not told yet that the name is redeemed") from None
                raise

        try:
            self.insist(once)
        except ServiceRefused as refused:
            raise self._refusal(refused) from None
        self.events.add("redeemed", address=self.address, port=port)
        log("redeemed; the service makes the notebook reachable within two minutes")

    def renew(self) -> None:
        """There is nothing to renew. Until the route is there the service is asked for it, then left
        in peace: it has no more to say, and what ends the session is the application or the job."""
        reachable = late = False
        began = time.monotonic()
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
                raise End("revoked", "The service does not know the session's name any more")
            if state == "PR":
                reachable = True
                self.events.add("ready", address=self.address, port=self._port)
                log("ready")
            elif not late and time.monotonic() - began > 300:
                late = True
                log("the service has not made the notebook reachable for five minutes; trying on")

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

    def settle(self) -> None:
        """Until the name is destroyed, or it is clear that it will not be."""
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
            log("the service could not be told; it keeps the route for up to 49 hours")

    def _refusal(self, refused: ServiceRefused) -> End:
        """How the session ends where the service says no."""
        if refused.code == "used":
            self.ours = False  # another job of this session may have been faster
        reason = "The service refused the session: %s" % refused
        return End("refused", ". ".join(filter(None, (reason, refused.advice))))
