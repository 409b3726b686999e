"""The service's host, set up by docs/operators.md, and a part of a cluster."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rps_proxy.tls.authority import Authority
from tests.stands.locked_environment import make_venv
from tests.systemd.machine import Machine

PROJECT = Path(__file__).resolve().parents[2]
DOMAIN = "rps.example.org"
HOST, OLD, LOGIN, NODE = "10.20.0.1", "10.20.0.2", "10.20.0.10", "10.20.0.101"
_CONFIGURATION = "etc/rps/proxy.yaml"
_NETWORK = f"""
ip netns add cluster
ip link add eth0 type veth peer name eth0 netns cluster
ip address add {HOST}/24 dev eth0
ip link set eth0 up
ip -n cluster link set lo up
ip -n cluster address add {LOGIN}/24 dev eth0
ip -n cluster address add {NODE}/24 dev eth0
ip -n cluster address add {OLD}/24 dev eth0
ip -n cluster link set eth0 up
"""
# A notebook for a route: it has the session's certificate, if there is one, and answers.
_NOTEBOOK = """
import http.server, ssl, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "8")
        self.end_headers()
        self.wfile.write(b"notebook")

address, port, *certificate = sys.argv[1:]
server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
if certificate:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""


def guide(heading: str) -> list[list[str]]:
    """Return the blocks of commands below a heading of the guide, without comments."""
    fenced = re.compile(r"^ *```\n(.*?)^ *```$", flags=re.MULTILINE | re.DOTALL)
    blocks = fenced.findall(_section(heading))
    return [[line.partition(" #")[0].strip() for line in block.splitlines()] for block in blocks]


def said(heading: str, beginning: str) -> str:
    """Return the one command below a heading of the guide that begins like this."""
    found = re.findall(rf"`({re.escape(beginning)}[^`]*)`", _section(heading))
    (command,) = dict.fromkeys(found)
    return str(command)


def _section(heading: str) -> str:
    text = (PROJECT / "docs/operators.md").read_text()
    assert f"\n## {heading}\n" in text
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@dataclass(frozen=True)
class Session:
    """A name, its claim (none: a satellite session), and its notebook's address."""

    name: str
    claim: str
    port: int


