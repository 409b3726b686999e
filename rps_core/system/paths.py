"""Find rps's files: in the user's XDG directories, and in /etc/rps."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from pathlib import Path

from rps_core.errors import UsageError
from rps_core.node.agent.protocol import is_session_name


def config_file() -> Path:
    """Return the user's configuration file."""
    return _xdg("XDG_CONFIG_HOME", ".config") / "rps" / "config.yaml"


def system_config_file() -> Path:
    """Return the administrator's configuration file.

    `RPS_SYSTEM_CONFIG` overrides it, as an environment module of the site may set.

    Raises:
        UsageError: the variable is a relative path, which depends on the working directory.
    """
    named = os.environ.get("RPS_SYSTEM_CONFIG")
    if named and not named.startswith("/"):
        raise UsageError(
            f"RPS_SYSTEM_CONFIG is not an absolute path: {named}", "Correct or unset the variable."
        )
    return Path(named or "/etc/rps/config.yaml")


def site_directories() -> tuple[Path, Path]:
    """Return the directories of site files: the user's, and the administrator's.

    Raises:
        UsageError: see `system_config_file`.
    """
    return config_file().parent / "sites", system_config_file().parent / "sites"


def site_files() -> list[Path]:
    """Return the paths of the site files, the user's first, by name.

    Raises:
        UsageError: see `site_directories`.
    """
    found: list[Path] = []
    for directory in site_directories():
        try:
            names = os.listdir(directory)  # noqa: PTH208 - at each start
        except OSError:
            continue  # it is not there, or not for this user
        found += [directory / name for name in sorted(names) if name.endswith((".yaml", ".yml"))]
    return found


def sessions_dir() -> Path:
    """Return the directory of all sessions, on the home that compute nodes share."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "rps" / "sessions"


def data_dir() -> Path:
    """Return the directory of the personal service's CA."""
    return _xdg("XDG_DATA_HOME", ".local/share") / "rps"


def page_to_open(session: str) -> Path:
    """Return the file through which `rps open` passes the URL to the browser.

    It is not hidden: a browser from a snap can read neither hidden directories of the home nor /tmp
    (snapd's `home` interface).

    Raises:
        ValueError: no session has this name.
    """
    if not is_session_name(session):
        raise ValueError(f"{session!r} is not a valid session name")
    return home() / f"rps-{session}.html"


def cache_dir() -> Path:
    """Return the directory of the cache, whose files may be lost at any time."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "rps"


def _xdg(variable: str, below_home: str) -> Path:
    # The XDG specification has relative values ignored.
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else home() / below_home


def check(path: Path, way_out: str) -> None:
    """Check that no other user can replace a file, or a directory or link on its path.

    Args:
        path: need not exist.
        way_out: what to do if the permissions cannot be changed, as a sentence.

    Raises:
        UsageError: another user can (the rules: `rps_core.node.agent.trusted_path`).
    """
    from rps_core.node.agent.trusted_path import UntrustedPath, check_path

    try:
        check_path(str(path))
    except UntrustedPath as error:
        within = "" if str(error).startswith(f"{path} ") else f", and {path} is reached through it"
        raise UsageError(f"{error}{within}", f"{error.remedy}. {way_out}") from None
    except OSError as error:
        raise UsageError(f"{error.filename or path}: {error.strerror}", way_out) from None


def check_private(directory: Path, way_out: str) -> None:
    """Check that a directory is the user's alone; remove the permissions of others.

    Args:
        directory: need not exist.
        way_out: as for `check`.

    Raises:
        UsageError: it is a link or another user's, or another user can replace it.
    """
    check(directory, way_out)
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(
            f"{directory} cannot be used for sessions: {error.strerror}",
            "It must be your own directory, not a symbolic link.",
        ) from None
    try:
        seen = os.fstat(descriptor)
        if seen.st_uid != os.geteuid():
            raise UsageError(
                f"{directory} belongs to another user",
                "Set HOME or XDG_STATE_HOME to your own directory.",
            )
        if stat.S_IMODE(seen.st_mode) != 0o700:  # else a read-only file system would refuse it
            os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def check_closed(directory: Path, way_out: str) -> None:
    """Check that other users cannot write to a directory in a private one.

    Args:
        directory: need not exist; the way to it has been checked.
        way_out: as for `check`.

    Raises:
        UsageError: they can.
    """
    try:
        seen = directory.lstat()
    except OSError:
        return  # reading its files reports the error
    ours = stat.S_ISDIR(seen.st_mode) and seen.st_uid == os.geteuid()
    if not ours or seen.st_mode & 0o022:
        check(directory, way_out)


def make_directory(directory: Path, mode: int = 0o700) -> None:
    """Make a directory and its missing parents, with this mode at most.

    Raises:
        OSError: it cannot be made.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # two commands at once
            path.mkdir(mode=mode)


def home() -> Path:
    """Return the user's home directory: $HOME if that is absolute, else the account's.

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
            "No home directory: HOME is not set, and this user has no account",
            "Set HOME to your own directory.",
        ) from None
