"""Choose a page's language by the field Accept-Language (RFC 9110, 12.5.4).

For the service's pages, and for the login page, which Jupyter's process serves.
"""

import re
from typing import Collection, List, Optional

ENGLISH = "en"
LONGEST = 1000  # characters of the field that are read; browsers send fewer than 200
# A language tag as files are named by: `pt`, `pt-br`, `zh-hant`.
TAG = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,8}){0,3}")
_RANGE = re.compile(r"(\*|[a-z0-9-]{1,40})(?:\s*;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?))?")


def preferred(accepted: str, available: Collection[str]) -> str:
    """Return the language of `available` that a client wants most; else English.

    A range stands for the languages that it begins, and for those that begin it: with `de` alone, `de-AT`
    gets `de`, and with `pt-br` alone, `pt` gets that. `q=0` excludes.
    """
    ranges = []
    for position, item in enumerate(accepted[:LONGEST].lower().split(",")):
        match = _RANGE.fullmatch(item.strip())
        if match is not None:
            ranges.append((-float(match[2] or 1), position, match[1]))
    excluded = {wanted for weight, _, wanted in ranges if weight == 0}
    offered = sorted(tag for tag in available if tag not in excluded)
    for weight, _, wanted in sorted(ranges):
        if weight == 0:
            break
        found = _lookup(wanted, offered)
        if found is not None:
            return found
    return ENGLISH


def _lookup(wanted: str, offered: List[str]) -> Optional[str]:
    """Return the language for one range: the range or what it begins with, else a longer one."""
    if wanted == "*":
        return ENGLISH if ENGLISH in offered else next(iter(offered), None)
    shorter = wanted
    while shorter:
        if shorter in offered:
            return shorter
        shorter = shorter.rpartition("-")[0]
    return next((tag for tag in offered if tag.startswith(f"{wanted}-")), None)
