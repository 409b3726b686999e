"""The client of a service of the older kind (docs/protocol.md), which the launcher uses too."""

from rps_core.node.agent.service import NotTheService, Service, ServiceAway, ServiceRefused
from rps_core.node.agent.words import short

# What the older service says where it refuses, behind its "Oops! ": the first words (or a part, where
# they are in the middle), our code for it, and what to do.
OOPS = (
    (
        "Unknown nonce or nonce already used",
        "used",
        "Somebody else used the session's name first, or it was stopped: start another one.",
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
)
NAME_STATES = ("U", "PE", "M", "PR", "Q", "R", "D")  # and none: the name is not known
REDEEMED = ("M", "PR")


class Satellite(Service):
    """The older service's calls (docs/protocol.md). `name` is the session's name at the service.

    Whoever in the cluster's network knows that name before the job starts can redeem it: it is treated as
    a secret here, as the claim is, which this service does not have. Every answer is a 200 of plain text.
    """

    def issue(self) -> str:
        """The words that the answer to *getlink* holds; the last one should be a name."""
        return self.get("getlink.cgi", "Your token is")

    def link(self, name: str, job_id: str) -> None:
        """Tell which job the session is; once only."""
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
        """The text of a call's answer, without white space around it. A good one begins with `good`.

        Raises:
            ServiceRefused: it begins with "Oops!".
            ServiceAway: it was no such answer.
        """
        from urllib.parse import urlencode

        query = urlencode(sorted(parameters.items()))
        path = "/" + script + ("?" + query if query else "")
        headers = {"Accept": "text/plain, text/html", "Connection": "close"}
        status, content_type, content = self._exchange("GET", path, None, headers)
        text = content.decode("utf-8", "replace").strip()
        if status in (429, 502, 503, 504):
            raise ServiceAway("it answered with status %d" % status)
        plain = content_type.partition(";")[0].strip().lower() in ("text/plain", "text/html")
        if status == 200 and plain and text.startswith("Oops!"):
            raise refusal_of(text, parameters.get("token", ""))
        if status != 200 or not plain or not text.startswith(good):
            raise NotTheService(status, content_type, text)
        return text


def refusal_of(text: str, name: str) -> ServiceRefused:
    """What an answer "Oops! …" means; `name` is kept out of it."""
    words = short(text[len("Oops!") :].strip())
    if name:
        words = words.replace(name, "[name]")
    for part, code, advice in OOPS:
        if part in words:
            return ServiceRefused(200, code, words, advice)
    return ServiceRefused(200, "refused", words)
