"""Write structured events to stderr, never to stdout, and never a secret.

The only module that imports structlog, and only when the first line is written: an `rps start` without a
warning does not pay for the import.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

LEVELS = ("warning", "info", "debug")  # of the configuration; by the number of -v
_NUMBERS = {"debug": 10, "info": 20, "warning": 30, "error": 40}  # as `logging` has them
_SECRET_FIELDS = frozenset({"claim", "token", "key", "authorization", "password", "cookie"})
_TO_WITHHOLD = r"(token=|Bearer |claim=)[^\s&\"']+"

_threshold = _NUMBERS["warning"]
_format = "text"
_stream: TextIO | None = None
_ready = False
_LOST = "log-lines-lost"
_lost = 0  # lines that could not be written since the last that was
_before: Callable[[], None] | None = None


def before_each_line(call: Callable[[], None] | None) -> None:
    """Set what is called before each line, to erase what is drawn on the terminal."""
    global _before
    _before = call


def configure(
    *, level: str = "warning", log_format: str = "text", stream: TextIO | None = None
) -> None:
    """Set the level, the format and the destination of the log.

    Args:
        level: the lowest level that is written, one of `LEVELS`.
        log_format: `text` (local times), or `json` (one object a line, times in UTC).
        stream: the destination; None: stderr.
    """
    global _threshold, _format, _stream, _ready
    _threshold = _NUMBERS[level]
    _format, _stream, _ready = log_format, stream, False


def notice(text: str) -> None:
    """Write a line for the user to stderr, above what is drawn on the terminal."""
    if _before is not None:
        _before()
    with contextlib.suppress(OSError):  # a full disk: the command goes on
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


class Logger:
    """Writes events by name with fields: `log.info("submitted", job_id="17")`."""

    def __init__(self, name: str, **fields: object) -> None:
        self._name = name
        self._fields = fields

    def bind(self, **fields: object) -> Logger:
        """Return a logger that adds these fields to every event."""
        return Logger(self._name, **self._fields, **fields)

    def debug(self, event: str, **fields: object) -> None:
        """Log a detail, for debugging."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Log normal operation."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log what an administrator or user should know."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Log a failure."""
        self._write("error", event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """Log a defect: as `error`, with the traceback of the exception being handled."""
        self._write("error", event, {**fields, "exc_info": True})

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if _NUMBERS[level] < _threshold:
            return
        _set_up()
        import structlog

        if _before is not None:
            _before()
        logger = structlog.get_logger()
        global _lost
        try:
            getattr(logger, level)(event, logger=self._name, **self._fields, **fields)
        except OSError:  # a full disk, a closed pipe: must not fail what is being logged
            _lost += 1
            return
        if _lost and event != _LOST:
            lost, _lost = _lost, 0
            self._write("warning", _LOST, {"number": lost})
            if _lost:  # this line could not be written either
                _lost += lost - 1


def get_logger(name: str) -> Logger:
    """Return a module's logger; it costs nothing until it writes."""
    return Logger(name)


def without_secrets(text: str) -> str:
    """Replace what follows `token=`, `claim=` or `Bearer `."""
    return re.sub(_TO_WITHHOLD, r"\1[withheld]", text)


def _set_up() -> None:
    global _ready
    if _ready:
        return
    import logging

    import structlog

    stream = _stream or getattr(sys.stderr, "strict", sys.stderr)
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True)
        if _format == "json"
        else structlog.processors.TimeStamper(fmt="%Y-%m-%dT%H:%M:%S%z", utc=False),
        structlog.processors.format_exc_info,
        _without_secrets,
        _printable,
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(default=str)
        if _format == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(_threshold),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    # The log of libraries (asyncio, aiohttp) has the same format; `sh` logs whole command lines at info.
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(logging.WARNING)
    logging.getLogger("sh").setLevel(logging.WARNING)
    _ready = True


def _printable(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Take control characters and line ends out of an event's values.

    Events quote services, schedulers and requests, which must not move a terminal's cursor or forge lines
    of the log.
    """
    from rps_core.node.agent.words import printable

    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value, " ", keep="\n" if name == "exception" else "")
    return event


def _without_secrets(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Withhold secrets: the last defence, as no event should hold one."""
    for name, value in event.items():
        if name.lower() in _SECRET_FIELDS:
            event[name] = "[withheld]"
        elif isinstance(value, str):
            event[name] = without_secrets(value)
    return event
