"""A plugin's mistake: its distribution, file and line.

This module is imported only if there is a mistake.
"""

from __future__ import annotations

import sys
from types import TracebackType

from rps_core.hooks.entry_points import Found
from rps_core.text import plain
from rps_core.values import dataclass

_LONGEST = 300  # characters of an exception's text


@dataclass(frozen=True, slots=True)
class Broken:
    """A mistake of a plugin: it costs this plugin's answer, and no other's.

    Args:
        plugin: the name of its entry point.
        origin: the distribution and its version; the module where there is no distribution.
        reason: what is wrong, on one line.
        where: file and line, `/path/module.py:12`; empty where none is known.
        hook: the hook that failed; empty where the plugin could not be loaded.
    """

    plugin: str
    origin: str
    reason: str
    where: str = ""
    hook: str = ""

    @property
    def mistake(self) -> str:
        """The reason, with file and line."""
        return f"{self.reason} ({self.where})" if self.where else self.reason

    def __str__(self) -> str:
        return f"the plugin `{self.plugin}` ({self.origin}): {self.mistake}"


def origin(point: Found) -> str:
    """Return the distribution of an entry point with its version, or the module."""
    try:
        dist = point.dist
        return plain(f"{dist.name} {dist.version}") if dist else point.value
    except Exception:  # noqa: BLE001 - metadata of any kind, and this is said beside a mistake
        return point.value


def in_words(error: BaseException) -> str:
    """Return an exception's kind and text on one line; neither is trusted."""
    kind = type(error).__name__
    try:
        text = " ".join(plain(str(error)).split())
    except Exception:  # noqa: BLE001 - as above
        return f"{kind}, whose text raises an exception"
    if isinstance(error, SyntaxError):
        text = error.msg
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}…"
    return f"{kind}: {text}" if text else kind


def where_raised(error: BaseException, package: str) -> str:
    """Return file and line of the last call in `package`, else of the last."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    found = last = ""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", ""))
        last = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        if module == package or module.startswith(f"{package}."):
            found = last
        elif "importlib" in last or module.startswith("rps_core.hooks."):
            last = ""
        trace = trace.tb_next
    return found or last


def where_running(thread: int, package: str) -> str:
    """Return file and line of `package` in a thread that still runs."""
    frame = sys._current_frames().get(thread)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module == package or module.startswith(f"{package}."):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
