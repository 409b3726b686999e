"""CPU (user and system) of `rps --help`, as its console script; median of 15. The further rows are the
lower bound of a Python program with click."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.processes import median_cpu
from benchmarks.report import Row, at_most, beside

NEEDS: tuple[str, ...] = ()
LIMIT = 0.10
TIMES = 15


def measure(_scratch: Path) -> list[Row]:
    """`rps --help`, click alone, Python alone."""
    script = str(Path(sys.executable).with_name("rps"))
    return [
        at_most("`rps --help`", median_cpu([script, "--help"], TIMES), LIMIT, "s"),
        beside(
            "`python -c 'import click'`",
            median_cpu([sys.executable, "-c", "import click"], TIMES),
            "s",
        ),
        beside("`python -c pass`", median_cpu([sys.executable, "-c", "pass"], TIMES), "s"),
    ]
