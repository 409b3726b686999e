"""Origins of pages, other than the session's own (`notebook.origins`)."""

from __future__ import annotations

import re

MOST_ORIGINS = 4
# As browsers write them (RFC 6454, 6.2): lower-case, without a path, and without the scheme's default port.
# Plain HTTP from the user's own machine alone: elsewhere, who is on the way can be that page.
_ORIGIN = re.compile(
    r"(?:https://[a-z0-9](?:[a-z0-9.-]{0,200}[a-z0-9])?|http://(?:localhost|127\.0\.0\.1))"
    r"(?::(?!80$|443$)[1-9][0-9]{1,4})?"
)
RULE = (
    f"at most {MOST_ORIGINS} origins as browsers write them, such as https://dashboard.example.org"
)


def are_origins(values: object) -> bool:
    """Return whether this is a list of origins that may be named."""
    return (
        isinstance(values, list | tuple)
        and len(values) <= MOST_ORIGINS
        and all(isinstance(value, str) and _ORIGIN.fullmatch(value) for value in values)
    )
