"""Taking people to a session: their browser, or a QR code for the one in their hand."""

from __future__ import annotations

import contextlib
import html
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from rps_core import paths
from rps_core.screen import Area
from rps_core.session import Session
from rps_core.session_files import SessionFiles

READ_WITHIN = 20.0  # seconds that a browser is given to come up and read the file
_SETTLE = 2.0  # and what is left to it from its first look on: others (xdg-open) look first
_QUIET_ZONE = 2  # modules around a code; the standard has 4, every reader takes 2

# The token must not be in an argument list, which everybody on this host can read, nor be handed out at an
# address of this host, which others here can ask as well. So the browser is given a file that only we can
# read, and that sends it on.
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0;url={url}"><title>{name}</title></head>
<body><p><a href="{url}">{name}</a></p></body></html>
"""


def in_browser(session: Session) -> bool:
    """Open the session; False where there is no browser that could show it here, or none was seen to."""
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    import webbrowser

    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    name = session.record.name
    path = paths.page_to_open(name)
    text = _PAGE.format(url=html.escape(str(session.url)), name=html.escape(name))
    page = SessionFiles(path.parent).write(path.name, text, lasting=False)
    try:
        os.utime(page, (0, page.stat().st_mtime))
        with _silenced():
            opened = browser.open(page.as_uri())
        if opened:
            click.echo(f"{name} is being opened in your browser.", err=True)
            opened = _await_reader(page)
            # The display that DISPLAY names may be gone, and a browser ends without a word.
            if not opened:
                click.echo("No browser was seen to read it. If none came up, its URL is:", err=True)
    finally:
        page.unlink(missing_ok=True)
    return opened


def _await_reader(page: Path) -> bool:
    """Wait until the file was read, as the time of its last access tells; False where it was not for as long
    as a browser may take, or the file system keeps no such time."""
    deadline = time.monotonic() + READ_WITHIN
    read = False
    while not read and time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            read = page.stat().st_atime > 1
        except FileNotFoundError:  # the session has ended, and its secrets with it
            return True
    if read:
        time.sleep(_SETTLE)
    return read


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Browsers talk on the terminal that they were started from."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)


def print_code(url: str) -> None:
    """The QR code, on stderr; where that is a terminal too narrow for it, how wide it must be."""
    lines = code_lines(url)
    encoding = sys.stderr.encoding
    try:
        "".join(lines).encode(encoding)
    except UnicodeEncodeError:
        click.echo(
            f"The QR code cannot be drawn with the characters of this locale ({encoding}): set "
            "LC_ALL=C.UTF-8 where the terminal itself has them.",
            err=True,
        )
        return
    width = len(lines[0])
    area = Area(sys.stderr)
    if area.columns is not None and area.columns < width:
        click.echo(
            f"The QR code takes {width} columns, and this terminal has {area.columns}: widen it, or make "
            "its letters smaller.",
            err=True,
        )
        return
    # Dark on light in colours of its own, whatever those of the terminal are: not a matter of taste
    # (NO_COLOR), for readers want it so.
    before, after = ("\033[38;5;16;48;5;231m", "\033[0m") if area.live else ("", "")
    for line in lines:
        click.echo(f"{before}{line}{after}", err=True, color=area.live)
    if not area.live:
        click.echo("(drawn for dark letters on a light ground)", err=True)


def code_lines(url: str) -> list[str]:
    """The code in half blocks, two rows of modules a line; a block is dark."""
    import segno

    code = segno.make_qr(url, error="l")
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=_QUIET_ZONE)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    blocks = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(blocks[pair] for pair in zip(*rows, strict=True)) for rows in pairs]
