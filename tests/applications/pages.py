"""What the tests' applications are made of, what they show, and what docs/applications.md says of them."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Remote
from selenium.webdriver.support.wait import WebDriverWait

STREAMLIT = """\
import os
import streamlit as st
st.title("Streamlit here")
if st.button("press"):
    st.write("pressed in " + os.getcwd())
sent = st.file_uploader("file")
if sent:
    st.write("got %d bytes" % len(sent.getvalue()))
"""


SECOND = """\
import streamlit as st
st.title("The second page")
"""
PANEL = """\
import panel as pn
words = pn.widgets.TextInput(name="words")
sent = pn.widgets.FileInput()
pn.Column(
    "# Panel here",
    words,
    pn.bind(lambda text: "echo " + text, words),
    sent,
    pn.bind(lambda content: "got %d bytes" % len(content or b""), sent),
).servable()
"""
DASH = """\
import base64
from dash import Dash, Input, Output, dcc, html
app = Dash(__name__)
app.layout = html.Div([
    dcc.Location(id="place"), html.H1("Dash here"), html.P(id="at"), dcc.Input(id="words"), html.P(id="echo"),
    dcc.Upload(html.Button("send"), id="sent"), html.P(id="got"),
])
@app.callback(Output("at", "children"), Input("place", "pathname"))
def at(path):
    return "at %s" % path
@app.callback(Output("echo", "children"), Input("words", "value"))
def echo(text):
    return "echo %s" % text
@app.callback(Output("got", "children"), Input("sent", "contents"))
def got(content):
    return "got %d bytes" % len(base64.b64decode((content or ",").split(",")[1]))
app.run()
"""
MARIMO = """\
import marimo
app = marimo.App()

@app.cell
def _():
    import marimo as mo
    print("marimo says", 6 * 7)
    sent = mo.ui.file()
    sent
    return (sent,)

@app.cell
def _(sent):
    print("got", len(sent.contents() or b""), "bytes")
    return

if __name__ == "__main__":
    app.run()
"""
_VOILA = """\
import ipywidgets as w
press, sent, shown = w.Button(description="press"), w.FileUpload(), w.Label("nothing yet")
def pressed(_):
    shown.value = "pressed in the kernel"
def got(_):
    shown.value = "got %d bytes" % len(sent.value[0].content)
press.on_click(pressed)
sent.observe(got, "value")
display(w.HTML("<h1>Voilà here</h1>"), w.IntSlider(42, description="answer"), press, sent, shown)
print("voila says", 6 * 7)
"""
_CELL: dict[str, Any] = {
    "cell_type": "code",
    "id": "one",
    "source": _VOILA,
    "outputs": [],
    "execution_count": None,
}
VOILA = json.dumps(
    {"cells": [_CELL | {"metadata": {}}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
)
_PROJECT = Path(__file__).resolve().parents[2]
DOCUMENT = _PROJECT / "docs" / "applications.md"
PATIENCE = 120  # seconds
# `make pictures`; a test's own environment has no such variable.
_FOR_THE_DOCUMENT = bool(os.environ.get("RPS_PICTURES"))
_PICTURES = _PROJECT / ("docs/pictures/applications" if _FOR_THE_DOCUMENT else "artefacts")


def picture(browser: Remote, name: str) -> None:
    """Keep what the browser shows: in docs/ with RPS_PICTURES=1, once nothing moves, else in artefacts/."""
    shown = browser.get_screenshot_as_png()
    for _ in range(30 if _FOR_THE_DOCUMENT else 0):
        time.sleep(1)
        before, shown = shown, browser.get_screenshot_as_png()
        if shown == before:
            break
    _PICTURES.mkdir(exist_ok=True)
    (_PICTURES / f"{name}.png").write_bytes(shown)


def write(user: Any, path: Path, content: str) -> Path:
    """Write a file of the user."""
    path.write_text(content, "utf-8")
    os.chown(path, user.uid, user.gid)
    return path


def text(browser: Remote) -> str:
    """Return what the page shows, in its frames and in shadow trees too."""
    found = browser.execute_script(
        """
        const of = (node) => [...node.childNodes].map((child) =>
          child.nodeType === 3 ? child.data : ["SCRIPT", "STYLE"].includes(child.nodeName) ? "" :
          of(child) + (child.shadowRoot ? of(child.shadowRoot) : "")).join(" ");
        return of(document.body);
        """
    )
    return str(found)


def shows(browser: Remote, words: str) -> None:
    """Wait until the page shows these words."""

    def there(_: object) -> bool:
        try:
            return words in text(browser)
        except WebDriverException:  # between two pages
            return False

    try:
        WebDriverWait(browser, PATIENCE).until(there)
    except WebDriverException:
        raise AssertionError(f"{browser.current_url} shows no `{words}`: {text(browser)}") from None


def inside(browser: Remote, selector: str) -> Any:
    """Wait for an element, in shadow trees too, and return it."""
    script = """
    const find = (root) => root.querySelector(arguments[0]) ||
      [...root.querySelectorAll("*")].map((one) => one.shadowRoot && find(one.shadowRoot)).find(Boolean);
    return find(document) || null;
    """
    return WebDriverWait(browser, PATIENCE).until(lambda b: b.execute_script(script, selector))


def documented(name: str) -> list[str]:
    """Return whether websockets, uploads and deep links work, as the document says."""
    row = re.search(
        rf"^\| `{name}`(?: \(stand-in\))? \|(.*)\|$",
        DOCUMENT.read_text().partition("## What works")[2],
        re.M,
    )
    assert row, name
    return [cell.strip() for cell in row[1].split("|")]


def keep_file_fields(browser: Remote) -> None:
    """Have the page keep its fields for files, which some show the user's browser and never the page."""
    browser.execute_script(
        """
        HTMLInputElement.prototype.click = function () {
          this.remove = () => {};
          document.body.append(this);
        };
        """
    )
