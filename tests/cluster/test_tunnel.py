"""`rps connect` to a personal service: the tunnel from the laptop to a Unix socket on the login node."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.cluster.conftest import Login
from tests.cluster.lab import ALICE
from tests.cluster.laptop import Stand
from tests.cluster.network import ADDRESSES, LAPTOP, cut
from tests.cluster.test_connect import NO_CONNECTION, second_factor, totp
from tests.stands.waiting import until


@pytest.fixture
def personal(stand: Stand) -> Iterator[Stand]:
    """Have alice use her personal service on Comet."""
    path = stand.write(".config/rps/config.yaml", "proxy: {own: true}\n")
    yield stand
    path.unlink()


@dataclass(frozen=True)
class Running:
    """An `rps connect` that holds a tunnel; its output goes to files on the laptop."""

    stand: Stand
    process: subprocess.Popen[str]
    stdout: Path
    stderr: Path

    @property
    def url(self) -> str:
        """Return the last URL that it printed."""
        until(lambda: "\n" in self.stdout.read_text() or self.ended(), "the URL", 120)
        return self.stdout.read_text().splitlines()[-1]

    def ended(self) -> bool:
        code = self.process.poll()
        assert code is None, f"{code}: {self.stderr.read_text()}"
        return False

    def answers(self) -> bool:
        """Return whether the notebook answers at the URL, from the laptop."""
        parts = urlsplit(self.url)

        def ask() -> int | None:
            server = http.client.HTTPConnection("127.0.0.1", parts.port or 0, timeout=5)
            try:
                server.request("GET", f"/api/status?{parts.query}", headers={"Host": parts.netloc})
                return server.getresponse().status
            except (OSError, http.client.HTTPException):
                return None
            finally:
                server.close()

        return self.stand.laptop.in_its_network(ask) == 200

    def await_message(self, text: str, times: int = 1) -> None:
        until(lambda: self.stderr.read_text().count(text) >= times or self.ended(), text, 90)

    def send(self, number: signal.Signals) -> int:
        """Send a signal as a terminal does; return the exit code."""
        found = subprocess.run(
            ["pgrep", "--parent", str(self.process.pid)], capture_output=True, text=True
        )
        for pid in found.stdout.split():  # the process below nsenter
            os.kill(int(pid), number)
        return self.process.wait(30)


@contextmanager
def connected(stand: Stand, *arguments: str, host: str = "comet-ln2") -> Iterator[Running]:
    """Run `rps connect` in the background, until the URL is there."""
    files = [
        stand.write(f"connect.{kind}.{host}{len(arguments)}", "", here=True)
        for kind in ("out", "err")
    ]
    with ExitStack() as stack:
        out, err = (stack.enter_context(path.open("w")) for path in files)
        # A shell has programs in the background ignore SIGINT; this has none.
        process = stand.laptop.popen(
            [str(stand.clone / "rps"), "connect", host, "--no-browser", *arguments],
            ALICE, stdout=out, stderr=err, start_new_session=True,
        )  # fmt: skip
        running = Running(stand, process, *files)
        try:
            assert running.url.startswith("http://")
            yield running
        finally:
            running.send(signal.SIGTERM)


def test_a_tunnel_that_is_cut_comes_back_by_itself(personal: Stand, comet: Login) -> None:
    with connected(personal, "-t", "20") as running:
        parts = urlsplit(running.url)
        [session] = json.loads(comet.rps("list", "--json").stdout)
        assert parts.hostname == f"{session['name']}.rps.localhost"
        assert parts.port == session["tunnel"]["port"]
        assert running.answers()
        with cut(personal.cluster.router, ADDRESSES[LAPTOP][0]):
            running.await_message("Connecting again until it succeeds")
            assert not running.answers()
        running.await_message("is open again")
        assert running.answers()
        assert len(running.stdout.read_text().splitlines()) == 1  # the URL is the same
        # The same for a service that was killed, with the session running.
        killed = comet.run("pkill", "-KILL", "-f", "rps_proxy.personal")
        assert killed.returncode == 0
        until(lambda: not running.answers(), "the end of the service")
        until(running.answers, "the service that was started again", 90)
        # And for the session's end, which ends the command.
        comet.rps("stop", session["name"])
        assert running.process.wait(90) == 0
        assert f"{session['name']} has ended" in running.stderr.read_text()


def test_two_computers_use_one_session_and_a_port_that_is_taken_is_left_alone(
    personal: Stand, comet: Login
) -> None:
    with connected(personal, "-t", "20") as first, connected(personal) as second:
        ports = [urlsplit(one.url).port for one in (first, second)]
        assert ports[1] == (ports[0] or 0) + 1
        assert urlsplit(first.url).hostname == urlsplit(second.url).hostname
        assert first.answers()
        assert second.answers()

        def connect_to_each_loopback_address() -> None:
            # Browsers take `localhost` for either: no other user of the laptop may have the port at one.
            for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with socket.socket(family) as client:
                    client.connect((address, ports[0]))

        personal.laptop.in_its_network(connect_to_each_loopback_address)
        firm = personal.connect("comet-ln2", "--port", str(ports[0]), check=False)
        assert firm.returncode == 2
        assert f"Port {ports[0]} of this computer is taken" in firm.stderr
        assert "--port" in firm.stderr
        # One leaves; the other one and the session stay.
        name = (urlsplit(first.url).hostname or "").partition(".")[0]
        assert first.send(signal.SIGINT) == 130
        assert (
            f"{name} continues. `rps connect comet-ln2` goes on with it" in first.stderr.read_text()
        )
        assert second.answers()
    printed = personal.connect("comet-ln2", "--url")
    assert printed.stdout.startswith(f"http://{name}.rps.localhost:{ports[0]}/")
    command = next(line.strip() for line in printed.stderr.splitlines() if "ssh -N -L" in line)
    assert command.endswith("browser.sock comet-ln2")
    assert comet.rps("url", "--ssh").stdout.startswith(f"ssh -N -L {ports[0]}:/var/tmp/rps-")


def test_a_site_that_forbids_forwarding(personal: Stand, comet: Login) -> None:
    name = json.loads(comet.rps("start", "--wait", "--json", "-t", "20").stdout)["name"]
    for line in ("AllowTcpForwarding no", "AllowStreamLocalForwarding no", "DisableForwarding yes"):
        with personal.login_node.configured(line):
            done = personal.connect("comet-ln2", "--no-browser", check=False)
        assert done.returncode == NO_CONNECTION, done.stderr
        assert "comet-ln2 forwards no connections: its sshd forbids it" in done.stderr
        assert f"{name} continues. `rps connect comet-ln2` goes on with it" in done.stderr
        assert done.stdout == ""
    assert comet.status(name)["state"] == "ready"


def test_a_service_on_another_login_node_is_reached_through_the_one_that_answers(
    personal: Stand, comet: Login
) -> None:
    with connected(personal, "-t", "20", host="comet-ln3") as there:
        name = urlsplit(there.url).hostname
        assert comet.rps("list", "--json").stdout.count('"comet-ln3.local"') == 1
        over_ssh = {"SSH_CONNECTION": "203.0.113.60 40000 10.77.0.10 22"}
        assert re.fullmatch(
            r"ssh -N -J alice@10\.77\.0\.10 -L \d+:/var/tmp/\S+ alice@comet-ln3\.local\n",
            comet.rps("url", "--ssh", env=over_ssh).stdout,
        )
        with connected(personal) as running:
            assert urlsplit(running.url).hostname == name
            assert "The service runs on comet-ln3.local: connecting to it through comet-ln2" in (
                running.stderr.read_text()
            )
            assert running.answers()


def test_a_login_node_that_reboots(personal: Stand, comet: Login) -> None:
    """The service, its tunnel and the session's route are back, at the URL that the browser has."""
    host = personal.other.daemon.host
    with connected(personal, "-t", "20", host=host.name) as running:
        assert running.answers()
        name = (urlsplit(running.url).hostname or "").partition(".")[0]
        host.end()
        running.await_message("Connecting again until it succeeds")
        personal.cluster.revive(host.name)
        personal.other.boot()
        running.await_message("is open again")
        until(running.answers, "the notebook", 90)
        assert len(running.stdout.read_text().splitlines()) == 1
        assert comet.status(name)["state"] == "ready"


def test_a_host_that_asks_for_a_code_asks_again_when_the_user_is_there(
    personal: Stand, comet: Login
) -> None:
    comet.rps("start", "--wait", "--quiet", "-t", "20")
    with personal.terminal() as terminal:
        terminal.type("rps connect comet-ln2 --no-browser")
        terminal.until("The tunnel is open until Ctrl-C")
        with second_factor(personal):
            with cut(personal.cluster.router, ADDRESSES[LAPTOP][0]):
                terminal.until("Connecting again until it succeeds")
            terminal.until(r"it did not accept the login\. Press Enter to log in again: ?$", 90)
            assert "Verification code" not in terminal.screen()
            terminal.press("Enter")
            terminal.until(r"Verification code: ?$")
            terminal.answer(totp())
            terminal.until("The tunnel to .* is open again")
        terminal.press("C-c")
        terminal.until("stops it")
