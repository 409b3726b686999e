"""The browser's file, and the QR code on every kind of terminal."""

from __future__ import annotations

import io
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import zxingcpp

from rps_core.display import browser as opening
from rps_core.display.live import LiveRegion
from rps_core.sessions.session import SessionView
from rps_core.state.record import Secrets
from rps_core.state.store import Store
from rps_core.system import paths
from tests.stands.record import RECORD

URL = "https://three-random-words.comet-user-content.sdsc.edu/?token=" + 2 * "0123456789abcdef"


@pytest.fixture
def session() -> SessionView:
    return SessionView(record=RECORD, state="ready", reason=None, url=f'{URL}&a="<')


class Browser(webbrowser.BaseBrowser):
    """A browser's command that writes its argument to the file."""

    def __init__(self, do: Callable[[Path], None]) -> None:
        super().__init__()
        self._do = do

    def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
        assert "token" not in url
        self._do(Path(unquote(urlsplit(url).path)))
        return True


def test_without_a_display_there_is_no_browser(
    session: SessionView, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not opening.in_browser(session.record.name, str(session.url))
    monkeypatch.setenv("DISPLAY", ":1")

    def none_at_all() -> None:
        raise webbrowser.Error

    monkeypatch.setattr(webbrowser, "get", none_at_all)
    assert not opening.in_browser(session.record.name, str(session.url))


def test_the_file_is_private_escaped_and_removed_once_it_was_read(
    session: SessionView, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def read(page: Path) -> None:
        assert page.stat().st_mode & 0o777 == 0o600
        # A browser that is a snap sees no hidden directory of a home, and another /tmp.
        assert not [part for part in page.relative_to(paths.home()).parts if part.startswith(".")]
        seen.append(page.read_text())
        seen.append(str(page))

    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setattr(opening, "_SETTLE", 0.0)
    monkeypatch.setattr(webbrowser, "get", lambda: Browser(read))
    assert opening.in_browser(session.record.name, str(session.url))
    assert f'url={URL}&amp;a=&quot;&lt;"' in seen[0]
    assert not Path(seen[1]).exists()


def test_a_session_that_ends_meanwhile_takes_the_file_along(
    session: SessionView, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.create(RECORD, Secrets("claim", "token"))
    monkeypatch.setenv("DISPLAY", ":1")

    def end(page: Path) -> None:
        assert page.exists()
        store.files(RECORD.name).remove_secrets()
        assert not page.exists()

    monkeypatch.setattr(webbrowser, "get", lambda: Browser(end))
    assert opening.in_browser(session.record.name, str(session.url))


def test_a_browser_that_exits_silently_does_not_count_as_opened(
    session: SessionView, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DISPLAY outlives the connection that it was of; the URL is then printed."""
    monkeypatch.setenv("DISPLAY", ":1")
    monkeypatch.setattr(opening, "READ_WITHIN", 0.0)
    monkeypatch.setattr(webbrowser, "get", lambda: Browser(lambda _: None))
    assert not opening.in_browser(session.record.name, str(session.url))
    assert "No browser has opened it yet" in capsys.readouterr().err
    monkeypatch.setattr(Browser, "open", lambda *_: False)
    assert not opening.in_browser(session.record.name, str(session.url))
    assert capsys.readouterr().err == ""
    assert not list(paths.home().glob("rps*"))


def test_a_locale_without_block_characters_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), "iso8859-1", "backslashreplace", write_through=True)
    monkeypatch.setattr(sys, "stderr", stream)
    opening.print_code(URL)
    message = stream.buffer.getvalue().decode()
    assert "encoding (iso8859-1) lacks its characters" in message
    assert "u2588" not in message


def test_a_reader_of_codes_reads_the_url(capsys: pytest.CaptureFixture[str]) -> None:
    """Test the printed code as a picture with four pixels a module."""
    opening.print_code(URL)
    *printed, note = capsys.readouterr().err.splitlines()
    assert "dark text" in note
    rows = []
    for line in printed:
        for dark in ("█▀", "█▄"):
            rows += 4 * [b"".join((b"\0" if half in dark else b"\xff") * 4 for half in line)]
    picture = memoryview(b"".join(rows)).cast("B", (len(rows), len(rows[0])))
    assert [code.text for code in zxingcpp.read_barcodes(picture)] == [URL]


def test_a_terminal_that_is_too_narrow_for_the_code_gets_the_width_it_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LiveRegion, "columns", 40)
    opening.print_code(URL)
    assert "needs 41 columns, the terminal has 40" in capsys.readouterr().err
    monkeypatch.setattr(LiveRegion, "columns", 41)
    opening.print_code(URL)
    shown = capsys.readouterr().err
    assert shown.count("█▀▀▀▀▀█") == 3  # the three corners by which it is found
    assert "dark text on a light background" in shown
    assert "\033" not in shown


def test_on_a_terminal_the_code_has_colours_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test explicit colours, for dark and light terminals alike."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(opening, "LiveRegion", lambda _: LiveRegion(stream))
    opening.print_code(URL)
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("\033[38;5;16;48;5;231m") for line in lines)
    assert all(line.endswith("\033[0m") for line in lines)
