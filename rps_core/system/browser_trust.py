"""Remember whether this user's browsers are to trust a CA: `rps start` asks once."""

from __future__ import annotations

import json
from pathlib import Path

from rps_core.system import cache, paths

_CA, _WANTED = "ca", "wanted"


def remembered(ca_file: Path) -> bool | None:
    """Return the answer; None: the question was never answered, or with yes for another CA.

    A CA is another one if its file has another content. A no is for every CA.
    """
    known = cache.read_object(_file())
    wanted = known.get(_WANTED)
    if wanted is True and known.get(_CA) == _text(ca_file):
        return True
    return False if wanted is False else None


def remember(ca_file: Path, *, wanted: bool) -> None:
    """Keep the answer; if it cannot be written, the question is asked again."""
    answer = {_WANTED: wanted, _CA: _text(ca_file)}
    cache.replace(_file(), json.dumps(answer))


def _file() -> Path:
    return paths.sessions_dir().with_name("browser-trust.json")


def _text(ca_file: Path) -> str:
    try:
        return ca_file.read_text("ascii")
    except (OSError, ValueError):
        return ""
