"""Pass the application's output on to the job's log in the user's home.

Jupyter logs each request that it refuses, with path and referrer, and everyone who knows the session's
name can send requests. So the log has limits, and says where it leaves something out:

- A line of the server's own has 1 KB at most, any other 16 KB.
- Of the server's lines on requests 2 a second are kept after the first 300, and as many of its other lines.
  All else, which only the user can cause (kernels, extensions, libraries), has 256 KB a second after 8 MB.
- A log of 24 MB is shortened to its first 1 MB and its last 7 MB.

No kind of line uses up what another may have, so requests push nothing else out. What else was left out right
before the application's end follows there.
"""

import fcntl
import os
import re
import stat
import time
from collections import deque
from typing import Deque, Dict

SERVER_LINE, OTHER_LINE = 1 << 10, 16 << 10  # bytes
SERVER_BURST, SERVER_RATE = 300, 2.0  # lines, and lines a second
OTHER_BURST, OTHER_RATE = 8 << 20, 256 << 10  # bytes, and bytes a second
MOST, HEAD, TAIL = 24 << 20, 1 << 20, 7 << 20  # bytes
REPORT_EVERY = 60.0  # seconds between two lines that say how much is left out
LAST_WORDS = 20  # lines

# "[W 2026-11-28 23:12:48.123 ServerApp] 404 GET /…"; Notebook 6 has no date. D is what the user asks for.
_is_of_the_server = re.compile(rb"\[[IWEC] [0-9:. -]+ \w+\] ").match
is_on_a_request = re.compile(rb"\[[IWEC] [0-9:. -]+ \w+\] [1-5][0-9][0-9] [A-Z]+ ").match


class _Allowance:
    """A limit: `burst` at once, and `rate` a second from then on."""

    def __init__(self, burst: float, rate: float) -> None:
        self._burst, self._rate = burst, rate
        self._left, self._when = burst, time.monotonic()

    def takes(self, amount: float) -> bool:
        """Return whether so much may pass now, and count it then."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._when) * self._rate)
        self._when = now
        if amount > self._left:
            return False
        self._left -= amount
        return True


class JobLog:
    """The job's log, where `descriptor` writes it."""

    def __init__(self, descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._allowances: Dict[str, _Allowance] = {
            "request": _Allowance(SERVER_BURST, SERVER_RATE),
            "server": _Allowance(SERVER_BURST, SERVER_RATE),
            "other": _Allowance(OTHER_BURST, OTHER_RATE),
        }
        self._within = False  # a line whose end has not come yet
        self._lines = self._bytes = 0  # left out since that was reported
        self._reported = -REPORT_EVERY
        self._last: Deque[bytes] = deque(maxlen=LAST_WORDS)
        self._written = 0
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        if self._is_file:
            # Slurm opens the file without it: the next line after a log was shortened would leave a hole.
            flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
            fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_APPEND)

    def add(self, piece: bytes) -> None:
        """Pass on a line, or a piece of a long one, as far as the limits allow."""
        # The line of a progress bar does not end: it begins again with a carriage return.
        continues = self._within and b"\r" not in piece
        self._within = not piece.endswith(b"\n")
        if continues:
            self._bytes += len(piece)
            return
        kind = "server" if _is_of_the_server(piece) else "other"
        longest = SERVER_LINE if kind == "server" else OTHER_LINE
        if is_on_a_request(piece):
            kind = "request"
        if len(piece) > longest:
            piece = piece[:longest] + b" [%d bytes left out]\n" % (len(piece) - longest)
        amount = len(piece) if kind == "other" else 1
        if self._allowances[kind].takes(amount) and (self._is_file or self._written < MOST):
            if kind != "request":
                self._last.clear()
            self._write(piece)
            return
        self._lines += 1
        self._bytes += len(piece)
        if kind != "request":
            self._last.append(piece)
        self._report(REPORT_EVERY)

    def end(self) -> None:
        """Report what was left out, and its last lines: the application has ended."""
        self._report(0.0)
        if self._last:
            self._write(b"".join([_note("the last of the lines left out:"), *self._last]))

    def _report(self, interval: float) -> None:
        now = time.monotonic()
        if self._lines and now - self._reported >= interval:
            text = "%d lines (%d KB) were left out here: more than the log takes at once"
            self._write(_note(text % (self._lines, self._bytes >> 10)))
            self._reported = now
            self._lines = self._bytes = 0

    def _write(self, content: bytes) -> None:
        self._written += len(content)
        try:
            while content:
                content = content[os.write(self._descriptor, content) :]
            if self._is_file and os.fstat(self._descriptor).st_size > MOST:
                self._shorten()
        except OSError:  # a full disk: the application must not wait for its log
            pass

    def _shorten(self) -> None:
        """Cut the middle out in place: the scheduler and `rps logs -f` have it open."""
        with open("/proc/self/fd/%d" % self._descriptor, "r+b") as file:
            head = file.read(HEAD).rpartition(b"\n")[0] + b"\n"
            size = file.seek(0, os.SEEK_END)
            file.seek(-TAIL, os.SEEK_END)
            tail = file.read().partition(b"\n")[2]
            file.truncate(len(head))
        left_out = (size - len(head) - len(tail)) >> 10
        os.write(
            self._descriptor, _note("%d KB were left out here: the log was too long" % left_out)
        )
        os.write(self._descriptor, tail)


def _note(text: str) -> bytes:
    return ("%s rps: %s\n" % (time.strftime("%Y-%m-%d %H:%M:%S"), text)).encode()
