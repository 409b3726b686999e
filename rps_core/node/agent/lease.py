"""Keep a route by its lease: certificate, redeem, renew, revoke."""

import time
from threading import Thread
from typing import Any, Dict, Optional

from rps_core.node.agent.addresses import address_by
from rps_core.node.agent.calls import SessionCalls
from rps_core.node.agent.events import End, EndCause, Events
from rps_core.node.agent.protocol import ACKNOWLEDGED, CERTIFICATE, LEASE, Form
from rps_core.node.agent.route import Route
from rps_core.node.agent.run_directory import RunDirectory
from rps_core.node.agent.service import Service, ServiceAway, ServiceRefused
from rps_core.node.agent.session import Session
from rps_core.node.agent.tls import tls_context
from rps_core.node.agent.wake import in_thread
from rps_core.node.agent.watch import KILL_DELAY_PART, Watch
from rps_core.node.agent.words import log, one_line, short

REVOKE_TIME = 2.0  # seconds for the call; without it the lease ends the route
UNREACHABLE = "unreachable"  # the service's code: it cannot connect to Jupyter
UNREACHABLE_PAUSE = 5.0  # seconds before it is asked to try again
OVER = ("gone", "unknown-name", "wrong-claim")  # the service's codes for a session that is no more


class Lease(Route):
    """A route that is renewed, to a notebook with the session's own certificate."""

    def __init__(
        self, session: Session, run_directory: RunDirectory, watch: Watch, events: Events
    ) -> None:
        super().__init__(session, run_directory, watch, events)
        self._calls = SessionCalls(session)
        self._reporter: Optional[Thread] = None
        self._announced: Dict[str, Any] = {}  # what a call says of our address

    def prepare(self) -> None:
        """Get the session's certificate and key, and make the private directory."""
        announced = self.session.node_address and address_by(self.session.node_address)
        if announced:
            self._announced["address"] = announced
        try:
            answer = self._ask("certificate", CERTIFICATE, self._announced)
        except ServiceRefused as refused:
            raise self._refusal("certificate", refused) from None
        self.address = announced or self._calls.local_address
        self._ca = answer["ca"]
        self.run_directory.make()
        for name in ("certificate", "key"):
            self.run_directory.write(name + ".pem", answer[name].encode())
        try:
            self.trust()
            certificate = self.run_directory.path_of("certificate.pem")
            tls_context(ca_data=self._ca).load_cert_chain(
                certificate, self.run_directory.path_of("key.pem"), password=lambda: ""
            )
        except (OSError, ValueError):
            raise End(
                "refused", "The service gave a certificate, a key or a CA that cannot be used"
            ) from None

    def serving(self) -> Dict[str, Any]:
        """Return the settings for TLS with the session's certificate."""
        pem = {
            "certfile": self.run_directory.path_of("certificate.pem"),
            "keyfile": self.run_directory.path_of("key.pem"),
        }
        return dict(pem, ssl_options=pem)

    def trust(self) -> Any:
        """Return a TLS context that trusts the CA of the session's certificate."""
        return tls_context(ca_data=self._ca)

    def redeem(self, port: int) -> None:
        """Report Jupyter's port to the service, which connects to it and makes the route.

        Where the service cannot connect, it is asked again for `start_timeout` (End).
        """
        body: Dict[str, Any] = {"port": port, "job_id": self.session.job.id, "check": True}
        body.update(self._announced)
        if self.session.origins:
            body["origins"] = self.session.origins
        deadline = time.monotonic() + self.session.start_timeout
        while True:
            try:
                answer = self._ask("redeem", LEASE, body)
                break
            except ServiceRefused as refused:
                if refused.code != UNREACHABLE:
                    raise self._refusal("session", refused) from None
                reason = "%s Jupyter listens on %s, port %d" % (
                    one_line(refused.message), self.address, port,
                )  # fmt: skip
            if time.monotonic() > deadline:
                raise End(EndCause.UNREACHABLE, reason)
            self.note_unreachable(reason)
            self.sleep(UNREACHABLE_PAUSE)
        self._renew_every: float = answer["renew_every"]
        self.events.add("ready", address=self.address, port=port)
        log("ready")

    def renew(self) -> None:
        """Renew the lease until something ends the session, which raises End."""
        while True:
            self.sleep(self._renew_every)
            try:
                self._renew_every = self.insist(self._renewal)["renew_every"]
            except ServiceRefused as refused:
                raise End(EndCause.REVOKED, "The service ended the session: %s" % refused) from None

    def revoke(self, reason: str, cause: str) -> None:
        """Report the session's end to the service; without it the lease ends the route."""
        seconds = REVOKE_TIME
        if self.watch.asked_to_end:
            seconds = min(seconds, KILL_DELAY_PART * self.watch.kill_delay)
        deadline = time.monotonic() + seconds
        body = {"reason": short(reason), "cause": cause}

        def report() -> None:
            while time.monotonic() < deadline:
                try:
                    self._call("revoke", ACKNOWLEDGED, body)
                except ServiceAway:
                    time.sleep(0.3)
                except ServiceRefused as refused:
                    if refused.code in OVER:
                        return  # it has ended already, or is another agent's
                    body.clear()  # it may reject the reason
                    time.sleep(0.3)
                else:
                    return

        teller = in_thread(report)
        while (
            teller and teller.is_alive() and time.monotonic() < deadline and not self.watch.hurry()
        ):
            teller.join(0.05)

    def report_job(self, reason: Optional[str]) -> None:
        """Report for the session's page that the job runs, and what for; once, if it can be."""
        if self._reporter is not None and self._reporter.is_alive():
            if reason is not None:
                return  # the last one is under way
            self._reporter.join(REVOKE_TIME)
        body = {"state": "running"} if reason is None else {"state": "running", "reason": reason}
        path = "/api/v1/sessions/%s/job" % self.session.name

        def report() -> None:
            try:
                service = Service(*self.session.service)
                service.request("POST", path, ACKNOWLEDGED, body, self.session.claim)
            except (ServiceAway, ServiceRefused):
                pass  # an earlier service, or one that only files reach: its page says less

        self._reporter = in_thread(report)

    def settle(self) -> None:
        """Remove answers that came too late; `revoke` has waited long enough."""
        self._calls.remove_answers()

    def _ask(self, call: str, form: Form, body: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
        """Make a call of this session, until the service answers (ServiceRefused)."""
        return self.insist(lambda: self._call(call, form, body))

    def _call(self, call: str, form: Form, body: Optional[Dict[str, Any]]) -> Dict[str, Any]:
        return self._calls.call(call, form, body)

    def _renewal(self) -> Dict[str, Any]:
        try:
            return self._call("renew", LEASE, None)
        except ServiceRefused as refused:
            if refused.code in OVER:
                raise
            # It is not about the claim: an operator's mistake in `networks`, which may be corrected.
            raise ServiceAway(str(refused), refused.code) from None

    def _refusal(self, what: str, refused: ServiceRefused) -> End:
        """Return the session's end for a refusal of the service."""
        if refused.code == "already-redeemed":
            self.ours = False  # another job was faster: the session and its files belong to it
        return End(EndCause.REFUSED, "The service refused the %s: %s" % (what, refused))
