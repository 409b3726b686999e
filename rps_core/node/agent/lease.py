"""The route by a lease: certificate, redeem, renew, revoke (docs/protocol.md)."""

import time
from typing import Any, Dict, Optional

from rps_core.node.agent.events import End, Events
from rps_core.node.agent.route import Route
from rps_core.node.agent.run_directory import RunDirectory
from rps_core.node.agent.service import Service, ServiceAway, ServiceRefused, tls_context
from rps_core.node.agent.session import Session
from rps_core.node.agent.wake import in_thread
from rps_core.node.agent.watch import Watch
from rps_core.node.agent.words import log, short

REVOKE_TIME = 2.0  # seconds spent on telling the service; the lease does the rest
OVER = ("gone", "unknown-name", "wrong-claim")  # the service's codes for a session that is no more


class Lease(Route):
    """A route that lives while it is renewed, to a notebook with a certificate of the session's own."""

    def __init__(
        self, session: Session, run_directory: RunDirectory, watch: Watch, events: Events
    ) -> None:
        super().__init__(session, run_directory, watch, events)
        self._service = Service(*session.service)

    def prepare(self) -> None:
        """Certificate and key of this session, and with them the private directory."""
        try:
            answer = self._ask("certificate")
        except ServiceRefused as refused:
            raise self._refusal("certificate", refused) from None
        self.address = self._service.local_address
        self._ca = str(answer["ca"])
        self.run_directory.make()
        for name in ("certificate", "key"):
            self.run_directory.write(name + ".pem", answer[name].encode())

    def serving(self) -> Dict[str, Any]:
        """Over TLS of its own."""
        pem = {
            "certfile": self.run_directory.path_of("certificate.pem"),
            "keyfile": self.run_directory.path_of("key.pem"),
        }
        return dict(pem, ssl_options=pem)

    def trust(self) -> Any:
        """The CA that made the session's certificate."""
        return tls_context(ca_data=self._ca)

    def redeem(self, port: int) -> None:
        """Claim in hand, tell the service where Jupyter is: from here on there is a route."""
        try:
            answer = self._ask("redeem", {"port": port, "job_id": self.session.job_id})
        except ServiceRefused as refused:
            raise self._refusal("session", refused) from None
        self._renew_every = float(answer["renew_every"])
        self.events.add("ready", address=self.address, port=port)
        log("ready")

    def renew(self) -> None:
        """Renew the lease until something ends the session, which raises End."""
        while True:
            self.sleep(self._renew_every)
            try:
                self._renew_every = float(self.insist(self._renewal)["renew_every"])
            except ServiceRefused as refused:
                raise End("revoked", "The service ended the session: %s" % refused) from None

    def revoke(self, reason: str, cause: str) -> None:
        """Tell the service that the session is over; without it, the lease ends the route."""
        deadline = time.monotonic() + REVOKE_TIME
        body = {"reason": short(reason), "cause": cause}

        def tell() -> None:
            while time.monotonic() < deadline:
                try:
                    self._call("revoke", body)
                except ServiceAway:
                    time.sleep(0.3)
                except ServiceRefused as refused:
                    if refused.code in OVER:
                        return  # it was over, or never ours
                    body.clear()  # it may dislike our words
                    time.sleep(0.3)
                else:
                    return

        teller = in_thread(tell)
        while (
            teller and teller.is_alive() and time.monotonic() < deadline and not self.watch.hurry()
        ):
            teller.join(0.05)

    def settle(self) -> None:
        """Nothing: `revoke` has waited as long as it is worth."""

    def _ask(self, call: str, body: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """A call of this session's; one that the service cannot answer is repeated until it does
        (ServiceRefused: it said no)."""
        return self.insist(lambda: self._call(call, body))

    def _call(self, call: str, body: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        path = "/api/v1/sessions/%s/%s" % (self.session.name, call)
        return self._service.request("POST", path, body, self.session.claim)

    def _renewal(self) -> Dict[str, Any]:
        try:
            return self._call("renew", None)
        except ServiceRefused as refused:
            if refused.code in OVER:
                raise
            # It says nothing of the claim, as after an operator's mistake in `networks`: that may be mended.
            raise ServiceAway(str(refused), refused.code) from None

    def _refusal(self, what: str, refused: ServiceRefused) -> End:
        """How the session ends where the service says no."""
        if refused.code == "already-redeemed":
            self.ours = False  # another job was faster: the session, and its files, are that one's
        return End("refused", "The service refused the %s: %s" % (what, refused))
