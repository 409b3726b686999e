"""Responses that HAProxy sends itself: complete with their heads, one file each."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rps_proxy.pages.catalogue import Language
    from rps_proxy.pages.render import Pages

# HTML for browsers, text for programs.
NOT_ANSWERING, SATELLITE_NOT_ANSWERING = "not-answering", "satellite-not-answering"
SERVICE_AWAY, FOREIGN_PAGE = "service-away", "foreign-page"
# HAProxy has HTML for these, and their clients are seldom browsers.
PLAIN_TEXT = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
)


def answers(pages: Pages) -> dict[str, bytes]:
    """Build the answers, by file name: HTML in each language of `pages`, and text."""
    from rps_proxy.pages.render import AWAY_LINE, AWAY_STATUS, away_headers, language_headers

    found = {
        text_file(NOT_ANSWERING): _text("not-answering"),
        text_file(FOREIGN_PAGE): _text("foreign-page"),
        text_file(SERVICE_AWAY): _whole(AWAY_STATUS, away_headers(), AWAY_LINE),
        **{file_of(code): _plain_text(code) for code in PLAIN_TEXT},
    }
    for tag in pages.catalogue.tags:
        language = pages.catalogue.language(tag)
        away = {**away_headers(), **language_headers(language)}
        found |= {
            html_file(NOT_ANSWERING, tag): _html("not-answering", pages, language),
            html_file(SATELLITE_NOT_ANSWERING, tag): _html(
                "not-answering", pages, language, satellite=True
            ),
            html_file(FOREIGN_PAGE, tag): _html("foreign-page", pages, language),
            html_file(SERVICE_AWAY, tag): _whole(
                AWAY_STATUS, away, pages.away_page(language), html=True
            ),
        }
    return found


def html_file(answer: str, tag: str) -> str:
    """Return the name of the file with an answer for browsers in this language."""
    return f"{answer}-html-{tag}.http"


def text_file(answer: str) -> str:
    """Return the name of the file with an answer for programs."""
    return f"{answer}-text.http"


def file_of(code: HTTPStatus) -> str:
    """Return the name of the file with the answer of this status."""
    return f"{code}.http"


def _html(state: str, pages: Pages, language: Language, *, satellite: bool = False) -> bytes:
    """Build the page of a state."""
    from rps_proxy.pages.render import HEADERS, PAGES, language_headers
    from rps_proxy.pages.state import PageState

    standing = PageState(state, satellite=satellite)
    fields = {**HEADERS, **language_headers(language), **_retry(state)}
    return _whole(PAGES[state].status, fields, pages.html(standing, language).encode(), html=True)


def _text(state: str) -> bytes:
    """Build a state's line of text."""
    from rps_proxy.pages.render import HEADERS, PAGES

    fields = {**HEADERS, **_retry(state)}
    return _whole(PAGES[state].status, fields, f"{PAGES[state].line}\n".encode())


def _retry(state: str) -> dict[str, str]:
    from rps_proxy.pages.render import PAGES

    return {"Retry-After": "5"} if PAGES[state].status >= 500 else {}


def _plain_text(code: HTTPStatus) -> bytes:
    from rps_proxy.http.answers import OURS

    # The bytes after a malformed request cannot be trusted to begin another.
    return _whole(code, {**OURS, "Connection": "close"}, f"{code.phrase}\n".encode())


def _whole(code: int, headers: Mapping[str, str], body: bytes, *, html: bool = False) -> bytes:
    status = HTTPStatus(code)
    fields = {
        **headers,
        "Content-Type": f"text/{'html' if html else 'plain'}; charset=utf-8",
        "Content-Length": str(len(body)),
    }
    head = [f"HTTP/1.1 {status} {status.phrase}", *(f"{k}: {v}" for k, v in fields.items())]
    return "\r\n".join([*head, "", ""]).encode() + body
