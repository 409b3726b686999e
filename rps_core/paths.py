"""Where rps keeps things: the XDG directories of the user, `/etc/rps` of the administrator."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from rps_core.errors import UsageError


def config_file() -> Path:
    """The user's configuration."""
    return _xdg("XDG_CONFIG_HOME", ".config") / "rps" / "config.yaml"


def system_config_file() -> Path:
    """The administrator's configuration; `RPS_SYSTEM_CONFIG` names another (a site's module does)."""
    return Path(os.environ.get("RPS_SYSTEM_CONFIG") or "/etc/rps/config.yaml")


def sessions_dir() -> Path:
    """One directory for each session, on the home file system that compute nodes see too."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "rps" / "sessions"


def page_to_open(session: str) -> Path:
    """What `rps open` has the browser read for a moment. In plain sight, for a browser that is a snap may
    read nothing below the hidden directories of a home, nor in /tmp."""
    return home() / f"rps-{session}.html"


def cache_dir() -> Path:
    """What may be lost at any time."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "rps"


def _xdg(variable: str, below_home: str) -> Path:
    # The XDG specification has relative values ignored.
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else home() / below_home


def home() -> Path:
    """The user's home directory: $HOME where it is a path from the root, else the account's.

    Raises:
        UsageError: there is neither.
    """
    value = os.environ.get("HOME", "")
    if value.startswith("/"):
        return Path(value)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        raise UsageError(
            "There is no home directory: HOME is not set, and this user has no account",
            "Set HOME to a directory of your own.",
        ) from None
