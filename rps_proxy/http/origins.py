"""Refuse requests of other origins' pages that may change something.

To a browser all sessions of a service are one site: it sends a session's cookies with requests of another
session's page, and `SameSite` does not prevent that. A page cannot forge `Origin`, `Sec-Fetch-Site` (Fetch
Standard; Fetch Metadata) and, without the other side's consent (CORS), `Authorization`.

HAProxy has the same rule in its configuration; Apache passes doubtful requests to the service.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from aiohttp import web

READS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITE = frozenset({"same-origin", "none"})  # none: the address bar, a bookmark
# Schemes that no browser fills in by itself, as it does Basic and Negotiate.
_TOKEN = re.compile(r"(?:token|bearer)\s+\S", re.IGNORECASE)


def is_refused(request: web.BaseRequest, own: Collection[str]) -> bool:
    """Decide whether a request for a notebook comes from a page that may not make it.

    Args:
        own: the permitted origins, lower-cased: the session's, and those that its user configured.
    """
    headers = request.headers
    if request.method in READS and "Upgrade" not in headers:
        return False
    if any(_TOKEN.match(value) for value in headers.getall("Authorization", ())):
        return False
    origins = [origin.lower() for origin in headers.getall("Origin", ())]
    sites = headers.getall("Sec-Fetch-Site", ())
    if not origins:
        return not _OWN_SITE.issuperset(sites)
    # A form of a page without referrers sends `null`, with `Sec-Fetch-Site: same-origin`.
    allowed = {*own, "null"} if "same-origin" in sites else own
    return len(origins) > 1 or origins[0] not in allowed
