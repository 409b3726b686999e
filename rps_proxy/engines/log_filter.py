"""Filter an engine's log on its way to the service's journal.

Run as `python -m rps_proxy.engines.log_filter`.

An engine logs a line for each bad request, with text that the client chose. Lines pass as printable ASCII,
shortened, and of each kind (a line's first word, which the engine's format chooses) at most `MOST_LINES` a
minute. One more line counts those that were left out.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time

from rps_core.node.own_process import module_command

MOST_LINES = 60  # of one kind in a minute
MOST_KINDS = 32  # further ones share one bound
LONGEST_LINE = 1024  # characters
_MINUTE = 60.0  # seconds
_FURTHER = "other"


class LogFilter:
    """Select the lines that pass; `now` is a monotonic time in seconds."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._passed: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def line(self, raw: bytes, now: float) -> list[str]:
        """Return the lines to write for this one."""
        lines = self.counts(now)
        text = printable(raw)
        kind = text.partition(" ")[0]
        if kind not in self._passed and len(self._passed) >= MOST_KINDS:
            kind = _FURTHER
        passed = self._passed.get(kind, 0)
        self._passed[kind] = passed + 1
        if passed < MOST_LINES:
            return [*lines, text]
        self._left_out[kind] = self._left_out.get(kind, 0) + 1
        return lines

    def counts(self, now: float, *, last: bool = False) -> list[str]:
        """Return a line for each shortened kind, after the minute or at the `last`."""
        if not last and now - self._began < _MINUTE:
            return []
        left_out, self._left_out = self._left_out, {}
        self._began = now
        self._passed.clear()
        return [f"log-lines-left-out number={count} of={kind}" for kind, count in left_out.items()]

    @property
    def waits(self) -> bool:
        """Whether there is something to report when the minute has passed."""
        return bool(self._left_out)


def printable(raw: bytes) -> str:
    """Return a line as printable ASCII, shortened, with other bytes as `\\xNN`."""
    text = raw[:LONGEST_LINE].decode("ascii", "backslashreplace")
    text = re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text)
    cut = len(raw) > LONGEST_LINE or len(text) > LONGEST_LINE
    return text[:LONGEST_LINE] + "..." if cut else text


def start() -> int:
    """Start the filter; return the descriptor to log to, which an `exec` keeps.

    The filter ends when all that hold the descriptor have ended.
    """
    reader, writer = os.pipe()
    subprocess.Popen(command(), stdin=reader)
    os.close(reader)
    os.set_inheritable(writer, True)
    return writer


def command() -> list[str]:
    """Return the command of the filter, from standard input to standard output."""
    return module_command("rps_proxy.engines.log_filter")


def main() -> None:
    """Filter standard input until it ends."""
    # The signal that stops the engine may reach the filter too, before the engine's last lines.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    lines = LogFilter(time.monotonic())
    rest = b""
    while True:
        if not select.select([0], [], [], _MINUTE / 4 if lines.waits else None)[0]:
            _write(lines.counts(time.monotonic()))
            continue
        part = os.read(0, 65536)
        if not part:
            break
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            _write(lines.line(line, time.monotonic()))
        rest = rest[: LONGEST_LINE + 1]  # one more than is printed, which shows that it was longer
    if rest:
        _write(lines.line(rest, time.monotonic()))
    _write(lines.counts(time.monotonic(), last=True))


def _write(lines: list[str]) -> None:
    for line in lines:
        # On a full disk, or without a reader, the engine goes on: it would block if nothing read its log.
        with contextlib.suppress(OSError):
            os.write(1, line.encode() + b"\n")


if __name__ == "__main__":
    main()
