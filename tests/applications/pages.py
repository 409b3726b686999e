"""What the applications of the tests show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from selenium.webdriver import Remote

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
    print("marimo says", 6 * 7)
    return

if __name__ == "__main__":
    app.run()
"""
_PROJECT = Path(__file__).resolve().parents[2]
# `make pictures`; a test's own environment has no such variable.
_PICTURES = _PROJECT / (
    "docs/pictures/applications" if os.environ.get("RPS_PICTURES") else "artefacts"
)


def picture(browser: Remote, name: str) -> None:
    """Keep what the browser shows: in docs/ with RPS_PICTURES=1, else in artefacts/."""
    _PICTURES.mkdir(exist_ok=True)
    assert browser.save_screenshot(str(_PICTURES / f"{name}.png"))


def write(user: Any, path: Path, content: str) -> Path:
    """Write a file of the user."""
    path.write_text(content, "utf-8")
    os.chown(path, user.uid, user.gid)
    return path
