"""The pages that a session's host shows while no notebook does.

Packaged files, filled in with how the session stands and with nothing of the request. What they load comes
from the reserved path `/.rps/` of the same host. They work without JavaScript.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from aiohttp import web

from rps_proxy.standing import Standing, age, expected

PREFIX = "/.rps/"
EVENTS = PREFIX + "events"  # see `waiting`
NOT_ANSWERING = "not-answering"  # where Apache looks for its error page

# On each answer that is ours. No cookie is among them: the service has none.
OURS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Server": "rps",  # aiohttp's own would tell strangers which versions run here
    "X-Content-Type-Options": "nosniff",
}
HEADERS = {
    **OURS,
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_TYPES = {".css": "text/css", ".js": "text/javascript"}
_ASSETS = ("page.css", "page.js")


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its file below `pages/`, the status that goes with it, and one line for programs."""

    file: str
    status: int
    line: str


# Where the notebook may come (back), 5xx with Retry-After: no client takes the page for it, and a
# crawler or a script asks again. 410 and 404 say that it is of no use.
PAGES = {
    "pending": Page("waiting.html", 503, "This session has not started yet."),
    "queued": Page("waiting.html", 503, "This session's job waits in the queue."),
    "starting": Page("waiting.html", 503, "This session's notebook is starting."),
    "lapsed": Page("lapsed.html", 503, "This session's job has not been heard of lately."),
    "ended": Page("ended.html", 410, "This session is over."),
    "unknown": Page("unknown.html", 404, "There is no session of this name."),
    "not-answering": Page("not-answering.html", 502, "The notebook does not answer."),
}


class Pages:
    """The packaged files, read once."""

    def __init__(self) -> None:
        folder = files("rps_proxy") / "pages"
        self._files = {name: (folder / name).read_bytes() for name in _ASSETS}
        self._pages = {
            page.file: Template((folder / page.file).read_text("utf-8")) for page in PAGES.values()
        }

    def html(self, standing: Standing) -> str:
        """The page that shows how a session stands."""
        return self._pages[PAGES[standing.state].file].substitute(_filled(standing))

    def page(self, request: web.BaseRequest, standing: Standing) -> web.Response:
        """The page for a standing, in HTML for who asks for it, else one line."""
        page = PAGES[standing.state]
        if "text/html" in request.headers.get("Accept", ""):
            response = _response(self.html(standing).encode(), "text/html", page.status)
        else:
            response = _response(f"{page.line}\n".encode(), "text/plain", page.status)
        if page.status >= 500:
            response.headers["Retry-After"] = "5"
        # A body that nobody reads must not be taken for the next request on this connection.
        if request.body_exists:
            response.force_close()
        return response

    def reserved(self, request: web.BaseRequest, path: str, standing: Standing) -> web.Response:
        """Answer for a path below `/.rps/`, but for `EVENTS`."""
        wanted = path.removeprefix(PREFIX)
        if request.method not in ("GET", "HEAD"):
            return _response(b"This path is only read.\n", "text/plain", 405)
        if wanted == "state":
            return _response(json.dumps(told(standing)).encode(), "application/json", 200)
        if wanted == NOT_ANSWERING:
            return self.page(request, unanswered(standing))
        if wanted in _ASSETS:
            return _response(self._files[wanted], _TYPES[wanted[wanted.rindex(".") :]], 200)
        return _response(b"There is nothing here.\n", "text/plain", 404)


def unanswered(standing: Standing) -> Standing:
    """What to show instead of a notebook that should be there."""
    return Standing("not-answering") if standing.state == "ready" else standing


def told(standing: Standing) -> dict[str, Any]:
    """What the script of a page is told: times in seconds since 1970, `now` by the service's clock."""
    return {
        "phase": standing.state,
        "title": standing.title,
        "text": standing.text,
        "estimate": standing.estimate,
        "seen": standing.seen,
        "now": round(time.time(), 1),
    }


def _filled(standing: Standing) -> dict[str, str]:
    """The values of a page's template, safe within text and quoted attributes."""
    estimate, seen = standing.estimate, standing.seen
    values = {
        "phase": standing.state,
        "title": standing.title,
        "text": standing.text,
        "no_estimate": "hidden" if estimate is None else "",
        "estimate": "" if estimate is None else expected(estimate),
        "no_seen": "hidden" if seen is None else "",
        "seen": "" if seen is None else age(seen),
    }
    return {name: escape(value) for name, value in values.items()}


def is_reserved(path: str) -> bool:
    """Whether a path is the service's own, on every session's host."""
    return path.startswith(PREFIX)


def _response(body: bytes, kind: str, status: int) -> web.Response:
    kind = kind if kind == "application/json" else f"{kind}; charset=utf-8"
    return web.Response(body=body, status=status, headers={**HEADERS, "Content-Type": kind})
