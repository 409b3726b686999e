"""Detach a process that runs one job of the local scheduler (`rps_core.node.local_job`).

    python -m rps_core.node.supervisor SESSION_DIR --walltime SECONDS [--handshake FD]

It puts itself into a session of its own, as a child of init, so a job outlives the terminal and the
launcher.
"""

import os
import sys


def main() -> int:
    """Detach from the launcher, and run the job."""
    # First of all: `rps start` waits for this process, and what the job needs is imported in the other.
    if os.fork():
        return 0
    os.setsid()
    from rps_core.node import local_job

    return local_job.main()


if __name__ == "__main__":
    sys.exit(main())
