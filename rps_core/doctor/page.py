"""The page of `rps doctor`: every check in the order of a start, each for itself and none for too long."""

from __future__ import annotations

import json
import os
import queue
import shutil
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import click

from rps_core.doctor import home, job, leftovers, machine, scheduler, service
from rps_core.doctor.case import Case, Finding, NotChecked, Verdict, failed, warned
from rps_core.errors import RpsError, UnhealthyError
from rps_core.version import __version__
from rps_core.wording import plain

Check: TypeAlias = Callable[[Case], Iterator[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("launcher", job.launcher),
    ("detection", machine.detection),
    ("plugins", machine.plugins),
    ("configuration", machine.configuration),
    ("allocation", job.allocation),
    ("plan", job.plan),
    ("jupyter", job.jupyter),
    ("home", home.home),
    ("sessions", home.state),
    ("service", service.service),
    ("clock", service.clock),
    ("scheduler", scheduler.scheduler),
    ("leftovers", leftovers.leftovers),
)
_CHECK_TIME = 30.0  # seconds; a check's own calls are given up before
_COLUMNS = 100  # where nobody tells the width of the terminal
_COLOURS = {Verdict.PASS: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}


@dataclass(frozen=True, slots=True)
class Line:
    """A finding with the name of its check."""

    check: str
    finding: Finding


def examine(case: Case, checks: tuple[tuple[str, Check], ...]) -> Iterator[Line]:
    """Run the checks, one after the other. One that raises is a failed line, and so is one that does not
    come to an end (a file system that hangs): it is left behind."""
    for name, check in checks:
        for finding in _findings(check, case):
            yield Line(name, finding)


def _findings(check: Check, case: Case) -> Iterator[Finding]:
    found: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for finding in check(case):
                found.put(finding)
        except NotChecked as missing:
            found.put(warned(f"not checked: {missing}", "Mend what fails above first."))
        except RpsError as error:
            found.put(failed(error.message, error.hint or "Mend that, and run this again."))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            found.put(failed(f"{where}{error.strerror or error}", "Mend that, and run this again."))
        except Exception as error:  # noqa: BLE001 - a defect here must cost this line alone
            # Not the error's text: nobody knows what it quotes.
            found.put(
                failed(
                    f"a defect in this check: {type(error).__name__}",
                    "Please report it, with the output of `rps doctor --json`.",
                )
            )
        finally:
            found.put(None)

    threading.Thread(target=work, daemon=True).start()
    until = min(time.monotonic() + _CHECK_TIME, max(case.ends, time.monotonic() + 1))
    while True:
        try:
            finding = found.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            yield failed("it does not come to an end", "A file system or a name server that hangs?")
            return
        if finding is None:
            return
        yield finding


def print_page(case: Case, *, as_json: bool) -> None:
    """Each line as it is found; with `as_json` all of it at the end.

    Raises:
        UnhealthyError: something fails.
    """
    lines = []
    for line in examine(case, CHECKS):
        lines.append(line)
        if not as_json:
            _print_line(line, first=len(lines) < 2 or lines[-2].check != line.check)
    count = {verdict: sum(one.finding.verdict is verdict for one in lines) for verdict in Verdict}
    if as_json:
        click.echo(json.dumps(_as_json(case, lines), indent=1))
    else:
        passes, warns, fails = (count[verdict] for verdict in Verdict)
        click.echo(f"\n{passes} passed, {warns} warned, {fails} failed.")
    if count[Verdict.FAIL]:
        raise UnhealthyError(
            "A session cannot be started, or is not safe: see what failed.",
            "" if as_json else "What to do stands below each line.",
        )


def _print_line(line: Line, *, first: bool) -> None:
    finding = line.finding
    label = line.check if first else ""
    word = click.style(f"{finding.verdict:4}", fg=_COLOURS[finding.verdict])
    for number, text in enumerate(_wrapped(finding.text)):
        click.echo(f"{'' if number else label:13} {'    ' if number else word}  {text}")
    for note, more in (("fixed:", finding.fixed), ("->", finding.hint)):
        for text in _wrapped(f"{note} {more}") if more else ():
            click.echo(f"{'':20}{text}")


def _wrapped(text: str) -> list[str]:
    """In the column beside the verdicts; paths and commands stay whole, to be copied."""
    width = max(40, shutil.get_terminal_size((_COLUMNS, 24)).columns - 20)
    return textwrap.wrap(plain(text), width, break_long_words=False, break_on_hyphens=False)


def _as_json(case: Case, lines: list[Line]) -> dict[str, object]:
    """For a ticket. Nothing in it is a secret: no check reads one but to see that it is there."""
    return {
        "version": __version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": os.uname().nodename,
        "cluster": case.site.cluster.name if case.site else None,
        "scheduler": case.site.cluster.scheduler if case.site else None,
        "lines": [
            {
                "check": line.check,
                "verdict": str(line.finding.verdict),
                "text": line.finding.text,
                "hint": line.finding.hint or None,
                "fixed": line.finding.fixed or None,
            }
            for line in lines
        ],
    }
