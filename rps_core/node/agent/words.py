"""What people read: lines of the job's log; errors, spans of time and ends in words."""

import signal
import sys
import time

REASON_LENGTH = 200  # characters of a reason that the service is told


def log(text: str) -> None:
    """A line for the job's log, for people. A log that cannot be written harms nothing."""
    line = time.strftime("%Y-%m-%d %H:%M:%S") + " rps: " + text + "\n"
    try:
        # Bytes, because batch jobs often have no LANG, and then Python 3.6 prints ASCII alone.
        sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
    except OSError:  # a full disk
        pass


def plain(error: Exception) -> str:
    """An error without its class and number, for people."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def short(reason: str) -> str:
    """A reason that the service takes: a line of printable text, not too long."""
    line = "".join(letter if letter.isprintable() else "?" for letter in reason)
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1] + "\u2026"


def in_words(seconds: float) -> str:
    """A span of time for people."""
    if seconds < 90:
        return "%d seconds" % seconds
    return "%d minutes" % round(seconds / 60)


def how(code: int) -> str:
    """How a program ended, in words; `code` is negative for a signal."""
    if code >= 0:
        return "exit code %d" % code
    if code == -signal.SIGKILL:
        return "killed by signal 9 (often for want of memory)"
    return "killed by signal %d" % -code
