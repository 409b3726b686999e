"""What `rps proxy init` writes, under a real systemd: set up, used and mistreated as by an operator."""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.proxy import DOMAIN, LOGIN, Proxy, Session, guide

ENGINES = ("haproxy", "apache", "embedded")


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, proxy: Proxy) -> str:
    """Each engine, for all of the tests that take it."""
    engine: str = request.param
    proxy.use(engine)
    return engine


@pytest.fixture(scope="module")
def session(proxy: Proxy, engine: str) -> Session:
    """One that lives through all that is done to the engine and the service."""
    return proxy.session()


def test_set_up_as_the_guide_says(proxy: Proxy) -> None:
    for unit in proxy.units:
        assert proxy.shown(unit, "ActiveState", "UnitFileState", "NRestarts") == {
            "ActiveState": "active",
            "UnitFileState": "enabled",
            "NRestarts": "0",
        }
    failed = proxy.machine.run("systemctl", "--failed", "--quiet", "--no-legend").stdout
    assert failed == ""
    # HAProxy's word for what it does not like, and takes all the same.
    assert "[ALERT]" not in proxy.journal()


def test_a_session(proxy: Proxy, engine: str) -> None:
    session = proxy.issue()
    assert "This session has not started yet" in proxy.page(session)
    session = proxy.session()
    listed = json.loads(proxy.machine.run("rps", "proxy", "sessions", "--json").stdout)
    assert {one["name"]: one["phase"] for one in listed}[session.name] == "ready"
    status = json.loads(proxy.machine.run("rps", "proxy", "status", "--json", user="rps").stdout)
    assert (status["engine"], status["engine_in_step"]) == (engine, True)
    proxy.machine.run("rps", "proxy", "revoke", session.name, user="rps")
    proxy.until(lambda: proxy.page(session) != "notebook", "its route is gone")


def test_what_it_writes_is_its_own(proxy: Proxy, session: Session) -> None:
    for directory in ("/var/lib/rps/service", "/var/lib/rps/engine", "/var/log/rps"):
        found = proxy.machine.run("find", directory, "-mindepth", "1", user="alice", check=False)
        assert found.stdout == ""
        assert "Permission denied" in found.stderr
    refused = proxy.machine.run("rps", "proxy", "status", user="alice", check=False)
    assert refused.returncode == 4
    audit = proxy.machine.disk / "var/log/rps/audit.log"
    assert session.name in audit.read_text()
    assert stat.S_IMODE(audit.stat().st_mode) == 0o600
    for user, file in (("rps", "/var/lib/rps/backup.db"), ("root", "/root/backup.db")):
        proxy.machine.run("rps", "proxy", "backup", file, user=user)
        assert b"SQLite format 3" in (proxy.machine.disk / file.lstrip("/")).read_bytes()
    metrics = proxy.machine.run(
        "curl", "--silent", "--show-error", "--unix-socket", "/var/lib/rps/service/admin.sock",
        "http://service/metrics",
    ).stdout  # fmt: skip
    assert 'rps_ready{what="engine"} 1' in metrics


def test_a_new_certificate(proxy: Proxy, session: Session) -> None:
    before = {unit: proxy.main_pid(unit) for unit in proxy.units}
    proxy.new_certificate()
    proxy.await_notebook(session)  # by a visitor who takes the new one alone
    assert {unit: proxy.main_pid(unit) for unit in before} == before


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_killed(proxy: Proxy, session: Session, signal: str) -> None:
    before = {unit: proxy.main_pid(unit) for unit in proxy.units}
    for unit in before:
        proxy.machine.run("systemctl", "kill", "--kill-whom=main", f"--signal={signal}", unit)
    proxy.until(
        lambda: all(proxy.main_pid(unit) not in (0, before[unit]) for unit in before),
        "they are there again",
        30,
    )
    proxy.await_ready()
    proxy.await_notebook(session)


def test_a_changed_configuration(proxy: Proxy, session: Session) -> None:
    proxy.configure(**{"tls.hsts": 1234})
    proxy.restart()
    proxy.await_notebook(session)
    # An engine that had been started from what the service made of the old one would say the old.
    head = proxy.curl(LOGIN, "--head", "--request", "GET", f"https://manage.{DOMAIN}/")
    assert "strict-transport-security: max-age=1234" in head.lower()
    assert "There is no configuration of the engine" not in proxy.journal()


def test_stopped(proxy: Proxy, session: Session) -> None:
    proxy.machine.run("systemctl", "stop", *proxy.units)
    try:
        for unit in proxy.units:
            assert proxy.shown(unit, "ActiveState", "Result", "MainPID") == {
                "ActiveState": "inactive",
                "Result": "success",
                "MainPID": "0",
            }
        assert proxy.page(session) == ""
        # What can be asked without it leaves nothing in its way.
        assert "is not running" in proxy.machine.run("rps", "proxy", "status").stderr
        proxy.machine.run("rps", "proxy", "backup", "/root/stopped.db")
    finally:
        proxy.machine.run("systemctl", "start", *proxy.units)
    proxy.await_ready()
    proxy.await_notebook(session)


