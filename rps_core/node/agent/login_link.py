"""Links to a session that stand for its token: one that works once, and shares of limited time.

Used by the launcher, which makes them, and in Jupyter's process, which accepts them. A link is a word and its
MAC by the notebook's token: no file has to reach the node before it works, and a home directory on NFS shows
new files late.

- `once-N`: works while no link with this number or a later one was used, and no later one was made. The files
  `made` and `used` of the session's directory `links` hold these two numbers.
- `share-ID`: works while `share-ID.json` is there, until its time is up.
"""

import hashlib
import hmac
import json
import os
import re
import time
from typing import Any, Callable, Dict, Optional

DIRECTORY = "links"
MADE, USED = "made", "used"  # files, of a number each
FIRST = 1
_WORD = r"(once-[1-9][0-9]{0,8}|share-[a-z0-9]{8})"
_LINK = re.compile(_WORD + r"-([0-9a-f]{32})\Z")
_IN_A_LOG = re.compile((_WORD + r"-[0-9a-f]{32}").encode())
_LATEST = 2.5e11  # seconds since 1970


def link(token: str, word: str) -> str:
    """Return the link of a word: what a URL has as its `token`."""
    return "%s-%s" % (word, _mac(token, word))


def word_of(token: str, text: str) -> Optional[str]:
    """Return the word of a link; None: it was not made with this token."""
    found = _LINK.match(text)
    if found is None or not hmac.compare_digest(found.group(2), _mac(token, found.group(1))):
        return None
    return found.group(1)


def without_links(line: bytes) -> bytes:
    """Return a line of a log without what makes a link of its word.

    A Jupyter Server of 2022 logs the query of a request whole (jupyter-server/jupyter_server#1212).
    """
    return _IN_A_LOG.sub(rb"\1-[secret]", line)


def _mac(token: str, word: str) -> str:
    digest = hmac.new(token.encode(), b"rps login link " + word.encode(), hashlib.sha256)
    return digest.hexdigest()[:32]


def number_in(directory: str, name: str) -> int:
    """Return the number in a file of the directory `links`; 0: there is none that can be read."""
    try:
        found = re.match(r"[0-9]{1,9}\n?\Z", _content(directory, name))
    except (OSError, ValueError):
        return 0
    return int(found.group()) if found else 0


def share_in(directory: str, word: str) -> Optional[Dict[str, Any]]:
    """Return a share: `created` and `until`, Unix seconds; None: it is not there, or damaged."""
    try:
        found = json.loads(_content(directory, word + ".json"))
        times = {key: float(found[key]) for key in ("created", "until")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return times if all(0 <= value <= _LATEST for value in times.values()) else None


def _content(directory: str, name: str) -> str:
    # Opened by name each time: NFS then asks the server whether it is still the same file.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with os.fdopen(os.open(os.path.join(directory, name), flags), "rb") as file:
        return file.read(4096).decode()


class Once:
    """The links of a session that work once, as Jupyter accepts them.

    Args:
        directory: the session's `links`.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._used = number_in(directory, USED)

    def is_good(self, word: str) -> bool:
        """Return whether the link still works."""
        number = int(word.partition("-")[2])
        return number > self._used and number >= number_in(self._directory, MADE)

    def use(self, word: str) -> None:
        """Use it up: it and all before it work no more."""
        self._used = max(self._used, int(word.partition("-")[2]))

    def note(self) -> None:
        """Write which were used; the file also says that this Jupyter accepts links (OSError)."""
        path = os.path.join(self._directory, USED)
        if not os.path.isdir(self._directory):
            os.mkdir(self._directory, 0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path + ".new", flags, 0o600), "wb") as file:
            file.write(b"%d\n" % self._used)
        os.replace(path + ".new", path)


class Share:
    """One share, as Jupyter accepts it; its end does not move with the clock.

    Args:
        directory: the session's `links`.
        word: `share-ID`.
        now: the time, in Unix seconds.
        monotonic: seconds of a clock that is never set.
    """

    LOOK_EVERY = 1.0  # seconds between two looks at the file

    def __init__(
        self,
        directory: str,
        word: str,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory, self._word = directory, word
        self._now, self._monotonic = now, monotonic
        self._deadline: Optional[float] = None
        self._looked = float("-inf")
        self.until = 0.0  # Unix seconds
        self._alive = True

    def is_good(self) -> bool:
        """Return whether it works; once it does not, it never will again."""
        moment = self._monotonic()
        if self._alive and moment - self._looked >= self.LOOK_EVERY:
            self._looked = moment
            found = share_in(self._directory, self._word)
            if found is None:
                self._alive = False
            else:
                self.until = found["until"]
                left = min(found["until"] - found["created"], found["until"] - self._now())
                ends = moment + left
                self._deadline = ends if self._deadline is None else min(self._deadline, ends)
        self._alive = self._alive and self._deadline is not None and moment < self._deadline
        return self._alive
