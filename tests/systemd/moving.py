"""The host with the older service, beside the one of proxy.py, and the DNS that leads to one of them."""

from __future__ import annotations

import shlex
import shutil
import subprocess

from tests.systemd.proxy import DOMAIN, LOGIN, NODE, OLD, PROJECT, Proxy, Session

_OLDER = """
import pathlib, sys
from tests.older_service import OlderService

domain, address, ca = sys.argv[1:]
service = OlderService(pathlib.Path("/srv/older"), domain, ca=pathlib.Path(ca), address=address, port=443)
service.cron_runs_by_itself = True
print("listens", flush=True)
sys.stdin.read()
"""


class Moving:
    """Both hosts, and who asks them: by the name that DNS leads to one of them."""

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
        (machine.disk / "srv/older").mkdir(exist_ok=True)
        self._older = machine.popen(
            *proxy.at(OLD), "env", "PYTHONPATH=/srv", "/opt/rps/bin/python", "-c", _OLDER, DOMAIN, OLD,
            proxy.ca_directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._older.stdout
        assert self._older.stdout.readline() == "listens\n"
        self.point(OLD)

    def close(self) -> None:
        """DNS is as it was, and the old host is gone."""
        self._hosts.write_text(self._before)
        self._older.communicate("", timeout=60)

    def point(self, address: str, **own: str) -> None:
        """Have the domain, and all below it, lead to that host; what is in `own` has a record to itself,
        which goes before the wildcard's. There is no DNS server: curl is told, and other programs read
        /etc/hosts, which knows no wildcard."""
        self._wildcard, self._own = address, own
        others = [line for line in self._before.splitlines() if DOMAIN not in line]
        lines = [*others, f"{address} {DOMAIN} manage.{DOMAIN}"]
        self._hosts.write_text("\n".join(lines) + "\n")

    def guides(self, command: str, address: str) -> str:
        """What a curl command of the guide prints, run at that address."""
        program, *words = shlex.split(command)
        assert program == "curl"
        return self.proxy.curl(address, "--fail", *words)

    def asks(self, address: str, script: str, to: str = "") -> str:
        """What an older client gets that runs at that address, asking where DNS leads, or the host `to`."""
        told = self.proxy.curl(
            address, "-s", "-w", "%{http_code}", *self._resolve("manage", to),
            f"https://manage.{DOMAIN}/{script}",
        )  # fmt: skip
        assert told.endswith("200"), told
        return told.removesuffix("200")

    def older_client(self, to: str = "") -> Session:
        """One with a name, as `start-jupyter` reads it, whose job waits."""
        answer = self.asks(LOGIN, "getlink.cgi", to)
        assert not answer.startswith("Oops!"), answer
        return self.proxy.named(answer.split()[-1])

    def job_starts(self, session: Session) -> str:
        """What an older client's job is told when it redeems the name; its notebook is up."""
        self.proxy.start_notebook(session)
        return self.asks(NODE, f"redeemtoken.cgi?token={session.name}&port={session.port}")

    def visit(self, session: Session, to: str = "") -> str:
        """What the URL shows."""
        return self.proxy.curl(
            LOGIN, *self._resolve(session.name, to), f"https://{session.name}.{DOMAIN}/?token=0123"
        )

    def is_reached(self, session: Session) -> bool:
        """Whether the URL leads to the notebook."""
        return self.visit(session) == "notebook"

    def await_notebook(self, session: Session) -> None:
        """Wait until it does."""
        self.proxy.until(lambda: self.is_reached(session), "the notebook is reached")

    def rps(self, *arguments: str, check: bool = True) -> str:
        """What rps prints, on a host where Slurm's commands work, for a user whose site has this domain."""
        return self.proxy.machine.run(
            "env", "HOME=/home/alice", f"RPS_PROXY_DOMAIN={DOMAIN}", f"RPS_PROXY_CA_FILE={self.proxy.ca}",
            "rps", *arguments, user="alice", check=check,
        ).stdout.strip()  # fmt: skip

    def _resolve(self, label: str, to: str) -> list[str]:
        host = f"{label}.{DOMAIN}"
        address = to or self._own.get(host, self._wildcard)
        return ["--resolve", f"{host}:443:{address}"]
