"""The agent's command line; the archive that the launcher makes begins here."""

import argparse
import os
import sys

from rps_core.node.agent.life import Agent
from rps_core.node.agent.wake import Wake


def main() -> int:
    """Answers the exit status: 0 for an end as it should be."""
    parser = argparse.ArgumentParser(description="Run Jupyter for one rps session.")
    parser.add_argument("session", help="the session's directory")
    parser.add_argument("--app", choices=("lab", "notebook"), required=True)
    arguments = parser.parse_args()
    wake = Wake()
    return Agent(os.path.abspath(arguments.session), arguments.app, wake).run()


if __name__ == "__main__":
    sys.exit(main())
