"""The rules for `support`: a name, a page and an e-mail address, in both programs' configurations."""

from __future__ import annotations

import re

_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[!-~]*)?")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+")


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 100 and text.isprintable()


def _is_url(text: str) -> bool:
    return len(text) <= 2000 and _URL.fullmatch(text) is not None


def _is_email(text: str) -> bool:
    return len(text) <= 254 and _EMAIL.fullmatch(text) is not None


# The key, what its value must be, and whether it is.
RULES = (
    ("name", "one printable line of at most 100 characters", _is_name),
    ("url", "the address of a page, such as https://support.example.org", _is_url),
    ("email", "an e-mail address", _is_email),
)
