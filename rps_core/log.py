"""Logs: structured events on stderr, never on stdout, never with a secret.

The only module that imports structlog, and it does so when the first line is really written: a
`rps start` that has nothing to warn of does not pay for it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_SECRET_FIELDS = frozenset({"claim", "token", "key", "authorization", "password", "cookie"})
_SECRET_TEXT = re.compile(r"(token=|Bearer |claim=)[^\s&\"']+")

_threshold = _LEVELS["warning"]
_format = "text"
_stream: TextIO | None = None
_ready = False
_LOST = "log-lines-lost"
_lost = 0  # lines that could not be written since one could
_before: Callable[[], None] | None = None


def before_each_line(call: Callable[[], None] | None) -> None:
    """What is called before a line is written: whoever draws on the terminal takes away what it drew."""
    global _before
    _before = call


def configure(
    *, verbosity: int = 0, log_format: str = "text", stream: TextIO | None = None
) -> None:
    """Set what is written: warnings, with `verbosity` 1 also what happens, with 2 the details.

    `log_format` is `text` or `json` (one object a line); `stream` defaults to stderr.
    """
    global _threshold, _format, _stream, _ready
    _threshold = _LEVELS["warning" if verbosity <= 0 else "info" if verbosity == 1 else "debug"]
    _format, _stream, _ready = log_format, stream, False


class Logger:
    """Writes events by name with fields: `log.info("submitted", job_id="17")`."""

    def __init__(self, name: str, **fields: object) -> None:
        self._name = name
        self._fields = fields

    def bind(self, **fields: object) -> Logger:
        """A logger that adds these fields to every event."""
        return Logger(self._name, **self._fields, **fields)

    def debug(self, event: str, **fields: object) -> None:
        """A detail, for somebody who looks for a fault."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """Something that happened as it should."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something that an administrator or user should know."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something that failed."""
        self._write("error", event, fields)

    def exception(self, event: str, **fields: object) -> None:
        """A defect: as `error`, with the traceback of the exception being handled."""
        self._write("error", event, {**fields, "exc_info": True})

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if _LEVELS[level] < _threshold:
            return
        _set_up()
        import structlog

        if _before is not None:
            _before()
        logger = structlog.get_logger()
        global _lost
        try:
            getattr(logger, level)(event, logger=self._name, **self._fields, **fields)
        except OSError:  # a full disk, a reader that has gone: what is logged must not fail for it
            _lost += 1
            return
        if _lost and event != _LOST:
            lost, _lost = _lost, 0
            self._write("warning", _LOST, {"number": lost})
            if _lost:  # nor could this one
                _lost += lost - 1


def get_logger(name: str) -> Logger:
    """The logger of a module; costs nothing until it writes."""
    return Logger(name)


def without_secrets(text: str) -> str:
    """`text`, with what follows `token=` and the like withheld."""
    return _SECRET_TEXT.sub(r"\1[withheld]", text)


def _set_up() -> None:
    global _ready
    if _ready:
        return
    import logging

    import structlog

    stream = _stream or sys.stderr
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _without_secrets,
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
    # What libraries log (asyncio, aiohttp) takes the same way out; `sh` logs whole command lines.
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


def _without_secrets(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """The last line of defence: nothing secret should have come this far."""
    for name, value in event.items():
        if name.lower() in _SECRET_FIELDS:
            event[name] = "[withheld]"
        elif isinstance(value, str):
            event[name] = without_secrets(value)
    return event
