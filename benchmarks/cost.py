"""Run a command, and print its cost as JSON: `python cost.py COMMAND...`.

See `login.Cost`.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main() -> None:
    """Run the command and exit as it does; drop its output, but not its stderr."""
    command = sys.argv[1:]
    silence = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    ]
    begun = time.perf_counter()
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=silence)
    _, status, usage = os.wait4(pid, 0)
    wall = time.perf_counter() - begun
    print(json.dumps({"wall": wall, "cpu": usage.ru_utime + usage.ru_stime}))
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
