"""What the launcher is told: the lines of events.jsonl, of which the last is the session's end."""

import json
import os
import time
from typing import Any

from rps_core.node.agent.words import log, plain


class End(Exception):
    """The session ends. `cause` is one of the words of events.jsonl, `reason` is for people."""

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.cause = cause
        self.reason = reason


class Events:
    """The session's events.jsonl."""

    def __init__(self, session: str) -> None:
        self._path = os.path.join(session, "events.jsonl")

    def add(self, name: str, **fields: Any) -> None:
        """Add a line. Where it cannot be written the session goes on without."""
        line = json.dumps(dict({"time": time.time(), "event": name}, **fields)) + "\n"
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(self._path, flags, 0o600)
            try:
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = "\n" + line  # of the one before a full disk, or a crash, took the end
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            log("events.jsonl could not be written: %s" % plain(error))
