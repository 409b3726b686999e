"""Who runs rps."""

from __future__ import annotations

import os
import pwd


def login_name() -> str:
    """The name of the account, by its uid: there need not be a terminal, nor $USER, and that may lie.
    In a container that knows no such account, the uid."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