def test_the_plug_is_pulled(proxy: Proxy, session: Session) -> None:
    proxy.pull_the_plug()
    proxy.boot()
    proxy.start_notebook(session)
    proxy.await_ready()
    proxy.await_notebook(session)


@contextlib.contextmanager
def a_directory_in_its_place(file: Path) -> Iterator[None]:
    """The file is away for a while, and comes back whatever happens meanwhile."""
    kept = file.rename(file.with_name("kept"))
    file.mkdir()
    try:
        yield
    finally:
        file.rmdir()
        kept.rename(file)


def test_the_service_cannot_start(proxy: Proxy) -> None:
    """After a reboot: the engine carries what it has, and the service comes once it can."""
    proxy.use("haproxy")
    session = proxy.session()
    # The file is written soon after a route leads somewhere, and is all that the engine comes back with.
    routes = proxy.machine.disk / "var/lib/rps/engine/routes.map"
    proxy.until(lambda: session.name in routes.read_text(), "its route is on the disk")
    registry = proxy.machine.disk / "var/lib/rps/service/registry.db"
    owner = registry.stat().st_uid
    proxy.pull_the_plug()
    with a_directory_in_its_place(registry):
        proxy.boot()
        proxy.start_notebook(session)
        proxy.await_notebook(session)
        proxy.until(
            lambda: int(proxy.shown("rps-proxy", "NRestarts")["NRestarts"]) > 1, "it is tried again"
        )
        for unit in proxy.units:  # systemd's own limit is five times
            limit = proxy.shown(unit, "StartLimitIntervalUSec")
            assert limit == {"StartLimitIntervalUSec": "0"}
    assert registry.stat().st_uid == owner
    proxy.await_ready()
    proxy.await_notebook(session)


@contextlib.contextmanager
def own_account(proxy: Proxy) -> Iterator[str]:
    """Within, the engine runs as its own account, and afterwards as the service's again."""
    unit = Path(proxy.machine.disk / "etc/systemd/system/rps-proxy-engine.service.d/user.conf")
    unit.parent.mkdir()
    unit.write_text("[Service]\nUser=haproxy\nGroup=haproxy\n")
    proxy.machine.run("usermod", "--append", "--groups", "haproxy", "rps")
    proxy.configure(**{"haproxy.group": "haproxy"})
    proxy.machine.run("systemctl", "daemon-reload")
    try:
        proxy.use("haproxy")
        yield "haproxy"
    finally:
        unit.unlink()
        unit.parent.rmdir()
        proxy.configure(**{"haproxy.group": None})
        proxy.machine.run("systemctl", "daemon-reload")
        proxy.use("haproxy")


def test_an_engine_with_an_account_of_its_own(proxy: Proxy) -> None:
    def runs_as() -> str:
        process = f"{proxy.main_pid('rps-proxy-engine')}"
        return proxy.machine.run("ps", "-o", "user=", process).stdout.strip()

    def denied(account: str, *command: str) -> bool:
        return "Permission denied" in proxy.machine.run(*command, user=account, check=False).stderr

    with own_account(proxy) as account:
        session = proxy.session()
        assert runs_as() == account
        # The service's files are not the engine's.
        assert proxy.machine.run("stat", "--format=%U", "/var/lib/rps").stdout.strip() == "rps"
        assert denied(account, "ls", "/var/lib/rps/service")
        proxy.new_certificate()
        proxy.await_notebook(session)
        assert not denied(account, "cat", "/var/lib/rps/engine/front.pem")
    assert runs_as() == "rps"
    proxy.await_notebook(session)
    assert denied(account, "cat", "/var/lib/rps/engine/front.pem")


@pytest.fixture(scope="module")
def slurm(proxy: Proxy) -> None:
    """Debian's MUNGE and Slurm, with one node that never comes."""
    proxy.use("haproxy")
    etc = proxy.machine.disk / "etc"
    (etc / "slurm").mkdir()
    (etc / "slurm/slurm.conf").write_text(
        "ClusterName=generic\nSlurmctldHost=proxy\nSlurmUser=slurm\nAuthType=auth/munge\n"
        "MpiDefault=none\nMailProg=/bin/true\nProctrackType=proctrack/linuxproc\n"
        "TaskPlugin=task/none\nStateSaveLocation=/var/lib/slurm\nSlurmctldPidFile=/run/slurmctld.pid\n"
        "NodeName=node1 CPUs=1\nPartitionName=batch Nodes=node1 Default=YES State=UP\n"
    )
    proxy.machine.run("bash", "-ec", """
        install -d -o munge -g munge -m 700 /etc/munge /var/lib/munge /var/log/munge
        head -c 1024 /dev/urandom >/etc/munge/munge.key
        chown munge: /etc/munge/munge.key
        chmod 400 /etc/munge/munge.key
        install -d -o slurm -g slurm /var/lib/slurm
        systemctl enable --now munge slurmctld
    """)  # fmt: skip
    proxy.until(
        lambda: proxy.machine.run("sinfo", check=False).returncode == 0,
        "Slurm's controller answers",
    )


