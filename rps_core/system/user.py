"""Find the user's account."""

from __future__ import annotations

import os
import pwd


def login_name() -> str:
    """Return the account's name by its uid, or the uid without account (a container).

    Not by $USER or the terminal, which may be missing or name another account.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
