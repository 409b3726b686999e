"""The output of `rps doctor`: every check, isolated and with a time limit."""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TypeAlias

import click

from rps_core.display.colour import GREEN, RED, YELLOW, Colours
from rps_core.doctor import home, job, leftovers, machine, personal, scheduler, service
from rps_core.doctor.checkup import Checkup, Finding, NotChecked, Verdict, failed, warned
from rps_core.errors import RpsError, UnhealthyError
from rps_core.support import with_contact
from rps_core.text import plain
from rps_core.values import dataclass
from rps_core.version import __version__

Check: TypeAlias = Callable[[Checkup], Iterator[Finding]]

CHECKS: tuple[tuple[str, Check], ...] = (
    ("launcher", job.launcher),
    ("detection", machine.detection),
    ("plugins", machine.plugins),
    ("configuration", machine.configuration),
    ("allocation", job.allocation),
    ("plan", job.plan),
    ("login shell", job.login_shell),
    ("jupyter", job.jupyter),
    ("home", home.home),
    ("sessions", home.state),
    ("paths", home.safe_paths),
    ("service", service.service),
    ("clock", service.clock),
    ("browsers", personal.browsers),
    ("file calls", personal.file_calls),
    ("scheduler", scheduler.scheduler),
    ("leftovers", leftovers.leftovers),
    ("plugins", machine.broken_plugins),
)
_CHECK_TIME = 30.0  # seconds; a check's own calls have shorter timeouts
_COLUMNS = 80  # if the terminal's width is unknown
_COLOURS = {Verdict.PASS: GREEN, Verdict.WARN: YELLOW, Verdict.FAIL: RED}


@dataclass(frozen=True, slots=True)
class Line:
    """A finding with the name of its check."""

    check: str
    finding: Finding


def examine(case: Checkup, checks: tuple[tuple[str, Check], ...]) -> Iterator[Line]:
    """Run the checks, one after the other.

    A check that raises is a failed line. So is one that hangs (in a file system): its thread is abandoned.
    """
    for name, check in checks:
        for finding in _findings(check, case):
            yield Line(name, finding)


def _findings(check: Check, case: Checkup) -> Iterator[Finding]:
    found: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for finding in check(case):
                found.put(finding)
        except NotChecked as missing:
            found.put(warned(f"not checked: {missing}", "Fix the failed checks above first."))
        except RpsError as error:
            found.put(failed(error.message, error.hint or "Fix this, then run `rps doctor` again."))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            found.put(
                failed(
                    f"{where}{error.strerror or error}", "Fix this, then run `rps doctor` again."
                )
            )
        except Exception as error:  # noqa: BLE001 - a bug here must not stop the other checks
            # Without the error's text, which may quote a secret.
            found.put(
                failed(
                    f"bug in this check: {type(error).__name__}",
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
            yield failed("timeout", "Check for a hanging file system or name server.")
            return
        if finding is None:
            return
        yield finding


def print_page(case: Checkup, *, as_json: bool) -> None:
    """Print each finding as it is made; with `as_json` all of them at the end.

    Raises:
        UnhealthyError: a check failed.
    """
    lines = []
    for line in examine(case, CHECKS):
        lines.append(line)
        if not as_json:
            _print_line(line, first=len(lines) < 2 or lines[-2].check != line.check)
    count = {verdict: sum(one.finding.verdict is verdict for one in lines) for verdict in Verdict}
    passes, warns, fails = (count[verdict] for verdict in Verdict)
    if as_json:
        click.echo(json.dumps(_as_json(case, lines), indent=1))
    else:
        click.echo(f"\n{passes} passed, {warns} warned, {fails} failed.")
    if fails:
        raise UnhealthyError(
            f"Checks failed: {fails}. Sessions cannot start, or are not safe",
            "" if as_json else "Follow the advice (->) below each failed check.",
        )


def _print_line(line: Line, *, first: bool) -> None:
    finding = line.finding
    label = line.check if first else ""
    colours = Colours(sys.stdout)
    word = colours.paint(f"{finding.verdict:4}", _COLOURS[finding.verdict])
    for number, text in enumerate(_wrapped(finding.text)):
        click.echo(
            f"{'' if number else label:13} {'    ' if number else word}  {text}", color=colours.on
        )
    for note, more in (("fixed:", finding.fixed), ("->", with_contact(finding.hint))):
        for text in _wrapped(f"{note} {more}") if more else ():
            click.echo(f"{'':20}{text}")


def _wrapped(text: str) -> list[str]:
    """Wrap text beside the verdicts, without breaking paths and commands."""
    width = max(20, shutil.get_terminal_size((_COLUMNS, 24)).columns - 20)
    return textwrap.wrap(plain(text), width, break_long_words=False, break_on_hyphens=False)


def _as_json(case: Checkup, lines: list[Line]) -> dict[str, object]:
    """Return the findings for a support ticket; no check reads a secret's content."""
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
                "hint": with_contact(line.finding.hint) or None,
                "fixed": line.finding.fixed or None,
            }
            for line in lines
        ],
    }
