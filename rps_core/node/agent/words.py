"""Format text for people: the job's log, errors, durations, exit codes."""

import re
import signal
import sys
import time

from rps_core.node.agent.protocol import LONGEST_REASON

# Each looks at a character a bounded number of times: the holder of any claim chooses the text.
# `re` compiles them on first use: most of the launcher's commands need none of them.
_WORD = r"[^\s\"'(),;<>|]+"
_URL = r"//|[^/]*:/|.*?(?:@|://)"
# Before a path, in any script: two letters or more behind a dot, an IPv4 address, one of IPv6 in brackets.
_HOST = r"[^/?#]*?(?:\w-*\.[^\W\d_]{2}|(?:\d{1,3}\.){3}\d|\[[0-9a-fA-F]{0,4}:)"
# Bytes of file names that are not UTF-8 (surrogates): they are written as they were read.
_BYTES = "".join(map(chr, range(0xDC80, 0xDD00)))


def printable(text: str, instead: str = "?", keep: str = "") -> str:
    """Replace characters that are not printable (control characters) nor in `keep`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else instead for c in text)


def log(text: str) -> None:
    """Write a line to the job's log; an error of writing is ignored."""
    line = time.strftime("%Y-%m-%d %H:%M:%S") + " rps: " + printable(text, keep=_BYTES) + "\n"
    try:
        # Bytes, because batch jobs often have no LANG, and then Python 3.6 prints ASCII alone.
        sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape"))
        sys.stdout.buffer.flush()
    except OSError:  # a full disk
        pass


def plain(error: Exception) -> str:
    """Format an error without its class and number."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def short(reason: str) -> str:
    """Shorten a reason to what the service accepts: one printable line."""
    line = printable(reason)
    return line if len(line) <= LONGEST_REASON else line[: LONGEST_REASON - 1] + "\u2026"


def one_line(words: str) -> str:
    """Format quoted text as a short printable line."""
    return short(" ".join(words.split()))


def quoted(words: str) -> str:
    """Return the same in quotation marks, which the words themselves cannot close."""
    return '"%s"' % one_line(words).replace('"', "'")


def without_addresses(words: str) -> str:
    """Replace what looks like a URL, a host name, an IP address or a mail address.

    Only what comes before a slash counts: the path of a file is left as it is.
    """
    import unicodedata

    found = unicodedata.normalize("NFKC", words).replace(
        "\u3002", "."
    )  # dots in host names of any script
    return re.sub(_WORD, _if_no_address, "".join(c for c in found if c.isprintable()))


def _if_no_address(word: "re.Match[str]") -> str:
    import unicodedata

    seen = "".join(c for c in word.group() if not unicodedata.combining(c))
    return "[address]" if re.match(_URL, seen) or re.match(_HOST, seen) else word.group()


def in_words(seconds: float) -> str:
    """Format a duration roughly: `40 s`, `12 min`, `3 h 05 min`, `2 days 3 h`.

    The launcher prints the same: `rps_core.text.roughly`.
    """
    whole = max(0, int(seconds))
    minutes = whole // 60
    hours = minutes // 60
    if whole < 120:
        return "%d s" % whole
    if minutes < 120:
        return "%d min" % minutes
    if hours < 48:
        return "%d h %02d min" % (hours, minutes % 60)
    return "%d days %d h" % (hours // 24, hours % 24)


def how(code: int) -> str:
    """Format how a program ended; `code` is negative for a signal."""
    if code >= 0:
        return "exit code %d" % code
    if code == -signal.SIGKILL:
        return "killed by signal 9 (often for want of memory)"
    return "killed by signal %d" % -code
