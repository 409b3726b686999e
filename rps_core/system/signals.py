"""Defer Ctrl-C while an immediate stop would leave something behind."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class DeferredSignals:
    """Defer SIGINT, SIGTERM and SIGHUP in a block; `check` where a stop is safe.

    A second signal is not deferred, unless `firm` is set: a stop during a submission would lose the job.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self.came = False
        self.firm = False

    def __enter__(self) -> DeferredSignals:
        self._before = {
            number: signal.signal(number, self._note)
            for number in self._SIGNALS
            if signal.getsignal(number) is not signal.SIG_IGN  # nohup, or a job in the background
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt if one came."""
        if self.came:
            raise KeyboardInterrupt

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if self.came and not self.firm:
            raise KeyboardInterrupt
        self.came = True
