"""Files that hold secrets: in a directory of ours that nobody else can enter, opened as they are.

Directories and files are opened without following links, and judged by what was opened: a check of
the path alone could be overtaken. Standard library only: `rps start` imports this.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from rps_core.errors import ServiceError

SHORTEST_KEY = 32  # characters


def own_directory(path: Path) -> Path:
    """Make `path`, and what is missing above it (mode 0700), and return it once it is seen to be ours
    alone.

    Raises:
        ServiceError: it is a link, belongs to somebody else, or others may enter it.
    """
    try:
        _make(path)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        where = "" if error.filename in (None, str(path)) else f"{error.filename}: "
        raise ServiceError(
            f"The service's directory {path} cannot be used: {where}{error.strerror}",
            "Run this as the account that the directory is of, or choose another directory."
            if isinstance(error, PermissionError)
            else "It must be a directory of yours (no link). Move away what is there, or choose another.",
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
            f"The service keeps keys there. Close it: chmod 700 {path}",
        )
    return path


def _another_accounts(path: Path, owner: int) -> ServiceError:
    return ServiceError(
        f"The directory {path} belongs to user {owner}, not to you.",
        "The service keeps keys there. Run this as the account that the directory is of, "
        "or choose another directory.",
    )


def _make(path: Path) -> None:
    """As mkdir(parents=True), which would make the parents with whatever mode the umask leaves."""
    if not path.parent.is_dir():
        _make(path.parent)
    if os.geteuid() == 0 and not path.exists():
        owner = path.parent.stat().st_uid
        if owner != 0:  # whose service could not use what root makes there
            raise _another_accounts(path.parent, owner)
    path.mkdir(mode=0o700, exist_ok=True)


def read_private(path: Path) -> bytes | None:
    """The content of a file of ours; None where there is none.

    Raises:
        ServiceError: it is a link or no plain file, or belongs to somebody else, or others may read it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ServiceError(
            f"{path} cannot be read: {error.strerror}", "It must be a plain file of yours, no link."
        ) from error
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if (
            not stat.S_ISREG(status.st_mode)
            or status.st_uid != os.geteuid()
            or stat.S_IMODE(status.st_mode) & 0o077
        ):
            raise ServiceError(
                f"{path} is not a plain file that you alone can read.",
                f"Make it so: chown, chmod 600 {path}.",
            )
        return file.read()


def read_key(path: Path, use: str) -> bytes:
    """The key in that file.

    Raises:
        ServiceError: there is none, or others can read it.
    """
    key = (read_private(path) or b"").strip()
    if len(key) < SHORTEST_KEY or not (key.isascii() and key.decode("ascii").isprintable()):
        raise ServiceError(
            f"{path} holds no key for {use}: {SHORTEST_KEY} characters of ASCII or more, in one line.",
            f"Make one: (umask 077; openssl rand -hex 32 > {path})",
        )
    return key


def write_private(path: Path, content: bytes) -> None:
    """Write a file (mode 0600) at once and durably: nobody ever sees half of it."""
    temporary = _write_beside(path, content)
    temporary.replace(path)
    _sync_directory(path.parent)


def create_private(path: Path, content: bytes) -> bool:
    """As `write_private`, but only where no such file is: False if somebody was first."""
    temporary = _write_beside(path, content)
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    _sync_directory(path.parent)
    return True


def write_for_group(path: Path, content: bytes) -> None:
    """Have a file that the directory's group may read (0640) hold this, durably; nobody ever sees half of it.

    One that is so already is left alone.
    """
    temporary = path.with_name(f".{path.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    group = path.parent.stat().st_gid
    if _is_for_group(path, group, content):
        return
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        os.fchown(file.fileno(), -1, group)
        os.fchmod(file.fileno(), 0o640)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync_directory(path.parent)


def _is_for_group(path: Path, group: int, content: bytes) -> bool:
    """Whether `write_for_group` has nothing to do. What cannot be read is to be replaced."""
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


def _sync_directory(path: Path) -> None:
    """Until then, a power failure may bring back what a file's name led to before."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_beside(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # a full disk must not fill up with what did not fit
        temporary.unlink()
        raise
    return temporary