def linked(proxy: Proxy) -> Session:
    """A session whose job is held in the queue."""
    session = proxy.issue()
    submitted = proxy.machine.run(
        "sbatch", "--parsable", "--hold", f"--job-name=rps-{session.name}", "--chdir=/tmp",
        "--wrap=true", user="alice",
    )  # fmt: skip
    job = {"job_id": submitted.stdout.strip()}
    proxy.call(LOGIN, f"sessions/{session.name}/link", session.claim, job)
    return session


def test_the_feed(proxy: Proxy, slurm: None) -> None:
    session = linked(proxy)

    def why_it_waits() -> bool:
        return "you hold it back" in proxy.page(session, "--header", "Accept: text/html")

    assert not why_it_waits()
    # A machine that has just booted would wait for a minute, and a minute more between two.
    soon = proxy.machine.disk / "etc/systemd/system/rps-proxy-feed.timer.d/soon.conf"
    soon.parent.mkdir()
    soon.write_text("[Timer]\nOnBootSec=1s\nOnUnitInactiveSec=1s\n")
    commands = next(block for block in guide("What the waiting page says") if "timer" in block[-1])
    for command in commands:
        proxy.machine.run("bash", "-ec", command)
    proxy.until(why_it_waits, "the page says why it waits")
    job = proxy.machine.run("squeue", "--noheader", "--format=%i").stdout.strip()
    proxy.machine.run("scontrol", "release", job)
    proxy.until(lambda: not why_it_waits(), "the timer has it told again")
    proxy.machine.run("systemctl", "stop", "rps-proxy-feed.timer")
    # One that is stopped as it runs has failed, in systemd's words.
    proxy.until(
        lambda: proxy.shown("rps-proxy-feed", "ActiveState")["ActiveState"] != "activating",
        "the feed has ended",
    )
    failed = proxy.machine.run("systemctl", "--failed", "--quiet", "--no-legend").stdout
    assert failed == ""


def test_what_schedulers_commands_need(proxy: Proxy, slurm: None) -> None:
    """In the feed's unit: PBS has a program that is setuid root, and Torque a socket in /tmp."""
    linked(proxy)
    command = proxy.machine.disk / "srv/as-the-feed"
    command.write_text(
        "#!/bin/sh -e\ngrep -q '^NoNewPrivs:\t0$' /proc/self/status\ntest -e /tmp/of-a-daemon\n"
        "touch /tmp/of-the-feed\nexec squeue --noheader\n"
    )
    command.chmod(0o755)
    override = proxy.machine.disk / "etc/systemd/system/rps-proxy-feed.service.d/command.conf"
    override.parent.mkdir()
    override.write_text("[Service]\nExecStart=\nExecStart=/srv/as-the-feed\n")
    proxy.machine.run("touch", "/tmp/of-a-daemon")
    proxy.machine.run("systemctl", "daemon-reload")
    try:
        proxy.machine.run("systemctl", "start", "rps-proxy-feed")
    finally:
        override.unlink()
        override.parent.rmdir()
        proxy.machine.run("systemctl", "daemon-reload")
    assert proxy.machine.run("stat", "--format=%U", "/tmp/of-the-feed").stdout == "rps\n"


def test_munge(proxy: Proxy, slurm: None) -> None:
    """The service's sandbox lets it ask MUNGE."""
    body = json.dumps({"cluster": "generic", "user": "somebody"})
    script = f"""
        digest=$(printf %s '{body}' | sha256sum | cut -d ' ' -f 1)
        printf 'rps issue 1\\nmanage.{DOMAIN}\\n%s\\n' "$digest" | munge
    """
    proxy.configure(auth="munge")
    proxy.restart()
    try:
        credential = proxy.machine.run("bash", "-ec", script, user="alice").stdout.strip()
        given = proxy.curl(
            LOGIN, "--fail-with-body", "--data", body, "--header", f"X-Rps-Munge: {credential}",
            f"https://manage.{DOMAIN}/api/v1/sessions",
        )  # fmt: skip
        listed = json.loads(proxy.machine.run("rps", "proxy", "sessions", "--json").stdout)
        users = {one["name"]: one["user"] for one in listed}
        assert users[json.loads(given)["name"]] == "alice"
    finally:
        proxy.configure(auth="none")
        proxy.restart()
