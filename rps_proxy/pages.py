"""The pages that a session's host shows while no notebook does.

Static files, the same for everybody: nothing of the request is echoed. What they load comes from the
reserved path `/.rps/` of the same host. They work without JavaScript.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.resources import files

from aiohttp import web

PREFIX = "/.rps/"
NOT_ANSWERING = "not-answering"  # where Apache looks for its error page

# On each answer that is ours. No cookie is among them: the service has none.
OURS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
HEADERS = {
    **OURS,
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
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
    "lapsed": Page("lapsed.html", 503, "This session's job has not been heard of lately."),
    "ended": Page("ended.html", 410, "This session is over."),
    "unknown": Page("unknown.html", 404, "There is no session of this name."),
    "not-answering": Page("not-answering.html", 502, "The notebook does not answer."),
}


class Pages:
    """The packaged files, read once."""

    def __init__(self) -> None:
        folder = files("rps_proxy") / "pages"
        names = [page.file for page in PAGES.values()] + list(_ASSETS)
        self._files = {name: (folder / name).read_bytes() for name in names}

    def page(self, request: web.BaseRequest, state: str) -> web.Response:
        """The page for a state (a key of PAGES), in HTML for who asks for it, else one line."""
        page = PAGES[state]
        if "text/html" in request.headers.get("Accept", ""):
            response = self._file(page.file, page.status)
        else:
            response = _response(f"{page.line}\n".encode(), "text/plain", page.status)
        if page.status >= 500:
            response.headers["Retry-After"] = "5"
        # A body that nobody reads must not be taken for the next request on this connection.
        if request.body_exists:
            response.force_close()
        return response

    def reserved(self, request: web.BaseRequest, path: str, state: str) -> web.Response:
        """Answer for a path below `/.rps/`; `state` is what `/.rps/state` is to say."""
        wanted = path.removeprefix(PREFIX)
        if request.method not in ("GET", "HEAD"):
            return _response(b"This path is only read.\n", "text/plain", 405)
        if wanted == "state":
            return _response(json.dumps({"phase": state}).encode(), "application/json", 200)
        if wanted == NOT_ANSWERING:
            return self.page(request, "not-answering" if state == "ready" else state)
        if wanted in _ASSETS:
            return self._file(wanted, 200)
        return _response(b"There is nothing here.\n", "text/plain", 404)

    def _file(self, name: str, status: int) -> web.Response:
        kind = _TYPES[name[name.rindex(".") :]]
        return _response(self._files[name], kind, status)


def is_reserved(path: str) -> bool:
    """Whether a path is the service's own, on every session's host."""
    return path.startswith(PREFIX)


def _response(body: bytes, kind: str, status: int) -> web.Response:
    kind = kind if kind == "application/json" else f"{kind}; charset=utf-8"
    return web.Response(body=body, status=status, headers={**HEADERS, "Content-Type": kind})
