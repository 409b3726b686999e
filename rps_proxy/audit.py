"""The audit log: one line of JSON for each thing done or refused, for who asks later who did what.

Fields are chosen one by one, never copied from a request: no claim, no query string, no header. The
file is opened for each line, so that it may be moved away (logrotate) at any time.
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
from rps_proxy.counters import Counters

if TYPE_CHECKING:
    from rps_proxy.session import Session

_MINUTE = 60.0

_log = get_logger("rps.audit")


class Audit:
    """Writes lines to `file`, if there is one: of each kind of event `most` a minute, so that a flood
    of refusals hides no revocation. How many were left out is a line of its own once the minute is over.
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
        self._fails = False

    def try_out(self) -> None:
        """Say at once that the file cannot be written, and not with the first event."""
        if self._file is None:
            return
        try:
            os.close(self._opened(self._file))
        except OSError as error:
            self._failed(error)

    def note(
        self,
        event: str,
        session: Session | None = None,
        *,
        source: str | None = None,
        cause: str | None = None,
    ) -> None:
        """One event; `source` is the address it came from, where that is not the session's own."""
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
        """Begin a new minute, if it is time, and tell what the last one left out."""
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
                written = os.write(handle, whole)  # in one piece, whoever else appends
                if written < len(whole):  # the disk is full: half a line would spoil the next
                    os.ftruncate(handle, os.lseek(handle, 0, os.SEEK_CUR) - written)
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(handle)
        except OSError as error:
            self._drop(event)
            self._failed(error)
        else:
            self._fails = False

    @staticmethod
    def _opened(file: Path) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(file, flags, 0o600)

    def _failed(self, error: OSError) -> None:
        if not self._fails:  # said once, not for each line
            _log.error("audit-not-written", reason=str(error))
        self._fails = True
