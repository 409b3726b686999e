"""What a site puts on the pages: title, logo, message, contact and texts (proxy.yaml)."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rps_core.errors import UsageError
from rps_core.log import get_logger
from rps_proxy.pages.catalogue import Catalogue, Language, site_texts

if TYPE_CHECKING:
    from rps_proxy.settings.model import Settings

LARGEST_LOGO = 256 << 10  # bytes
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!DOCTYPE[^>]*>\s*|<!--.*?-->\s*)*<svg[\s>]",
    re.DOTALL,
)
# A file's first bytes decide its type, as browsers do; RFC 9649 for WebP, W3C for PNG and JPEG (JFIF).
_LOGO_TYPES = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (_SVG, "image/svg+xml"),
)  # fmt: skip

_log = get_logger("rps.pages")


@dataclass(frozen=True, slots=True)
class Logo:
    """An image, as it is served."""

    type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Appearance:
    """A site's additions to each page; `texts` by language and key."""

    domain: str = ""
    title: str = ""
    message: str = ""
    contact_name: str = ""
    contact_url: str = ""
    contact_email: str = ""
    has_logo: bool = False
    texts: dict[str, dict[str, str]] | None = None

    def sent(self) -> dict[str, Any]:
        """Return it for a worker process, which builds it from that again."""
        return asdict(self)

    def catalogue(self) -> Catalogue:
        """Return the catalogue with the site's texts."""
        return Catalogue(self.texts)

    def title_in(self, language: Language) -> str:
        """Return the site's title; empty: none."""
        return language.plain("title") if "title" in language else self.title

    def message_in(self, language: Language) -> str:
        """Return the operator's message; empty: none."""
        return language.plain("message") if "message" in language else self.message

    def support_line(self, language: Language) -> str:
        """Return the line with the contact, in HTML; empty if there is none."""
        name, links = escape(self.contact_name), []
        if self.contact_url:
            url = escape(self.contact_url)
            links.append(f'<a href="{url}">{name or url}</a>')
        elif name:
            links.append(name)
        if self.contact_email:
            email = escape(self.contact_email)
            links.append(f'<a href="mailto:{email}">{email}</a>')
        if not links:
            return ""
        return f"<p>{language.html('labels.support', contact=', '.join(links))}</p>\n"


def appearance(settings: Settings) -> tuple[Appearance, Logo | None, list[str]]:
    """Return what the settings and their files say, and what of it is not usable.

    No fault keeps the service from starting: pages then lack the logo or the text.
    """
    pages, support = settings.pages, settings.support
    faults: list[str] = []
    logo, texts = None, None
    if pages.logo is not None:
        try:
            logo = read_logo(Path(pages.logo).expanduser())
        except UsageError as error:
            faults.append(error.message)
    if pages.texts is not None:
        try:
            texts, found = site_texts(Path(pages.texts).expanduser())
            faults += found
        except UsageError as error:
            faults.append(error.message)
    given = Appearance(
        domain=settings.domain,
        title=pages.title or "",
        message=pages.message or "",
        contact_name=support.name or "",
        contact_url=support.url or "",
        contact_email=support.email or "",
        has_logo=logo is not None,
        texts=texts,
    )
    return given, logo, faults


def logged_appearance(settings: Settings) -> tuple[Appearance, Logo | None]:
    """Return the appearance and the logo; log what is not usable."""
    found, logo, faults = appearance(settings)
    for fault in faults:
        _log.warning("page-not-as-configured", reason=fault)
    return found, logo


def read_logo(path: Path) -> Logo:
    """Read and check `pages.logo`.

    Raises:
        UsageError: no PNG, JPEG, WebP or SVG image, too large, or not readable.
    """
    advice = f"It must be a PNG, JPEG, WebP or SVG image of at most {LARGEST_LOGO >> 10} KiB."
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_LOGO + 1)
    except OSError as error:
        raise UsageError(
            f"`pages.logo`: could not read {path}: {error.strerror}", advice
        ) from error
    if len(content) > LARGEST_LOGO:
        raise UsageError(f"`pages.logo`: {path} is too large", advice)
    for signature, kind in _LOGO_TYPES:
        if signature.match(content):
            return Logo(kind, content)
    raise UsageError(f"`pages.logo`: {path} is no image of a known type", advice)
