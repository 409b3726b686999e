"""The pages that a session's host shows while no notebook answers, and those of the service's own host.

Packaged files, filled in with the session's state, texts of the `catalogue` and nothing from the request.
They load only from the reserved path `/.rps/` of the same host, and work without JavaScript.
"""

from __future__ import annotations

import json
import re
import time
from base64 import b64encode
from dataclasses import dataclass, replace
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from aiohttp import web

from rps_proxy.http.answers import OURS
from rps_proxy.pages import wording
from rps_proxy.pages.appearance import Appearance, Logo
from rps_proxy.pages.catalogue import Language
from rps_proxy.pages.state import WAITING, PageState

PREFIX = "/.rps/"
EVENTS = PREFIX + "events"  # see `events`
# Certificate authorities look there for the proof that a host requested a certificate (RFC 8555, 8.3;
# CA/Browser Forum's Baseline Requirements, 3.2.2.4.18). A notebook must not get one.
PROOFS_OF_OWNERSHIP = ("/.well-known/acme-challenge/", "/.well-known/pki-validation/")
RESERVED = (PREFIX, *PROOFS_OF_OWNERSHIP)
NOT_ANSWERING = "not-answering"  # the path of Apache's error page

HEADERS = {
    **OURS,
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
# An SVG image opened by itself is a document, which may hold scripts.
_IMAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
# Shown by an engine while the service is unavailable, so it contains its style and loads nothing.
SERVICE_AWAY = "service-away.html"
AWAY_STATUS, AWAY_RETRY = 503, 10  # seconds
AWAY_LINE = b"The service is temporarily unavailable.\n"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
ICON = "icon.svg"
_ASSETS = ("page.css", "page.js", ICON)
_LOGO = "logo"  # below PREFIX


@dataclass(frozen=True, slots=True)
class Page:
    """A page: its file in `pages/`, its HTTP status, and its one line for programs."""

    file: str
    status: int
    line: str


# Where the notebook may still come, or come back, 5xx with Retry-After: clients do not mistake the page for
# the notebook, and scripts retry. Else 410 or 404.
PAGES = {
    "pending": Page("waiting.html", 503, "This session has not started yet."),
    "queued": Page("waiting.html", 503, "This session's job is waiting in the queue."),
    "starting": Page("waiting.html", 503, "This session's notebook is starting."),
    "lapsed": Page("lapsed.html", 503, "The service has lost contact with this session's job."),
    "ended": Page("ended.html", 410, "This session has ended."),
    "unknown": Page("unknown.html", 404, "No session has this name."),
    "not-answering": Page("not-answering.html", 502, "The notebook does not answer."),
    "too-large": Page(
        "too-large.html",
        431,
        "The request head is too large: URL and header fields, cookies included, may have 60 KB in all. "
        "In a browser, open this address in a tab: the page removes the cookies.",
    ),
    "foreign-page": Page(
        "foreign-page.html",
        403,
        "Refused: the header field Origin (or Sec-Fetch-Site) names another origin than this session's. In a "
        "program, omit it or send the token as `Authorization: token ...`. For a page, add its origin to "
        "notebook.origins.",
    ),
    "home": Page(
        "home.html",
        200,
        "This is a Reverse Proxy Service for notebooks on compute nodes (rps). Each session has a host name "
        "of its own below this one.",
    ),
    "nothing-here": Page("home.html", 404, "Not found."),
}


class _Page(Template):
    """A packaged page: `$value`, or `${key.of.catalogue}`."""

    idpattern = r"[a-z_]+"
    braceidpattern = r"[a-z]+\.[a-z-]+"


class _Values(dict[str, str]):
    """A page's values in HTML; other names are keys of the catalogue."""

    def __init__(self, language: Language, values: dict[str, str]) -> None:
        super().__init__(values)
        self._language = language

    def __missing__(self, key: str) -> str:
        return self._language.html(key)


class Pages:
    """The packaged pages, read once, as a site has them look."""

    def __init__(self, appearance: Appearance | None = None, logo: Logo | None = None) -> None:
        self.appearance = appearance or Appearance()
        self.catalogue = self.appearance.catalogue()
        self._logo = logo
        folder = files("rps_proxy") / "pages"
        self._files = {name: (folder / name).read_bytes() for name in _ASSETS}
        self._layout = _Page((folder / "layout.html").read_text("utf-8"))
        self._away = _Page((folder / SERVICE_AWAY).read_text("utf-8"))
        self._pages = {
            page.file: _Page((folder / page.file).read_text("utf-8")) for page in PAGES.values()
        }
        # Inside the page: a request for a script would carry the same cookies.
        self._script = (folder / "cookies.js").read_text("utf-8")
        policy = HEADERS["Content-Security-Policy"]
        allowed = _by_content(self._script.encode())
        self.policy = policy.replace("script-src", f"script-src {allowed}")

    def html(self, standing: PageState, language: Language) -> str:
        """Return the page for a state, in HTML."""
        values = _Values(language, self._filled(standing, language))
        values["script"] = self._script
        values["cookies_removed"] = language.html(
            "advice.cookies-removed", count='<span id="count"></span>'
        )
        body = self._pages[PAGES[standing.state].file].substitute(values)
        values["body"] = body
        values["head"] = _FOLLOWS if standing.state in _FOLLOWED else ""
        values["site"] = self._site(language, logo=self.appearance.has_logo)
        values["support"] = self.appearance.support_line(language)
        return self._layout.substitute(values)

    def page(self, request: web.BaseRequest, standing: PageState) -> web.Response:
        """Return a state's page: HTML if the request accepts it, else a line of text."""
        page = PAGES[standing.state]
        if accepts_html(request):
            response = self.in_html(standing, request.headers.get("Accept-Language", ""))
        else:
            response = _response(f"{page.line}\n".encode(), "text/plain", page.status)
            response.headers["Vary"] = "Accept, Accept-Language"
        if page.status >= 500:
            response.headers["Retry-After"] = "5"
        # The unread body must not be parsed as the next request on this connection.
        if request.body_exists:
            response.force_close()
        return response

    def in_html(self, standing: PageState, accepted: str = "") -> web.Response:
        """Return the page for a state, in HTML; `accepted` is the field Accept-Language."""
        language = self.catalogue.preferred(accepted)
        status = PAGES[standing.state].status
        response = _response(self.html(standing, language).encode(), "text/html", status)
        response.headers.update(language_headers(language))
        response.headers["Content-Security-Policy"] = self.policy
        return response

    def service_away(self, request: web.BaseRequest) -> web.Response:
        """Return the page that a worker shows while the service does not answer."""
        language = self.catalogue.preferred(request.headers.get("Accept-Language", ""))
        if accepts_html(request):
            response = _response(self.away_page(language), "text/html", AWAY_STATUS)
        else:
            response = _response(AWAY_LINE, "text/plain", AWAY_STATUS)
        response.headers.update({**language_headers(language), **away_headers()})
        response.force_close()  # the unread body, as above
        return response

    def away_page(self, language: Language) -> bytes:
        """Return the page for an unavailable service, in HTML."""
        values = _Values(
            language,
            {
                "lang": language.tag,
                "dir": language.direction,
                "title": language.html("headings.service-away"),
                "text": language.html("texts.service-away"),
                "site": self._site(language, logo=False),
                "support": self.appearance.support_line(language),
            },
        )
        return self._away.substitute(values).encode()

    def reserved(self, request: web.BaseRequest, path: str, standing: PageState) -> web.Response:
        """Answer a request for a reserved path other than `EVENTS`."""
        wanted = path.removeprefix(PREFIX)
        if request.method not in ("GET", "HEAD"):
            return _response(b"Only GET and HEAD are allowed on this path.\n", "text/plain", 405)
        if wanted == "state":
            language = self.catalogue.preferred(request.headers.get("Accept-Language", ""))
            body = json.dumps(as_sent(standing, language)).encode()
            response = _response(body, "application/json", 200)
            response.headers.update(language_headers(language))
            return response
        if wanted == NOT_ANSWERING:
            return self.page(request, unanswered(standing))
        return self.asset(wanted)

    def asset(self, wanted: str) -> web.Response:
        """Return what pages load: style, script, icon and logo."""
        if wanted in _ASSETS:
            kind = _TYPES[wanted[wanted.rindex(".") :]]
            return _response(self._files[wanted], kind, 200)
        if wanted == _LOGO and self._logo is not None:
            response = _response(self._logo.content, self._logo.type, 200)
            response.headers["Content-Security-Policy"] = _IMAGE_POLICY
            return response
        return _response(b"Not found.\n", "text/plain", 404)

    def _site(self, language: Language, *, logo: bool) -> str:
        """Return the site's logo, title and message, in HTML."""
        title, message = self.appearance.title_in(language), self.appearance.message_in(language)
        image = f'<img src="{PREFIX}{_LOGO}" alt="">' if logo else ""
        named = f"<span>{escape(title)}</span>" if title else ""
        brand = f'<p class="site">{image}{named}</p>\n' if image or named else ""
        return brand + (f'<p class="message">{escape(message)}</p>\n' if message else "")

    def _filled(self, standing: PageState, language: Language) -> dict[str, str]:
        """Return the values of a page's template, escaped for text and quoted attributes."""
        estimate, seen = standing.estimate, standing.seen
        domain = self.appearance.domain
        title = self.appearance.title_in(language) if standing.state == "home" else ""
        values = {
            "lang": language.tag,
            "dir": language.direction,
            "phase": standing.state,
            "tab": title or wording.tab(standing, language),
            "title": wording.heading(standing, language),
            "text": wording.text(standing, language, domain=domain),
            "no_estimate": "hidden" if estimate is None else "",
            "estimate": "" if estimate is None else wording.expected(estimate, language),
            "no_seen": "hidden" if seen is None else "",
            "seen": "" if seen is None else wording.age(seen, language),
            # For the script: what Intl.RelativeTimeFormat has no words for.
            "soon": language.plain("times.in", span=language.plain("times.moment")),
            "recent": language.plain("times.ago", span=language.plain("times.moment")),
        }
        filled = {name: escape(value) for name, value in values.items()}
        filled["advice"] = _advice(standing, language, domain)
        filled["session"] = _session_line(standing)
        return filled


# The head of pages that follow the session's state.
_FOLLOWS = """\
<noscript><meta http-equiv="refresh" content="5"></noscript>
<script src="/.rps/page.js" defer></script>
"""
_FOLLOWED = (*WAITING, "lapsed", "not-answering")
_ADVICE = {
    **dict.fromkeys(WAITING, "advice.waiting"),
    **{state: f"advice.{state}" for state in ("lapsed", "not-answering", "ended", "unknown", "foreign-page")},
    **dict.fromkeys(("home", "nothing-here"), "advice.home"),
}  # fmt: skip


def _advice(standing: PageState, language: Language, domain: str) -> str:
    """Return a page's advice, in HTML; users of the satellite's clients have no command of rps."""
    key = _ADVICE.get(standing.state)
    if key is None:
        return ""
    if standing.satellite and f"{key}-satellite" in language:
        key = f"{key}-satellite"
    command = f"rps why {standing.name}" if standing.name else "rps why"
    example = f"three-short-words.{domain}"
    return language.html(key, command=escape(command), example=escape(example))


def _session_line(standing: PageState) -> str:
    """Return the session's name and cluster, in HTML; their order is that of the page's language."""
    named = [f"<bdi>{escape(part)}</bdi>" for part in (standing.name, standing.cluster) if part]
    return f'<p class="session">{" · ".join(named)}</p>\n' if named else ""


def accepts_html(request: web.BaseRequest) -> bool:
    """Return whether a request is a browser's, for a page."""
    return "text/html" in request.headers.get("Accept", "")


def unanswered(standing: PageState) -> PageState:
    """Return the state to show when a notebook with a route did not answer."""
    if standing.state != "ready":
        return standing
    return replace(standing, state="not-answering")


def as_sent(standing: PageState, language: Language) -> dict[str, Any]:
    """Return the state for a page's script; times are seconds since 1970."""
    return {
        "phase": standing.state,
        "title": wording.heading(standing, language),
        "text": wording.text(standing, language),
        "tab": wording.tab(standing, language),
        "estimate": standing.estimate,
        "seen": standing.seen,
        "now": round(time.time(), 1),
    }


def away_headers() -> dict[str, str]:
    """Return the header fields of the page for an unavailable service.

    Its policy allows its own style alone.
    """
    page = (files("rps_proxy") / "pages" / SERVICE_AWAY).read_bytes()
    style = re.search(rb"<style>(.*?)</style>", page, re.DOTALL)
    allowed = _by_content(style[1] if style else b"")
    policy = f"default-src 'none'; style-src {allowed}; base-uri 'none'; frame-ancestors 'none'"
    return {**OURS, "Content-Security-Policy": policy, "Retry-After": str(AWAY_RETRY)}


def _by_content(text: bytes) -> str:
    """Return the source by which a Content-Security-Policy allows one script or style in the page."""
    return f"'sha256-{b64encode(sha256(text).digest()).decode()}'"


def language_headers(language: Language) -> dict[str, str]:
    """Return the header fields of an answer in a language."""
    return {"Content-Language": language.tag, "Vary": "Accept, Accept-Language"}


def is_reserved(path: str) -> bool:
    """Return whether a path is the service's own, on every session's host."""
    return path.startswith(RESERVED)


def _response(body: bytes, kind: str, status: int) -> web.Response:
    charset = "; charset=utf-8" if kind.startswith("text/") else ""
    return web.Response(
        body=body, status=status, headers={**HEADERS, "Content-Type": f"{kind}{charset}"}
    )
