"""The satellite's host beside the one of proxy.py, and a DNS that selects one."""

from __future__ import annotations

import shlex
import shutil
import subprocess

from tests.systemd.proxy import DOMAIN, LOGIN, NODE, OLD, PROJECT, Proxy, Session

_SATELLITE = """
import pathlib, sys
from tests.stands.satellite import SatelliteServer

domain, address, ca = sys.argv[1:]
satellite = SatelliteServer(
    pathlib.Path("/srv/satellite"), domain, ca=pathlib.Path(ca), address=address, port=443
)
satellite.cron_runs_by_itself = True
print("listens", flush=True)
sys.stdin.read()
"""


class Moving:
    """Both hosts, and clients that reach one of them by DNS."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        machine = proxy.machine
        self._hosts = machine.disk / "etc/hosts"
        self._before = self._hosts.read_text()
        self._wildcard = OLD
        self._own: dict[str, str] = {}  # records, from host name to address
        shutil.copytree(
            PROJECT / "tests", machine.disk / "srv/tests", dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )  # fmt: skip
        (machine.disk / "srv/satellite").mkdir(exist_ok=True)
        self._satellite = machine.popen(
            *proxy.at(OLD), "env", "PYTHONPATH=/srv", "/opt/rps/bin/python", "-c", _SATELLITE, DOMAIN, OLD,
            proxy.ca_directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._satellite.stdout
        assert self._satellite.stdout.readline() == "listens\n"
        self.point(OLD)

    def close(self) -> None:
        """DNS is as it was, and the old host is gone."""
        self._hosts.write_text(self._before)
        self._satellite.communicate("", timeout=60)

    def point(self, address: str, **own: str) -> None:
        """Point the domain, and all names below it, to that host.

        Names in `own` have records of their own, which take precedence. There is no DNS server: curl gets
        `--resolve`, other programs read /etc/hosts, which has no wildcards.
        """
        self._wildcard, self._own = address, own
        others = [line for line in self._before.splitlines() if DOMAIN not in line]
        lines = [*others, f"{address} {DOMAIN} manage.{DOMAIN}"]
        self._hosts.write_text("\n".join(lines) + "\n")

    def guides(self, command: str, address: str) -> str:
        """Run a curl command of the guide at that address; return its output."""
        program, *words = shlex.split(command)
        assert program == "curl"
        return self.proxy.curl(address, "--fail", *words)

    def asks(self, address: str, script: str, to: str = "", status: int = 200) -> str:
        """Return the answer to a client at that address, of DNS's host or of `to`."""
        message = self.proxy.curl(
            address, "-s", "-w", "%{http_code}", *self._resolve("manage", to),
            f"https://manage.{DOMAIN}/{script}",
        )  # fmt: skip
        assert message.endswith(str(status)), message
        return message.removesuffix(str(status))

    def satellite_client(self, to: str = "") -> Session:
        """Return a client with a name, as `start-jupyter` reads it, whose job waits."""
        answer = self.asks(LOGIN, "getlink.cgi", to)
        assert not answer.startswith("Oops!"), answer
        return self.proxy.named(answer.split()[-1])

    def job_starts(self, session: Session) -> str:
        """Return the answer to a satellite client's job that redeems the name.

        Its notebook is up.
        """
        self.proxy.start_notebook(session)
        return self.asks(NODE, f"redeemtoken.cgi?token={session.name}&port={session.port}")

    def visit(self, session: Session, to: str = "") -> str:
        """Return what the URL shows."""
        return self.proxy.curl(
            LOGIN, *self._resolve(session.name, to), f"https://{session.name}.{DOMAIN}/?token=0123"
        )

    def is_reached(self, session: Session) -> bool:
        """Return whether the URL leads to the notebook."""
        return self.visit(session) == "notebook"

    def await_notebook(self, session: Session) -> None:
        """Wait until it does."""
        self.proxy.until(lambda: self.is_reached(session), "the notebook is reached")

    def rps(self, *arguments: str, check: bool = True) -> str:
        """Return rps's output on a host with Slurm, for a user of this domain."""
        return self.proxy.machine.run(
            "env", "HOME=/home/alice", f"RPS_PROXY_DOMAIN={DOMAIN}", f"RPS_PROXY_CA_FILE={self.proxy.ca}",
            "rps", *arguments, user="alice", check=check,
        ).stdout.strip()  # fmt: skip

    def _resolve(self, label: str, to: str) -> list[str]:
        host = f"{label}.{DOMAIN}"
        address = to or self._own.get(host, self._wildcard)
        return ["--resolve", f"{host}:443:{address}"]
