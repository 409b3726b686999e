"""Files that hold secrets: in a directory that only this account can enter.

Directories and files are opened without following links, and judged by what was opened: a check of
the path alone could be overtaken. Standard library only: `rps start` imports this.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from rps_core.errors import ServiceError
from rps_core.node.agent.trusted_path import UntrustedPath, check_path
from rps_core.system.files import beside, remove_unfinished, replace_file, sync_directory, write_new

SHORTEST_KEY = 32  # characters


def own_directory(path: Path) -> Path:
    """Create a directory and its parents (mode 0700); check that only we can enter.

    Raises:
        ServiceError: it is a link, belongs to another user, or others may enter it; or another user can
            replace it, or a directory above it.
    """
    check_way(path)
    try:
        _make(path)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        where = "" if error.filename in (None, str(path)) else f"{error.filename}: "
        raise ServiceError(
            f"The service's directory {path} cannot be used: {where}{error.strerror}",
            "Run this as the account that owns the directory, or choose another directory."
            if isinstance(error, PermissionError)
            else "It must be a directory that you own, not a link. Remove what is there, or choose another.",
        ) from error
    try:
        status = os.fstat(handle)
    finally:
        os.close(handle)
    if status.st_uid != os.geteuid():
        raise _another_accounts(path, status.st_uid)
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise ServiceError(
            f"Other users can enter {path} (mode {stat.S_IMODE(status.st_mode):o}).",
            f"It holds the service's keys. Run `chmod 700 {path}`.",
        )
    return path


def check_way(path: Path) -> None:
    """Check that no other user can replace `path` or a component of its path.

    Raises:
        ServiceError: one can, or a part of the way cannot be looked at.
    """
    try:
        check_path(str(path))
    except UntrustedPath as error:
        raise ServiceError(
            f"The service's directory {path} is not safe: {error}.",
            f"{error.remedy}. Otherwise run this as the account that owns the directory, or choose "
            "another: it holds the service's keys.",
        ) from error
    except OSError as error:
        raise ServiceError(
            f"The service's directory {path} cannot be used: {error.filename}: {error.strerror}",
            "Run this as the account that owns the directory, or choose another directory.",
        ) from error


def _another_accounts(path: Path, owner: int) -> ServiceError:
    return ServiceError(
        f"The directory {path} belongs to user {owner}, not to you.",
        "It holds the service's keys. Run this as the account that owns it, or choose another directory.",
    )


def _make(path: Path) -> None:
    """Create a directory as mkdir(parents=True) does, its parents with mode 0700 too."""
    if not path.parent.is_dir():
        _make(path.parent)
    if os.geteuid() == 0 and not path.exists():
        owner = path.parent.stat().st_uid
        if owner != 0:  # whose service could not use what root makes there
            raise _another_accounts(path.parent, owner)
    path.mkdir(mode=0o700, exist_ok=True)


def read_private(path: Path) -> bytes | None:
    """Return the content of a private file; None if there is no file.

    Raises:
        ServiceError: it is not a regular file, belongs to another user, or others may read it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ServiceError(
            f"{path} cannot be read: {error.strerror}",
            "It must be a regular file that you own, not a link.",
        ) from error
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != os.geteuid()
            or stat.S_IMODE(status.st_mode) & 0o077
        ):
            raise ServiceError(
                f"{path} is not a regular file that only you can read.",
                f"Run `chown {os.geteuid()} {path} && chmod 600 {path}`; replace a link by a file.",
            )
        return file.read()


def read_key(path: Path, use: str) -> bytes:
    """Read the key from a private file.

    Raises:
        ServiceError: there is none, or others can read it.
    """
    key = (read_private(path) or b"").strip()
    if len(key) < SHORTEST_KEY or not (key.isascii() and key.decode("ascii").isprintable()):
        raise ServiceError(
            f"{path} holds no key for {use}: a key is one line of at least {SHORTEST_KEY} ASCII characters.",
            f"Create one as the service's account: `(umask 077; openssl rand -hex 32 > {path})`",
        )
    return key


def write_private(path: Path, content: bytes) -> None:
    """Write a file (mode 0600) atomically and durably."""
    remove_unfinished(path)
    replace_file(path, content)
    sync_directory(path.parent)


def create_private(path: Path, content: bytes) -> bool:
    """Write a file as `write_private` does, if it does not exist; else return False."""
    remove_unfinished(path)
    temporary = beside(path)
    write_new(temporary, content)
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    sync_directory(path.parent)
    return True


def write_for_group(path: Path, content: bytes) -> None:
    """Write a file that the directory's group may read (0640), atomically and durably.

    A file that has this content, group and mode already is not touched.
    """
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)  # left by a service that was killed
    group = path.parent.stat().st_gid
    if _is_for_group(path, group, content):
        return
    write_new(temporary, content, 0o640, group=group)
    temporary.replace(path)
    sync_directory(path.parent)


def _is_for_group(path: Path, group: int, content: bytes) -> bool:
    """Return whether `write_for_group` has nothing to do; False if it cannot be read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        owned = (status.st_uid, status.st_gid, status.st_mode)
        if owned != (os.geteuid(), group, stat.S_IFREG | 0o640) or status.st_size != len(content):
            return False
        try:
            return file.read() == content
        except OSError:
            return False
