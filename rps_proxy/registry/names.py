"""Three-word names for sessions, such as `amber-walnut-drift`.

The words are those of the Electronic Frontier Foundation's long list without a hyphen: 7,772, chosen to be
easy to read, hear and type. A name is public; it is no secret.
"""

from __future__ import annotations

import secrets
from functools import cache
from importlib.resources import files

from rps_core.node.agent import protocol

WORDS_IN_A_NAME = 3


@cache
def words() -> tuple[str, ...]:
    """Return the list, without its comments."""
    text = (files("rps_proxy.registry") / "eff_long_wordlist.txt").read_text(encoding="ascii")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


def new_name() -> str:
    """Choose a name at random, which may be in use: the registry decides."""
    return "-".join(secrets.choice(words()) for _ in range(WORDS_IN_A_NAME))


def is_name(text: str) -> bool:
    """Return whether `text` has the form of a name, issued or not."""
    return protocol.is_name(text)
