"""Read the session's files only if no other user can have written them."""

import os
import re
import stat
from typing import Callable, List, Optional

from rps_core.node.agent.trusted_path import UntrustedPath, check_path

# The interpreter, and the one that pip writes below a shell's.
_HEAD = r"#![ \t]*(/\S+)[^\n]*(?:\n'''exec' (?:\"(/[^\"\n]+)\"|(/\S+)) )?"


class UnsafeFile(Exception):
    """Another user could have made, changed or read a file of the session."""


def read_file(path: str, secret: bool = False) -> bytes:
    """Read a file that is the user's own and no link.

    Raises:
        UnsafeFile: it is not, or another user may write to it or, if it is a secret, read it.
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
    """Check that a directory is ours, and that no one else can replace it.

    Raises UnsafeFile, OSError.
    """
    try:
        check_path(path)
    except UntrustedPath as error:
        raise UnsafeFile("%s. %s" % (error, error.remedy)) from None
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
    """Write a file that only its owner can read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)


def is_missing(path: str) -> bool:
    """Return whether nothing is there; False if unknown (an unreachable file system)."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def missing_interpreter(path: str) -> Optional[str]:
    """Return the interpreter that a script names and this host lacks; else None.

    The system reports the script itself as missing (execve(2), ENOENT). Where the path is long or has spaces,
    pip writes `#!/bin/sh`, and the path on the next line.
    """
    return next((one for one in interpreters(path) if not os.path.exists(one)), None)


def interpreters(path: str) -> List[str]:
    """Return the interpreters that a script names; empty for another program.

    The last one runs the script.
    """
    try:
        with open(path, "rb") as file:
            head = os.fsdecode(file.read(4096))
    except OSError:
        return []
    found = re.match(_HEAD, head)
    return [one for one in found.groups() if one] if found else []


def native(text: str) -> str:
    """Convert a file's text to a path as this Python passes it to the system.

    Without LANG, Python 3.6 takes file names for ASCII. Names that are not UTF-8 are kept as they are.
    """
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))
