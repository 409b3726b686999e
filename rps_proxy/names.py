"""Three-word names for sessions, such as `amber-walnut-drift`.

The words come from the Electronic Frontier Foundation's long list (7,776 words chosen to be easy to
read, hear and type), which the xkcdpass package carries. A name is public; it is no secret.
"""

from __future__ import annotations

import re
import secrets
from functools import cache
from importlib.resources import files

WORDS_IN_A_NAME = 3

_NAME = re.compile(r"[a-z]+(?:-[a-z]+){2}")


@cache
def words() -> tuple[str, ...]:
    """The list, without the four words that hold a hyphen: those would blur where a word ends."""
    text = (files("xkcdpass") / "static" / "eff-long").read_text(encoding="utf-8")
    return tuple(word for word in text.split() if re.fullmatch(r"[a-z]+", word))


def new_name() -> str:
    """A name chosen at random; whether it is free, the registry says."""
    return "-".join(secrets.choice(words()) for _ in range(WORDS_IN_A_NAME))


def is_name(text: str) -> bool:
    """Whether `text` has the form of a name. It says nothing about whether one was ever issued."""
    return _NAME.fullmatch(text) is not None
