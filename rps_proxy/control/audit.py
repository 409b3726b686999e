"""The audit log: a line of JSON for each change of a session and refused call.

Fields are chosen one by one, never copied from a request: no claim, no query string, no header.

The file is opened for each line, so that logrotate can move it at any time. The service does not rotate it
(`RotatingFileHandler`): how long an audit log is kept is a rule of the site, and a file rotated by size would
let a flood of refusals push out the lines before it.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rps_core.log import get_logger, without_secrets
from rps_proxy.control.counters import Counters

if TYPE_CHECKING:
    from rps_proxy.registry.session import Session

_MINUTE = 60.0

_log = get_logger("rps.audit")


class Audit:
    """Writes lines to `file`, if there is one.

    Each kind of event has at most `most` lines a minute, so that a flood of refusals hides no revocation. The
    number of omitted lines follows when the minute ends.
    """

    def __init__(
        self,
        file: Path | None,
        most: int,
        counters: Counters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._most = most
        self._counters = counters
        self._clock = clock
        self._began = clock()
        self._written: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._fault: str | None = None
        self._opens = True

    def fault(self) -> str | None:
        """Return why the file cannot be written now; None: it can, or there is none.

        Opens the file, so that a fault shows before the first event.
        """
        if self._file is None:
            return None
        try:
            os.close(self._opened(self._file))
        except OSError as error:
            self._failed(error)
            self._opens = False
        else:
            if not self._opens:  # opening shows no full disk: only a written line clears that fault
                self._fault = None
            self._opens = True
        return self._fault

    def note(
        self,
        event: str,
        session: Session | None = None,
        *,
        source: str | None = None,
        cause: str | None = None,
    ) -> None:
        """Write one event; `source` is the caller's address (default: the session's)."""
        if self._file is None:
            return
        self.sweep()
        if self._written.get(event, 0) >= self._most:
            self._drop(event)
            return
        self._written[event] = self._written.get(event, 0) + 1
        fields: dict[str, object] = {"event": event}
        if session is not None:
            fields |= {
                "name": session.name,
                "user": session.user,
                "cluster": session.cluster,
                "job": session.job,
                "node": session.address,
            }
            source = source or session.source
        self._write(event, {**fields, "source": source, "cause": cause})

    def sweep(self) -> None:
        """Start a new minute, if due, and write how many lines the last one omitted."""
        now = self._clock()
        if now - self._began < _MINUTE:
            return
        self._began = now
        self._written.clear()
        dropped, self._dropped = self._dropped, {}
        for event, number in dropped.items():
            self._write("dropped", {"event": "dropped", "of": event, "number": number})

    def _drop(self, event: str) -> None:
        self._dropped[event] = self._dropped.get(event, 0) + 1
        self._counters.count("audit-dropped", kind=event)

    def _write(self, event: str, fields: dict[str, object]) -> None:
        if self._file is None:
            return
        shown = {
            name: without_secrets(value) if isinstance(value, str) else value
            for name, value in fields.items()
            if value is not None
        }
        line = json.dumps({"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **shown})
        try:
            handle = self._opened(self._file)
            try:
                whole = line.encode() + b"\n"
                # One write, so that other processes' lines stay whole.
                written = os.write(handle, whole)
                if written < len(whole):  # the disk is full: half a line would spoil the next
                    os.ftruncate(handle, os.lseek(handle, 0, os.SEEK_CUR) - written)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(handle)
        except OSError as error:
            self._drop(event)
            self._failed(error)
        else:
            self._fault = None

    @staticmethod
    def _opened(file: Path) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(file, flags, 0o600)

    def _failed(self, error: OSError) -> None:
        if self._fault is None:  # logged once, not for each line
            _log.error("audit-not-written", reason=str(error))
        self._fault = f"{self._file}: {error.strerror}"
