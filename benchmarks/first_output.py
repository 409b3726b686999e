"""Run a command on a terminal: `python first_output.py COMMAND...`. Prints the seconds until its first output
and until its end, as JSON."""

from __future__ import annotations

import json
import os
import pty
import sys
import time


def main() -> None:
    """Run the command and exit as it does."""
    begun = time.perf_counter()
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execvp(sys.argv[1], sys.argv[1:])
    first = 0.0
    while True:
        try:
            seen = os.read(terminal, 65536)
        except OSError:  # all have closed the other end
            break
        first = first or time.perf_counter() - begun
        if not seen:
            break
    _, status = os.waitpid(pid, 0)
    print(json.dumps({"first": first, "end": time.perf_counter() - begun}))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
