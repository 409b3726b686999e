"""The directory of the kernels' sockets, on the node: made for a session, and found again by its note."""

import os
import re
import shutil
import stat

from rps_core.node.agent.files import UnsafeFile, check_directory, read_file, write_secret

SOCKET_BASES = ("/tmp", "/var/tmp")  # noqa: S108 - sticky, and the directory's name is a random one
SOCKETS_NOTE = "sockets"  # file in run/: the path of the directory with the kernels' sockets
_SOCKETS_DIRECTORY = re.compile("(%s)/rps-[0-9a-f]{16}" % "|".join(SOCKET_BASES)).fullmatch


def make_sockets_directory(run_directory: str) -> str:
    """A directory of our own for the kernels' sockets; `remove_sockets_directory` finds it by its note.

    The session's directory is no place for them: on NFS, and its path too long (a socket's may have 107
    bytes). Nor is XDG_RUNTIME_DIR: it goes away when the user logs out, and the job stays.
    """
    for base in SOCKET_BASES:
        mode = os.stat(base).st_mode if os.path.isdir(base) else 0
        # Where others may write, only the sticky bit keeps them from putting another in its place.
        safe = mode & stat.S_ISVTX or not mode & 0o022
        if not (safe and os.access(base, os.W_OK | os.X_OK)):
            continue
        path = os.path.join(base, "rps-" + os.urandom(8).hex())
        # First the note: whatever kills us in between, nothing is left that nobody knows of.
        write_secret(os.path.join(run_directory, SOCKETS_NOTE), path.encode())
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)
        return path
    raise OSError("Neither %s is a place for the kernels' sockets" % " nor ".join(SOCKET_BASES))


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
