"""The words of a page's state in one language, for pages without JavaScript and for scripts."""

from __future__ import annotations

import time

from rps_proxy.pages.catalogue import Language
from rps_proxy.pages.state import PageState


def heading(standing: PageState, language: Language) -> str:
    """Return a page's heading."""
    return language.plain(f"headings.{standing.state}")


def tab(standing: PageState, language: Language) -> str:
    """Return a page's title: its heading with the session's name and cluster."""
    parts = (heading(standing, language), standing.name, standing.cluster)
    return " · ".join(part for part in parts if part)


def text(standing: PageState, language: Language, **values: str) -> str:
    """Return a page's text, with the cause; `values` are those of pages that are no session's."""
    state = standing.state
    why = standing.notice
    if not why and standing.cause is not None:
        why = language.plain(f"causes.{standing.cause}")
    if why and f"texts.{state}-why" in language:
        why = why.strip().rstrip(".")
        if state not in ("queued", "starting"):  # there it stands within a sentence
            why = why[:1].upper() + why[1:]
        return language.plain(f"texts.{state}-why", why=why)
    if state == "starting" and standing.unreached:
        # The owner sees the address (`rps status`, the job's log); a page shows no node.
        return language.plain("texts.starting-unreached")
    if standing.satellite and f"texts.{state}-satellite" in language:
        return language.plain(f"texts.{state}-satellite")
    return language.plain(f"texts.{state}", **values)


def expected(moment: float, language: Language, now: float | None = None) -> str:
    """Format a time to come, relative to now: `in about 25 minutes`."""
    left = moment - (time.time() if now is None else now)
    if left < 0:
        return language.plain("times.overdue", span=_span(-left, language))
    about = "times.in-about" if left >= 60 else "times.in"
    return language.plain(about, span=_span(left, language))


def age(moment: float, language: Language, now: float | None = None) -> str:
    """Format a past time, relative to now: `2 minutes ago`."""
    seconds = (time.time() if now is None else now) - moment
    return language.plain("times.ago", span=_span(seconds, language))


def _span(seconds: float, language: Language) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        # From two on: below two hours, minutes are more precise.
        if seconds >= 2 * length or (unit == "minutes" and seconds >= length):
            number = round(seconds / length)
            if number == 1:
                return language.plain("times.minute")
            return language.plain(f"times.{unit}", number=str(number))
    return language.plain("times.moment")
