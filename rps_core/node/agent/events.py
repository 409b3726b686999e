"""Write events.jsonl, which the launcher reads; its last line is the end."""

import json
import os
import time
from typing import Any

from rps_core.node.agent.words import log, plain

# Bytes; from there on, only the end is noted (a service that comes and goes for days).
MOST = 1 << 20


class EndCause:
    """Causes of an end, in events.jsonl and in calls to the service.

    The words of `rps_core.protocol.EndCause`: Python 3.6 has no StrEnum, and the agent has no other package.
    """

    APPLICATION_EXIT = "application-exit"
    IDLE = "idle"
    REFUSED = "refused"
    REMOVED = "removed"
    REVOKED = "revoked"
    SIGNAL = "signal"
    START_FAILED = "start-failed"
    TIMEOUT = "timeout"
    TIME_LIMIT = "time-limit"
    UNREACHABLE = "unreachable"


class End(Exception):
    """The session ends. `cause` is one of `EndCause`, `reason` is for people.

    `log` has the last lines of the program that failed, if it is not Jupyter.
    """

    def __init__(self, cause: str, reason: str, log: str = "") -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason
        self.log = log


class Events:
    """The session's events.jsonl."""

    def __init__(self, session: str) -> None:
        self._path = os.path.join(session, "events.jsonl")

    def add(self, name: str, **fields: Any) -> None:
        """Add a line; if it cannot be written, the session continues without."""
        line = json.dumps(dict({"time": time.time(), "event": name}, **fields)) + "\n"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if size > MOST and name != "ended":
                    return
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = "\n" + line  # of the one before a full disk, or a crash, took the end
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            log("could not write events.jsonl: %s" % plain(error))
