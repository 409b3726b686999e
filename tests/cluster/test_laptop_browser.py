"""One command on the laptop, and its Chromium shows a cell that ran on a compute node."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Remote

from tests.browser.chromium import chromium
from tests.browser.firefox import firefox
from tests.browser.notebook import run_a_cell
from tests.browser.picture import compose
from tests.browser.test_pages import ARTEFACTS, FOR_THE_DOCUMENTS, PICTURES
from tests.cluster.conftest import Login
from tests.cluster.hosts import Host
from tests.cluster.lab import ALICE
from tests.cluster.laptop import Stand
from tests.cluster.terminal import Terminal
from tests.cluster.test_tunnel import connected
from tests.stands.waiting import until

LARGEST = 200_000  # bytes of the picture


@dataclass(frozen=True)
class OnTheLaptop:
    """Alice at the laptop, for `chromium`."""

    host: Host

    def popen(
        self, command: list[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        return self.host.popen(command, ALICE, env=env, **options)


@pytest.fixture
def shared_home(stand: Stand) -> Iterator[Path]:
    """Make a directory for Chromium that has one path on the laptop and here."""
    directory = stand.clone / "browser-on-the-laptop"
    directory.mkdir()
    os.chown(directory, ALICE.uid, ALICE.uid)
    yield directory
    subprocess.run(["rm", "-rf", str(directory)], check=True)


def picture(browser: Remote, terminal: Terminal, page: Path) -> None:
    """Take the picture of both for the README, and write it there by `make pictures`."""
    address = browser.current_url.partition("?")[0]
    screen = re.sub(r"token=\w+", "token=…", terminal.coloured())
    browser.set_window_size(1200, 600)
    shown = browser.get_screenshot_as_png()
    taken = compose(browser, screen, shown, terminal="alice@laptop", address=address, page=page)
    ARTEFACTS.mkdir(exist_ok=True)
    (ARTEFACTS / "connect.png").write_bytes(taken)
    assert len(taken) < LARGEST
    if FOR_THE_DOCUMENTS:
        (PICTURES / "connect.png").write_bytes(taken)


def test_from_one_command_to_a_cell_that_ran(
    stand: Stand, comet: Login, shared_home: Path, need: Callable[[str], str]
) -> None:
    """On a cluster without an operator, with a firewall that lets in ssh alone; nothing to trust."""
    configuration = stand.write(".config/rps/config.yaml", "proxy: {own: true}\n")
    hosts = stand.write(".config/rps/connect.yaml", "hosts: {comet: {ssh: comet-ln2}}\n", here=True)
    # The program that rps opens as the browser: it notes the page, which the Chromium below is then shown.
    opened = stand.own_home / "opened"
    program = stand.write("browser", "#!/bin/sh\nprintf '%s\\n' \"$1\" >~/opened\n", here=True)
    program.chmod(0o755)

    def use() -> str:
        with chromium(OnTheLaptop(stand.laptop), shared_home, need) as browser:
            terminal.type("export DISPLAY=:0 BROWSER='/home/alice/browser %s'")
            terminal.type("rps connect comet -t 20")
            terminal.until("Opening", 180)
            until(lambda: opened.exists() and opened.read_text(), "the page that is opened")
            browser.get(opened.read_text().strip())
            output = run_a_cell(browser, "import socket; print(socket.gethostname(), 6 * 7)")
            assert re.match(r"http://[a-z-]+\.rps\.localhost:\d+/lab", browser.current_url)
            assert browser.execute_script("return window.isSecureContext")
            terminal.until(r"The tunnel is open until Ctrl-C")
            picture(browser, terminal, shared_home / "picture.html")
            return output

    try:
        with stand.terminal() as terminal:
            output = stand.laptop.in_its_network(use)
            assert re.fullmatch(r"comet-14-0[12] 42", output)
            shown = terminal.until(r"The tunnel is open until Ctrl-C")
            assert "Opening" in shown
            terminal.press("C-c")
            terminal.until("stops it")
    finally:
        configuration.unlink()
        hosts.unlink()
        opened.unlink(missing_ok=True)


# Runs code in a new kernel, by the cookies, calls and websocket that JupyterLab uses.
_RUN = """
(async () => {
  const xsrf = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/)[1];
  const answer = await fetch("/api/kernels", {method: "POST", headers: {"X-XSRFToken": xsrf}, body: "{}"});
  const kernel = await answer.json();
  const socket = new WebSocket(`ws://${location.host}/api/kernels/${kernel.id}/channels`);
  await new Promise((opened, failed) => { socket.onopen = opened; socket.onerror = failed; });
  const header = {msg_id: "1", msg_type: "execute_request", username: "", session: "1", version: "5.3",
                  date: new Date().toISOString()};
  const content = {code: CODE, silent: false};
  const output = new Promise(resolve => {
    socket.onmessage = event => {
      const message = JSON.parse(event.data);
      if (message.msg_type === "stream") resolve(message.content.text);
    };
  });
  socket.send(JSON.stringify({header, content, metadata: {}, parent_header: {}, channel: "shell"}));
  return `${window.isSecureContext} ${await output}`;
})()
"""


def test_firefox_runs_code_through_the_tunnel(
    stand: Stand, comet: Login, shared_home: Path, need: Callable[[str], str]
) -> None:
    configuration = stand.write(".config/rps/config.yaml", "proxy: {own: true}\n")
    profile = shared_home / "profile"
    profile.mkdir()
    os.chown(profile, ALICE.uid, ALICE.uid)
    code = json.dumps("import socket; print(socket.gethostname(), 6 * 7)")

    def use() -> str:
        user = OnTheLaptop(stand.laptop)
        with firefox(user, need, profile, HOME=str(shared_home)) as browser:
            browser.get(running.url)
            return str(browser.evaluate(_RUN.replace("CODE", code)))

    try:
        with connected(stand, "-t", "20") as running:
            assert re.fullmatch(r"true comet-14-0[12] 42\n", stand.laptop.in_its_network(use))
    finally:
        configuration.unlink()
