"""The contact of the support: the site's words in place of "the cluster's support" in errors and advice.

Errors are raised where the site is not known, by plugins too. So all of them say `PHRASE`, and what is
printed goes through `with_contact`. A command works on one cluster: the contact is set once its configuration
is loaded.
"""

from __future__ import annotations

PHRASE = "the cluster's support"

_words = PHRASE


def set_contact(name: str | None, url: str | None, email: str | None) -> None:
    """Set the contact of the support (`support` in the configuration); null for what is not known."""
    global _words
    addresses = ", ".join(filter(None, (url, email)))
    _words = f"{name or PHRASE} ({addresses})" if addresses else name or PHRASE


def with_contact(text: str) -> str:
    """Return a text for users with the contact in place of `PHRASE`."""
    return text.replace(PHRASE, _words)
