"""Show notices in the browser's tabs, and save their documents.

Read by the configuration that the agent gives Jupyter (Jupyter Server with JupyterLab or Notebook 7), so
it runs in Jupyter's process and by Jupyter's Python, 3.6 or newer. `tab.js` is its counterpart in the page.

- `/api/rps/tab`: a websocket for each tab. To it: `{"show": {"kind": …, …}}`, `{"withdraw": KIND}`,
  `{"save": NUMBER, "seconds": …}`. From it: `{"saved": NUMBER, "left": [PATHS]}`, `{"stay": true}`.
- `POST /api/rps/tabs`: the agent's. The same `show` and `withdraw`; `{"save": SECONDS}` is answered when
  every tab has saved, or the time is up. Answer: `tabs` (open ones), `stayed` (how often a user asked for
  the session to stay), and after a save `saved` (tabs that answered) and `left` (documents unsaved).
"""

import asyncio
import json
import os
import time
from typing import Any, Dict, Set, Tuple

from jupyter_server.base.handlers import JupyterHandler
from tornado import web, websocket

try:
    from jupyter_server.base.websocket import WebSocketMixin
except ImportError:  # Jupyter Server 1
    from jupyter_server.base.zmqhandlers import WebSocketMixin  # type: ignore

SECTIONS = ("LabServerApp", "LabApp", "JupyterNotebookApp")


class Tabs:
    """All tabs of the session."""

    def __init__(self) -> None:
        self.open: Set[Tab] = set()
        # kind -> the notice, and when its `left` was true; for tabs that come later
        self.shown: Dict[str, Tuple[Dict[str, Any], float]] = {}
        self.stayed = 0
        self.saves = 0

    def show(self, notice: Dict[str, Any]) -> None:
        """Show a notice in each present and future tab, one of each kind."""
        self.shown[notice["kind"]] = (notice, time.monotonic())
        self.send({"show": notice})

    def withdraw(self, kind: str) -> None:
        """Take a notice away."""
        self.shown.pop(kind, None)
        self.send({"withdraw": kind})

    def send(self, message: Dict[str, Any]) -> None:
        """Say it to every tab."""
        for tab in list(self.open):
            tab.send(message)

    def catch_up(self, tab: "Tab") -> None:
        """Send a new tab the notices that are shown."""
        for notice, since in self.shown.values():
            left = notice.get("left")
            if left is not None:
                notice = dict(notice, left=max(0, left - (time.monotonic() - since)))
            tab.send({"show": notice})

    async def save(self, seconds: float) -> Dict[str, Any]:
        """Have every tab save what is open in it."""
        self.saves += 1
        asked = list(self.open)
        self.send({"save": self.saves, "seconds": seconds})
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if all(tab.answered == self.saves for tab in asked):
                break
            await asyncio.sleep(0.05)
        done = [tab for tab in asked if tab.answered == self.saves]
        return {"saved": len(done), "left": sorted({path for tab in done for path in tab.left})}


TABS = Tabs()


class Tab(WebSocketMixin, JupyterHandler, websocket.WebSocketHandler):
    """One tab."""

    answered = 0  # the last save that it has made
    left: Tuple[str, ...] = ()  # what that could not save

    async def get(self, *arguments: Any, **options: Any) -> None:
        """Accept a connection only of an authenticated user."""
        if self.current_user is None:
            raise web.HTTPError(403)
        await super().get(*arguments, **options)

    def open(self, *arguments: Any, **options: Any) -> None:
        """Register the tab."""
        super().open(*arguments, **options)
        TABS.open.add(self)
        TABS.catch_up(self)

    def on_message(self, message: Any) -> None:
        """Take a message of the tab."""
        said = json.loads(message)
        if said.get("stay"):
            TABS.stayed += 1
        if "saved" in said:
            self.left = tuple(str(path) for path in said.get("left", ()))[:100]
            self.answered = said["saved"]

    def on_close(self) -> None:
        """Remove the tab."""
        TABS.open.discard(self)
        super().on_close()

    def send(self, message: Dict[str, Any]) -> None:
        """Say something to it, if it is still there."""
        try:
            self.write_message(json.dumps(message))
        except websocket.WebSocketClosedError:
            TABS.open.discard(self)


class Agent(JupyterHandler):
    """What the session's agent says to all tabs."""

    @web.authenticated
    async def post(self) -> None:
        """Refuse a page's request: another session's page could show its text here."""
        if "Origin" in self.request.headers or "Sec-Fetch-Site" in self.request.headers:
            raise web.HTTPError(403, "for the session's agent alone")
        said = json.loads(self.request.body.decode())
        answer = {}
        if "show" in said:
            TABS.show(said["show"])
        if "withdraw" in said:
            TABS.withdraw(said["withdraw"])
        if "save" in said:
            answer = await TABS.save(said["save"])
        self.finish(dict(answer, tabs=len(TABS.open), stayed=TABS.stayed))


def install(config: Any, application: Any, directory: str) -> None:
    """Add the tabs' handlers and the extension in `directory` to the application."""
    original = application.init_webapp

    def init_webapp(self: Any, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self.web_app.add_handlers(".*$", [("/api/rps/tab", Tab), ("/api/rps/tabs", Agent)])

    application.init_webapp = init_webapp
    path = os.path.join(directory, "labextensions")
    for section in SECTIONS:
        given = config[section].get("extra_labextensions_path")
        given = given if isinstance(given, list) else []  # it may be a promise of one
        if given or section == SECTIONS[0]:
            config[section].extra_labextensions_path = [path, *given]
