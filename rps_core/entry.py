"""Where `rps` and `start-jupyter` begin.

Most of a short command's time goes into loading it. Until that is done there is nothing to undo, so Ctrl-C
ends the process as it ends any program, and not with Python's traceback from the middle of an import.
"""

from __future__ import annotations

import signal


def rps() -> None:
    """The command `rps`."""
    _end_at_once()
    from rps_core.cli import main

    main()


def start_jupyter() -> None:
    """The command `start-jupyter`."""
    _end_at_once()
    from rps_core.start_jupyter import main

    main()


def _end_at_once() -> None:
    """Until `cli.run` takes Ctrl-C. Where it is ignored (nohup, `&` of a script) it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
