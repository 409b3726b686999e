"""Call a satellite (docs/protocol.md), for the agent and the launcher."""

from rps_core.node.agent.protocol import is_satellite_name
from rps_core.node.agent.service import (
    PASSING,
    NotTheService,
    Service,
    ServiceAway,
    ServiceRefused,
)
from rps_core.node.agent.words import one_line, quoted

# The satellite's refusals after "Oops! " (cgi/*.cgi): a part of the text, our code for it, the advice.
OOPS = (
    (
        "Unknown nonce or nonce already used",
        "used",
        "Another client used the session's name first, or it was stopped: start another one.",
    ),
    (
        "Unknown nonce or nonce already destroyed",
        "gone",
        "The service does not know the session any more: start another one.",
    ),
    (
        "already linked to a jobid",
        "already-linked",
        "Another job has this name: start another one.",
    ),
    (
        "must be destroyed from host it was redeemed on",
        "wrong-address",
        "Only the job's own node may end the route; the job does so when it ends.",
    ),
    (
        "not in range",
        "outside-networks",
        "The service answers the cluster's own hosts only: run rps on one of its login nodes.",
    ),
    ("'port' parameter isn't", "bad-port", "`notebook.port_range` must lie within 1024 to 65535."),
    # An rps service that answers these calls (rps_proxy/api/satellite.py).
    ("users who prove who they are", "no-claim", "Set `proxy.protocol: rps`."),
)
NAME_STATES = ("U", "PE", "M", "PR", "Q", "R", "D")  # and none: the name is not known
REDEEMED = ("M", "PR")


class Satellite(Service):
    """The satellite's calls (docs/protocol.md) for the session `name`.

    A user in the cluster's network who knows that name before the job starts can redeem it: it is treated
    as a secret here, as the claim is, which the satellite does not have. The satellite answers with status
    200 and plain text, refusals too; an rps service refuses some calls with 4xx or 5xx and the same text.
    """

    def issue(self) -> str:
        """Return a fresh name (ServiceAway: the answer holds none)."""
        name = self.get("getlink.cgi", "Your token is").split()[-1].lower()
        if not is_satellite_name(name):
            raise ServiceAway("its answer is malformed: it contains no name")
        return name

    def link(self, name: str, job_id: str) -> None:
        """Report the session's job; once only."""
        self.get("linktoken.cgi", "Success!", token=name, jobid=job_id)

    def redeem(self, name: str, port: int) -> None:
        """Have the name lead to this port of the address we call from."""
        self.get("redeemtoken.cgi", "Success!", token=name, port=str(port))

    def destroy(self, name: str) -> None:
        """End the name, and its route; once redeemed only for the address that did it."""
        self.get("destroytoken.cgi", "Success!", token=name)

    def state(self, name: str) -> str:
        """One of NAME_STATES; empty where the service does not know the name."""
        text = self.get("tokenjobstate.cgi", "", token=name)
        # Earlier servers put the seconds since the last change first.
        state = text.rpartition(" ")[2]
        if state and state not in NAME_STATES:
            raise NotTheService(200, "", text)
        return state

    def get(self, script: str, good: str, **parameters: str) -> str:
        """Return the stripped text of an answer that begins with `good`.

        Raises:
            ServiceRefused: it begins with "Oops!", and no later attempt would succeed.
            ServiceAway: it was no such answer, or a refusal for now (429, 503).
        """
        from urllib.parse import urlencode

        query = urlencode(sorted(parameters.items()))
        path = "/" + script + ("?" + query if query else "")
        headers = {"Accept": "text/plain, text/html", "Connection": "close"}
        status, content_type, content = self._exchange("GET", path, None, headers)
        text = content.decode("utf-8", "replace").strip()
        plain = content_type.partition(";")[0].strip().lower() in ("text/plain", "text/html")
        if plain and text.startswith("Oops!"):
            refusal = refusal_of(text, parameters.get("token", ""), status)
            if status in PASSING:
                reason = "it answered with status %d: %s" % (status, quoted(refusal.message))
                raise ServiceAway(reason, "unavailable", refusal.message)
            raise refusal
        # Its scripts die of a database that is locked or broken, which Apache answers with 500.
        if status in PASSING or status >= 500:
            raise ServiceAway("it answered with status %d" % status)
        if status != 200 or not plain or not text.startswith(good):
            raise NotTheService(status, content_type, text)
        return text


def refusal_of(text: str, name: str, status: int = 200) -> ServiceRefused:
    """Read an answer "Oops! …", without the session's `name`."""
    words = one_line(text[len("Oops!") :])
    if name:
        words = words.replace(name, "[name]")
    for part, code, advice in OOPS:
        if part in words:
            return ServiceRefused(status, code, words, advice)
    return ServiceRefused(status, "refused", words)
