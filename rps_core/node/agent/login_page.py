"""The page of a login link: its HTML, and its texts by Accept-Language.

Run in Jupyter's process, beside `jupyter_login.py`. `login_page.json` has the texts of each language, of
which English has all; they are plain, and what becomes HTML is escaped here.
"""

import base64
import hashlib
import html
import json
import re
import sys
from typing import Any, Dict, Optional

languages: Any = sys.modules["rps_languages"]

STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; }
main { max-width: 34rem; margin: 15vh auto 0; padding: 0 1.5rem; line-height: 1.5; }
h1 { font-size: 1.4rem; }
code { font-size: 1.05em; }
button { font: inherit; padding: .6rem 1.4rem; border: 0; border-radius: .4rem; cursor: pointer;
         background: #1a5fb4; color: #fff; }
button:focus-visible { outline: 3px solid #99c1f1; outline-offset: 2px; }
.quiet { opacity: .75; font-size: .9rem; }
"""
_PAGE = """<!DOCTYPE html>
<html lang="{lang}"><head><meta charset="utf-8"><title>{title} · {name}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">
<style>{style}</style></head>
<body><main><h1>{title}</h1>
{body}
<p class="quiet">{host}</p></main></body></html>
"""
_FORM = """<p>{text}</p>
<form method="post" action="{action}">
<input type="hidden" name="token" value="{link}"><input type="hidden" name="next" value="{leads_on}">{xsrf}
<button autofocus>{button}</button></form>"""
POLICY = (
    "default-src 'none'; style-src 'sha256-%s'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    % (base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode())
)


class Texts:
    """The texts of all languages.

    Args:
        path: `login_page.json`.
    """

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            self._texts: Dict[str, Dict[str, str]] = json.loads(file.read().decode())

    def page(self, accepted: str, host: str) -> "Page":
        """Return the page for a field Accept-Language.

        Args:
            accepted: the field.
            host: the session's host name.
        """
        tag = languages.preferred(accepted, self._texts)
        return Page(tag, {**self._texts[languages.ENGLISH], **self._texts[tag]}, host)


class Page:
    """The page in one language, `tag`, of one session."""

    def __init__(self, tag: str, texts: Dict[str, str], host: str) -> None:
        self.tag = tag
        self._texts = texts
        self._host = host
        self._name = host.partition(".")[0]

    def form(self, until: Optional[str], action: str, link: str, leads_on: str, xsrf: str) -> str:
        """Return the page with the button; `xsrf` is HTML.

        Args:
            until: the end of the share; None: the link works once.
            action: where the form is sent to.
            link: the link's text.
            leads_on: where the browser goes afterwards.
            xsrf: Jupyter's field against forged requests.
        """
        said = self._html("works-once") if until is None else self._html("shared", until=until)
        body = _FORM.format(
            text=said,
            action=html.escape(action),
            link=html.escape(link),
            leads_on=html.escape(leads_on),
            xsrf=xsrf,
            button=self._html("open"),
        )
        return self._page("open", body)

    def refusal(self, link: str) -> str:
        """Return the page of a link that does not work; empty: there is none."""
        if not link:
            return self._page("link-needed", "<p>%s</p>" % self._html("link-printed"))
        over = self._html("share-over" if link.startswith("share-") else "link-over")
        return self._page("over", "<p>%s</p>\n<p>%s</p>" % (over, self._html("late")))

    def _page(self, title: str, body: str) -> str:
        return _PAGE.format(
            lang=self.tag,
            title=self._html(title),
            name=html.escape(self._name),
            body=body,
            style=STYLE,
            host=html.escape(self._host),
        )

    def _html(self, key: str, **values: str) -> str:
        """Return a text in HTML, commands marked."""
        text = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(self._texts[key]))
        for name, value in {"name": self._name, **values}.items():
            text = text.replace("{%s}" % name, html.escape(value))
        return text
