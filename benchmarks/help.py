"""CPU (user and system) of `rps --help`, as its console script; median of 15. Beside it what no Python
program with click can go below."""

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
