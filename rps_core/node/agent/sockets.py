"""Make the directory of the kernels' sockets on the node, and find it by its note."""

import fcntl
import os
import re
import shutil

from rps_core.node.agent.files import UnsafeFile, check_directory, read_file, write_secret
from rps_core.node.agent.trusted_path import UntrustedPath, check_path

SOCKET_BASES = ("/tmp", "/var/tmp")  # noqa: S108 - sticky, and the directory's name is a random one
SOCKETS_NOTE = "sockets"  # file in run/: the path of the directory with the kernels' sockets
LOCK = "lock"  # file in the directory, locked while its agent lives
SOCKETS_NAME = "rps-[0-9a-f]{8}(?:[0-9a-f]{8})?"  # 16 digits: an older agent's
_SOCKETS_DIRECTORY = re.compile("(%s)/%s" % ("|".join(SOCKET_BASES), SOCKETS_NAME)).fullmatch


def make_sockets_directory(run_directory: str) -> str:
    """Make a private directory for the kernels' sockets, and its note.

    The session's directory is no place for them: on NFS, and its path too long. A socket's may have 107
    bytes; 25 for xeus, which reads back what it bound, `ipc://` and the path, into 32 (xeus-zmq,
    src/common/xmiddleware.cpp). Nor is XDG_RUNTIME_DIR: it goes away when the user logs out, and the job
    stays.
    """
    for base in SOCKET_BASES:
        try:
            check_path(base)
        except (UntrustedPath, OSError):  # others could put another directory in the place of ours
            continue
        if not os.access(base, os.W_OK | os.X_OK):
            continue
        path = os.path.join(base, "rps-" + os.urandom(4).hex())
        # The note first: if the agent is killed in between, the directory is still found.
        write_secret(os.path.join(run_directory, SOCKETS_NOTE), path.encode())
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)
        _lock(path)
        return path
    raise OSError("Neither %s is a place for the kernels' sockets" % " nor ".join(SOCKET_BASES))


def _lock(path: str) -> None:
    """Hold a lock in a directory until this process ends, however it ends.

    The lock's file gets its name with the lock held, so that no other process finds it without.
    """
    new = os.path.join(path, LOCK + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(new, os.path.join(path, LOCK))
    except OSError:  # a file system without locks: the directory never counts as abandoned
        os.close(descriptor)


def is_abandoned(path: str) -> bool:
    """Return whether the agent that made a directory of sockets was killed.

    False for another user's.
    """
    try:
        check_directory(path)
        descriptor = os.open(os.path.join(path, LOCK), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, UnsafeFile):  # not ours, or of an older agent, which may live
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def remove_abandoned() -> None:
    """Remove the sockets of this user's agents on this node that were killed at once."""
    for base in SOCKET_BASES:
        try:
            names = os.listdir(base)
        except OSError:
            continue
        for path in (os.path.join(base, name) for name in names if name.startswith("rps-")):
            if _SOCKETS_DIRECTORY(path) and is_abandoned(path):
                shutil.rmtree(path, ignore_errors=True)


def remove_sockets_directory(run_directory: str) -> None:
    """Remove the kernels' sockets of a session, if they are on this machine and ours.

    `run_directory` is the session's `run`; where it is no longer there, nothing happens.
    """
    try:
        path = read_file(os.path.join(run_directory, SOCKETS_NOTE), secret=True).decode()
        if _SOCKETS_DIRECTORY(path):
            check_directory(path)
            shutil.rmtree(path, ignore_errors=True)
    except (OSError, ValueError, UnsafeFile):  # removed already, on another node, or not our doing
        pass
