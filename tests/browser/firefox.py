"""A headless Firefox with its own way of being driven: WebDriver BiDi, without geckodriver.

https://www.w3.org/TR/webdriver-bidi/ over the websocket of `--remote-debugging-port`.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket  # selenium's own client

from tests.stands.waiting import until

_LISTENING = re.compile(r"WebDriver BiDi listening on (ws://127\.0\.0\.1:\d+)")


class Firefox:
    """A session with a running Firefox."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(
            f"{address}/session", timeout=120, suppress_origin=True
        )
        self._last = 0
        self.send("session.new", capabilities={})
        self._tab = self.send("browsingContext.getTree")["contexts"][0]["context"]

    def send(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result.

        Raises:
            RuntimeError: Firefox reports an error.
        """
        self._last += 1
        self._socket.send(json.dumps({"id": self._last, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") != self._last:
                continue  # an event
            if answer["type"] == "error":
                raise RuntimeError(answer["message"])
            return answer["result"]

    def get(self, url: str) -> None:
        """Load a page.

        Raises:
            RuntimeError: it cannot be loaded, as with a certificate that is not trusted.
        """
        self.send("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        target = {"context": self._tab}
        answer = self.send(
            "script.evaluate", expression=expression, target=target, awaitPromise=True
        )
        return answer["result"].get("value")

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


@contextmanager
def firefox(user: Any, need: Callable[[str], str], profile: Path, **env: str) -> Iterator[Firefox]:
    """Start a Firefox of the user with this profile, which it makes if empty."""
    program = need("firefox-esr")
    log = profile.parent / "firefox.log"
    command = [
        program,
        "--headless",
        "--no-remote",
        "--profile",
        str(profile),
        "--remote-debugging-port",
        "0",
    ]

    with log.open("w") as output:
        # Where it cannot write the configuration it never listens: it creates `mozilla` there first.
        own = {"HOME": str(profile), "XDG_CONFIG_HOME": str(profile / ".config")}
        environment = {**own, **env}
        process = user.popen(command, stdout=output, stderr=output, env=environment)
    try:
        try:
            (address,) = until(lambda: _LISTENING.findall(log.read_text()), "Firefox")
        except AssertionError as error:
            raise AssertionError(f"{error}; its output: {log.read_text()}") from None
        running = Firefox(address)
        try:
            yield running
        finally:
            running.close()
    finally:
        end(process)


def end(process: Any) -> None:
    """End a Firefox, also one that does not react."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
