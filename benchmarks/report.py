"""Figures with their targets, and the two forms in which they are shown."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

HEADINGS = ("what", "figure", "target", "figure / target", "verdict")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `met` is None for a figure without a target."""

    what: str
    figure: str
    target: str = ""
    ratio: float | None = None
    met: bool | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """As text, in the order of `HEADINGS`."""
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        verdict = "" if self.met is None else "met" if self.met else "MISSED"
        return self.what, self.figure, self.target, ratio, verdict


def beside(what: str, value: float, unit: str) -> Row:
    """Return a figure for comparison."""
    return Row(what, _text(value, unit))


def at_most(what: str, value: float, limit: float, unit: str, *, of: str = "") -> Row:
    """Return a line for a figure with an upper `limit`; `of`: whose figure that is."""
    return _against("≤", what, value, limit, unit, of, met=value <= limit)


def at_least(what: str, value: float, limit: float, unit: str, *, of: str = "") -> Row:
    """Return a line for a figure with a lower `limit`; see `at_most`."""
    return _against("≥", what, value, limit, unit, of, met=value >= limit)


def exactly(what: str, value: float, wanted: float, unit: str) -> Row:
    """Return a figure, a count, that should be `wanted`."""
    return _against("=", what, value, wanted, unit, "", met=value == wanted)


def _against(
    sign: str, what: str, value: float, limit: float, unit: str, of: str, *, met: bool
) -> Row:
    target = f"{sign} {_text(limit, unit)}" + (f" ({of})" if of else "")
    return Row(what, _text(value, unit), target, value / limit if limit else None, met)


def _text(value: float, unit: str) -> str:
    digits = 0 if value == int(value) or abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    return f"{value:,.{digits}f} {unit}".strip()


def plain_table(rows: Sequence[Row]) -> str:
    """For the terminal."""
    lines = [HEADINGS, *(row.cells for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown_table(rows: Sequence[Row]) -> str:
    """For the documentation."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row.cells for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run_of(names: Sequence[str], scratch: Path, load: float) -> str:
    """Return the description of one run, for each of its sections.

    `scratch` is where it wrote, `load` the load average of the five minutes before it.
    """
    date = time.strftime("%-d %B %Y, %H:%M", time.gmtime())
    together = ", ".join(names)
    return f"*One run of {together}; {date} UTC, load average before it {load:.1f}. {_machine(scratch)}.*"


def sections(
    results: Mapping[str, Sequence[Row]], notes: Mapping[str, str], run: str
) -> dict[str, str]:
    """Return the text of each section; `notes`: how each measures; `run`: see `run_of`."""
    return {
        name: "\n\n".join([notes[name].strip(), markdown_table(rows), run])
        for name, rows in results.items()
    }


def read_sections(text: str) -> dict[str, str]:
    """Return the sections of docs/benchmarks.md, by benchmark."""
    parts = (part.partition("\n") for part in text.split("\n## ")[1:])
    return {name.strip(): body.strip() for name, _, body in parts}


def document(found: Mapping[str, str], order: Sequence[str]) -> str:
    """Return the text of docs/benchmarks.md: these sections in this order."""
    parts = [
        "# Benchmarks",
        "<!-- Written by `python benchmarks/run.py --write`; do not edit. -->",
        "Each section is from one run, which it names with the benchmarks that were measured in it, so that "
        "ratios hold on a slow or shared machine. Load, proxy and upstream run on the same machine, over "
        "loopback, and share its cores.",
    ]
    parts += [f"## {name}\n\n{found[name]}" for name in order if name in found]
    return "\n\n".join(parts) + "\n"


def _machine(scratch: Path) -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return (
        f"Machine: {cores} core{'s' if cores > 1 else ''} ({platform.machine()}), {memory:.0f} GiB of "
        f"memory, registry on {_file_system(scratch)}, Linux {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def _file_system(path: Path) -> str:
    """Its type: on a tmpfs a commit costs nothing, and a reader should know."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(mount, kind) for mount, kind in mounts if path.resolve().is_relative_to(mount)]
    return max(holding, key=lambda each: len(each[0]))[1]
