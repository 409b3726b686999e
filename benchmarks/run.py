"""Measure, print the table, and with `--write` put it into docs/benchmarks.md, in place of those sections."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from benchmarks import (
    applications,
    before,
    completion,
    connect,
    distance,
    engine,
    engines,
    environment,
    issuing,
    made,
    personal,
    reachable,
    redeeming,
    slow_clients,
    slurm,
    soak,
    start,
    transfers,
    waiting,
    websocket,
    workers,
)
from benchmarks import help as help_
from benchmarks.processes import FailedError, LeftOutError
from benchmarks.report import Row, document, plain_table, read_sections, run_of, sections

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
BENCHMARKS = {
    "before": before,
    "help": help_,
    "completion": completion,
    "start": start,
    "environment": environment,
    "made": made,
    "personal": personal,
    "reachable": reachable,
    "issuing": issuing,
    "redeeming": redeeming,
    "engine": engine,
    "engines": engines,
    "workers": workers,
    "waiting": waiting,
    "websocket": websocket,
    "transfers": transfers,
    "distance": distance,
    "slow_clients": slow_clients,
    "soak": soak,
    "slurm": slurm,
    "connect": connect,
    "applications": applications,
}


def main() -> None:
    """Run the named benchmarks, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    names = options.names or list(BENCHMARKS)
    _require(sorted({program for name in names for program in BENCHMARKS[name].NEEDS}))
    signal.signal(signal.SIGTERM, _terminated)
    results: dict[str, Sequence[Row]] = {}
    load = os.getloadavg()[1]
    with tempfile.TemporaryDirectory(prefix="rps-bench-") as directory:
        scratch = Path(directory)
        for name in names:
            begun = time.monotonic()
            try:
                results[name] = BENCHMARKS[name].measure(scratch)
            except LeftOutError as error:
                print(f"{name}: left out: {error}", file=sys.stderr)
                continue
            except (FailedError, subprocess.CalledProcessError) as error:
                sys.exit(f"{name}: {error}")
            print(f"{name}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
        print(plain_table([row for rows in results.values() for row in rows]))
        if options.write:
            left_out = [name for name in names if name not in results]
            if left_out:
                sys.exit(f"nothing written: {', '.join(left_out)} left out")
            notes = {name: BENCHMARKS[name].__doc__ or "" for name in names}
            found = sections(results, notes, run_of(names, scratch, load))
            there = read_sections(DOCUMENT.read_text(encoding="utf-8"))
            DOCUMENT.write_text(document({**there, **found}, list(BENCHMARKS)), encoding="utf-8")


def _require(programs: Sequence[str]) -> None:
    """See that these are there; Debian's packages have the names of the programs."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-qq", "--yes", "--no-install-recommends", *missing]
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update", "-qq"], install):
            subprocess.run(command, check=True, env=env, stdout=sys.stderr)
        missing = [program for program in missing if shutil.which(program) is None]
    if missing:
        sys.exit(
            f"These are needed: {', '.join(missing)}. On Debian: apt install {' '.join(missing)}"
        )


def _terminated(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)  # an exception, so that everything is ended on the way out


if __name__ == "__main__":
    main()