class Proxy:
    """The machine with rps; clients run in its network, at the cluster's addresses."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.units = ["rps-proxy", "rps-proxy-engine"]  # that have a part in it
        self._certificates = 0
        self._next_port = 8888
        self._notebooks: list[subprocess.Popen[str]] = []

    def boot(self) -> None:
        """Switch it on. The notebooks of the cluster are gone."""
        self.machine.boot()
        self.machine.run("bash", "-ec", _NETWORK)

    def pull_the_plug(self) -> None:
        """Kill all that runs on it at once."""
        self.machine.pull_the_plug()
        for notebook in self._notebooks:
            notebook.wait()
        self._notebooks.clear()

    def install(self, wheels: Path) -> None:
        """Follow the guide's "Setting up", from pip to a ready service."""
        disk, run = self.machine.disk, self.machine.run
        (disk / "srv/notebook.py").write_text(_NOTEBOOK)
        shutil.copytree(wheels, disk / "srv/wheels")
        (disk / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /srv/wheels\n")
        with (disk / "etc/hosts").open("a") as hosts:
            hosts.write(f"{HOST} {DOMAIN} manage.{DOMAIN}\n127.0.0.1 proxy\n{NODE} node1\n")
        make_venv(disk / "opt/rps", "pip", relocatable=True)
        installing, starting = guide("Setting up")
        for command in installing:
            run("bash", "-ec", command)
        run("useradd", "--create-home", "alice")
        self.new_certificate()
        self.configure(
            **{
                "domain": DOMAIN,
                "listen": {"address": "::", "port": 443},
                "tls.certificate": "/etc/rps/tls/cert.pem",
                "tls.key": "/etc/rps/tls/key.pem",
                # From the host itself too: Slurm's commands run there, and with them `rps start`.
                "networks": {"issue": [LOGIN, HOST], "redeem": [NODE]},
                "audit.file": "/var/log/rps/audit.log",
                # No agent renews here.
                "lease.length": 3600,
            }
        )
        for command in starting:
            if not command.startswith("curl"):
                run("bash", "-ec", command)
        (asking,) = (command for command in starting if command.startswith("curl"))
        self.until(lambda: self._ready(asking.split()), "the service is ready")

    def _ready(self, command: list[str]) -> bool:
        done = self.machine.run(
            *self.at(LOGIN), *command, "--silent", "--fail", "--cacert", self.ca, "--interface", LOGIN,
            check=False,
        )  # fmt: skip
        return done.returncode == 0 and json.loads(done.stdout) == {"ready": True, "lacking": []}

    def await_ready(self) -> None:
        """Wait until service and engine are up and agree, asked as a login node asks."""
        self.until(
            lambda: self._ready(["curl", f"https://manage.{DOMAIN}/api/v1/ready"]),
            "the service is ready",
        )

    def configure(self, **settings: Any) -> None:
        """Set keys in the configuration, which may be dotted."""
        path = self.machine.disk / _CONFIGURATION
        values = yaml.safe_load(path.read_text())
        for key, value in settings.items():
            *sections, last = key.split(".")
            place = values
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = value
        path.write_text(yaml.safe_dump(values))

    def use(self, engine: str) -> None:
        """Take that engine from now on."""
        self.configure(engine=engine)
        if engine == "embedded":
            self.units = ["rps-proxy"]
            self.machine.run("systemctl", "disable", "--now", "rps-proxy-engine")
        else:
            self.units = ["rps-proxy", "rps-proxy-engine"]
            self.machine.run("systemctl", "enable", "/etc/rps/rps-proxy-engine.service")
        self.restart()

    def until(self, holds: Callable[[], object], what: str, seconds: float = 60) -> None:
        """Wait for something that takes its time.

        If it does not come, fail with what was logged.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                # Without our own questions.
                lines = [line for line in self.journal().splitlines() if "/v1/ready " not in line]
                logged = "\n".join(lines[-60:])
                raise AssertionError(f"{what}: not within {seconds:.0f} s\n{logged}")
            time.sleep(0.1)

    def restart(self) -> None:
        """Restart as the guide says after a change of the configuration."""
        self.machine.run("systemctl", "restart", *self.units)
        self.await_ready()

    def journal(self) -> str:
        """Return the journal of the units, with systemd's lines about them."""
        return self.machine.run("journalctl", "--no-pager", "--unit=rps-*").stdout

    def shown(self, unit: str, *properties: str) -> dict[str, str]:
        """Return a property of a unit."""
        listed = self.machine.run("systemctl", "show", f"--property={','.join(properties)}", unit)
        return dict(line.split("=", 1) for line in listed.stdout.splitlines() if line)

    def main_pid(self, unit: str) -> int:
        """Return the pid of the unit's main process; 0: none."""
        return int(self.shown(unit, "MainPID")["MainPID"])

    @property
    def ca(self) -> str:
        """The CA that visitors trust."""
        return f"/etc/rps/tls/ca{self._certificates}.pem"

    @property
    def ca_directory(self) -> str:
        """Return the directory of that CA, with its key."""
        return f"/root/ca{self._certificates}"

    def new_certificate(self) -> None:
        """Install a certificate of another CA, which visitors trust from now on."""
        self._certificates += 1
        tls = self.machine.disk / "etc/rps/tls"
        tls.mkdir(exist_ok=True)
        own = self.machine.disk / self.ca_directory.lstrip("/")
        authority = Authority(own, "front", DOMAIN)
        leaf = authority.issue([DOMAIN, f"*.{DOMAIN}"], 30)
        (self.machine.disk / self.ca.lstrip("/")).write_bytes(
            authority.certificate_file.read_bytes()
        )
        for name, content in (("key", leaf.key), ("cert", leaf.certificate)):
            (tls / f"{name}.new").write_bytes(content)
        self.machine.run("chgrp", "rps", "/etc/rps/tls/key.new")
        self.machine.run("chmod", "640", "/etc/rps/tls/key.new")
        for name in ("key", "cert"):
            (tls / f"{name}.new").rename(tls / f"{name}.pem")

    def at(self, address: str) -> list[str]:
        """Return the prefix of a command that runs at that address of the cluster."""
        return ["ip", "netns", "exec", "cluster"] if address != HOST else []

    def curl(self, address: str, *arguments: str, check: bool = True) -> str:
        """Run curl at that address of the cluster; return its output."""
        return self.machine.run(
            *self.at(address), "curl", "--silent", "--show-error", "--cacert", self.ca,
            "--interface", address, "--max-time", "30", *arguments, check=check,
        ).stdout  # fmt: skip

    def call(self, address: str, path: str, claim: str = "", body: Any = None) -> dict[str, Any]:
        """Call the API by a POST that must succeed; return its answer."""
        headers = ["--header", f"Authorization: Bearer {claim}"] if claim else []
        answer: dict[str, Any] = json.loads(
            self.curl(
                address, "--fail-with-body", *headers, "--data", json.dumps(body or {}),
                f"https://manage.{DOMAIN}/api/v1/{path}",
            )
        )  # fmt: skip
        return answer

    def page(self, session: Session, *options: str) -> str:
        """Return what a visitor of a session sees; empty without an answer."""
        host = f"{session.name}.{DOMAIN}"
        return self.curl(
            LOGIN, *options, "--resolve", f"{host}:443:{HOST}", f"https://{host}/", check=False
        )

    def issue(self, user: str = "alice") -> Session:
        """Return a name, requested by a login node."""
        given = self.call(LOGIN, "sessions", body={"cluster": "generic", "user": user})
        return self.named(given["name"], given["claim"])

    def named(self, name: str, claim: str = "") -> Session:
        """Return a session of that name, with a port that no other has."""
        self._next_port += 1
        return Session(name, claim, self._next_port)

    def start_notebook(self, session: Session) -> None:
        """Start a notebook on the compute node, with the session's certificate.

        The certificate may be from before a reboot.
        """
        command = ["/usr/bin/python3", "/srv/notebook.py", NODE, str(session.port)]
        if session.claim:
            pem = self.machine.disk / f"srv/{session.name}.pem"
            if not pem.exists():
                given = self.call(NODE, f"sessions/{session.name}/certificate", session.claim)
                pem.write_text(given["certificate"] + given["key"])
            command.append(f"/srv/{pem.name}")
        self._notebooks.append(self.machine.popen(*self.at(NODE), *command))
        probe = [*self.at(NODE), "bash", "-c", f"</dev/tcp/{NODE}/{session.port}"]
        self.until(
            lambda: self.machine.run(*probe, check=False).returncode == 0, "the notebook listens"
        )

    def session(self) -> Session:
        """Return a session with a running notebook and a route."""
        session = self.issue()
        self.start_notebook(session)
        port = {"port": session.port, "job_id": "1"}
        self.call(NODE, f"sessions/{session.name}/redeem", session.claim, port)
        self.await_notebook(session)
        return session

    def await_notebook(self, session: Session) -> None:
        """Wait until a visitor is at the notebook."""
        self.until(lambda: self.page(session) == "notebook", "the notebook is reached")
