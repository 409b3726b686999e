"""Files of the session's directory, which are read where nobody else can have made or changed them."""

import os
import stat
from typing import Callable


class UnsafeFile(Exception):
    """A file of the session's directory that somebody else could have made, changed or read."""


def read_file(path: str, secret: bool = False) -> bytes:
    """A file's content, if the file is ours, no link, written by nobody else and, where it is a secret,
    read by nobody else.

    Raises:
        UnsafeFile: it is not so.
        OSError: it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if os.path.islink(path):
            raise UnsafeFile("%s is a symbolic link" % path) from None
        raise error
    with os.fdopen(descriptor, "rb") as file:
        _check_ours(path, os.fstat(descriptor), stat.S_ISREG, 0o077 if secret else 0o022)
        return file.read()


def check_directory(path: str) -> None:
    """See that a directory is ours and nobody else can write to it (UnsafeFile, OSError)."""
    _check_ours(path, os.lstat(path), stat.S_ISDIR, 0o022)


def _check_ours(path: str, seen: os.stat_result, kind: Callable[[int], bool], mask: int) -> None:
    if not kind(seen.st_mode):
        raise UnsafeFile("%s is not what it should be" % path)
    if seen.st_uid != os.geteuid():
        raise UnsafeFile("%s belongs to user %d" % (path, seen.st_uid))
    if seen.st_mode & mask:
        verb = "read or changed" if mask & 0o044 else "changed"
        raise UnsafeFile(
            "%s can be %s by others (mode %o)" % (path, verb, stat.S_IMODE(seen.st_mode))
        )


def write_secret(path: str, content: bytes) -> None:
    """Make a file that only we can read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)


def is_missing(path: str) -> bool:
    """Nothing is there; false where that cannot be said (a file system that is away)."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def native(text: str) -> str:
    """Text of a file as this Python passes it to the system: without LANG, Python 3.6 thinks that file
    names are ASCII. Names that are no UTF-8 come as they are, and leave so."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))
