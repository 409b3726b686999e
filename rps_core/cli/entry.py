"""The entry points of `rps` and `start-jupyter`.

Most of a short command's time is spent on imports. Ctrl-C ends the process silently during them: Python would
print a traceback from the middle of an import.
"""

from __future__ import annotations

import gc
import signal

# A command makes little garbage: by default Python looks for it 80 times during our imports alone.
_GARBAGE = 100_000  # objects until it looks


def rps() -> None:
    """Run `rps`."""
    gc.set_threshold(_GARBAGE)
    _end_at_once()
    from rps_core.cli.main import main

    main()


def start_jupyter() -> None:
    """Run `start-jupyter`."""
    gc.set_threshold(_GARBAGE)
    _end_at_once()
    from rps_core.cli.start_jupyter import main

    main()


def _end_at_once() -> None:
    """Let Ctrl-C end the process until `main.run` handles it.

    An ignored SIGINT stays ignored: `nohup` and a script's `&` start programs so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
