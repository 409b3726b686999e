"""`rps open`: open a session in a browser, or print a QR code for a phone."""

from __future__ import annotations

import contextlib
import html
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from rps_core.display.live import LiveRegion
from rps_core.state.session_dir import SessionFiles
from rps_core.system import paths

READ_WITHIN = 20.0  # seconds for a browser to start and read the file
_SETTLE = 2.0  # seconds after the first access, which may be that of xdg-open
_QUIET_ZONE = 2  # modules around a code; the standard requires 4, readers accept 2

# Every user of the host can read argument lists and connect to its ports: the token must not be there. The
# browser gets a file that only the user can read and that redirects to the session.
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0;url={url}"><title>{name}</title></head>
<body><p><a href="{url}">{name}</a></p></body></html>
"""


def has_display() -> bool:
    """Return whether this process can show windows, as far as can be known; macOS has no variable for it."""
    variables = ("DISPLAY", "WAYLAND_DISPLAY")
    return sys.platform == "darwin" or any(os.environ.get(name) for name in variables)


def in_browser(name: str, url: str) -> bool:
    """Open the session of this name; return False if no browser of this host shows it."""
    if not has_display():
        return False
    import webbrowser

    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    path = paths.page_to_open(name)
    paths.check(path.parent, "`rps url` prints the URL without writing a file there.")
    text = _PAGE.format(url=html.escape(url), name=html.escape(name))
    page = SessionFiles(path.parent).write(path.name, text, lasting=False)
    try:
        os.utime(page, (0, page.stat().st_mtime))
        with _silenced():
            opened = browser.open(page.as_uri())
        if opened:
            click.echo(f"Opening {name} in your browser.", err=True)
            opened = _await_reader(page)
            # If the display of DISPLAY is gone, a browser exits without an error.
            if not opened:
                click.echo("No browser has opened it yet. If none does, use this URL:", err=True)
    finally:
        page.unlink(missing_ok=True)
    return opened


def _await_reader(page: Path) -> bool:
    """Wait until the file's access time shows that it was read.

    False after `READ_WITHIN`, or if the file system keeps no access times.
    """
    deadline = time.monotonic() + READ_WITHIN
    read = False
    while not read and time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            read = page.stat().st_atime > 1
        except FileNotFoundError:  # the session has ended: its secrets were removed
            return True
    if read:
        time.sleep(_SETTLE)
    return read


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Redirect the browser's output, which would go to the terminal."""
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
    """Print the QR code on stderr, or why it cannot be drawn there."""
    lines = code_lines(url)
    encoding = sys.stderr.encoding
    try:
        "".join(lines).encode(encoding)
    except UnicodeEncodeError:
        click.echo(
            f"Cannot draw the QR code: the locale's encoding ({encoding}) lacks its characters. Set "
            "LC_ALL=C.UTF-8 if the terminal supports it.",
            err=True,
        )
        return
    width = len(lines[0])
    area = LiveRegion(sys.stderr)
    if area.columns is not None and area.columns < width:
        click.echo(
            f"Cannot draw the QR code: it needs {width} columns, the terminal has {area.columns}. Widen "
            "the terminal or use a smaller font.",
            err=True,
        )
        return
    # Always dark on light, also with NO_COLOR: many QR readers need it.
    before, after = ("\033[38;5;16;48;5;231m", "\033[0m") if area.live else ("", "")
    for line in lines:
        click.echo(f"{before}{line}{after}", err=True, color=area.live)
    if not area.live:
        click.echo("(for a terminal with dark text on a light background)", err=True)


def code_lines(url: str) -> list[str]:
    """Return the code as lines of half blocks, two rows of modules per line."""
    import segno

    code = segno.make_qr(url, error="l")
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=_QUIET_ZONE)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    blocks = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(blocks[pair] for pair in zip(*rows, strict=True)) for rows in pairs]
