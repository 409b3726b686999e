"""The picture at the top of the README: a terminal's screen, and what a browser showed of the same run."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text
from selenium.webdriver import Remote
from selenium.webdriver.common.by import By

_THEME = TerminalTheme(
    (30, 33, 40),
    (216, 222, 233),
    [(59, 66, 82), (224, 108, 117), (126, 198, 153), (229, 192, 123),
     (97, 175, 239), (198, 120, 221), (86, 182, 194), (216, 222, 233)],
)  # fmt: skip
_PAGE = """<!DOCTYPE html><html><meta charset="utf-8"><style>
body {{ margin: 0; padding: 24px; background: #dfe4ea; width: 952px; font-family: sans-serif }}
figure {{ margin: 0; border-radius: 8px; overflow: hidden; box-shadow: 0 3px 14px #0006 }}
figure + figure {{ margin-top: 18px }}
figcaption {{ background: #c3cad3; color: #333; font-size: 13px; padding: 6px 12px }}
pre {{ margin: 0; padding: 12px 14px; background: #1e2128; color: #d8dee9 }}
pre {{ font: 13px/1.35 monospace; white-space: pre-wrap }}
img {{ display: block; width: 952px }}
</style><figure><figcaption>{terminal}</figcaption><pre>{screen}</pre></figure>
<figure><figcaption>{address}</figcaption><img src="data:image/png;base64,{shown}"></figure></html>"""


def compose(
    browser: Remote, screen: str, shown: bytes, *, terminal: str, address: str, page: Path
) -> bytes:
    """Return a PNG of both; `screen` has ANSI's colours, `shown` is a PNG.

    `page` is a file that this writes and the browser can read; `terminal` and `address` are the titles.
    """
    text = _PAGE.format(
        terminal=terminal,
        screen=_html(screen),
        address=address,
        shown=base64.b64encode(shown).decode(),
    )
    page.write_text(text, "utf-8")
    browser.get(page.as_uri())
    height = browser.execute_script("return document.documentElement.scrollHeight")
    browser.set_window_size(1000, height + 300)  # the window's own frame counts
    return browser.find_element(By.TAG_NAME, "body").screenshot_as_png


def _html(screen: str) -> str:
    console = Console(record=True, width=200, file=io.StringIO(), legacy_windows=False)
    console.print(Text.from_ansi(screen), soft_wrap=True)
    return console.export_html(theme=_THEME, inline_styles=True, code_format="{code}").strip()
