"""What `rps proxy init` writes, under a real systemd.

Set up, used and mistreated as by an operator.
"""

from __future__ import annotations

import contextlib
import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.moving import Moving
from tests.systemd.proxy import DOMAIN, HOST, LOGIN, NODE, OLD, Proxy, Session, guide, said

ENGINES = ("haproxy", "apache", "embedded")


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest, proxy: Proxy) -> str:
    """Use each engine, for all tests that take it."""
    engine: str = request.param
    proxy.use(engine)
    return engine


@pytest.fixture(scope="module")
def session(proxy: Proxy, engine: str) -> Session:
    """Provide a session for all tests of one engine."""
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
    # HAProxy's prefix of messages about what it accepts with a warning.
    assert "[ALERT]" not in proxy.journal()


def test_a_session(proxy: Proxy, engine: str) -> None:
    session = proxy.issue()
    assert "This session has not started yet" in proxy.page(session)
    session = proxy.session()
    listed = json.loads(proxy.machine.run("rps", "proxy", "sessions", "--json").stdout)
    assert {one["name"]: one["phase"] for one in listed}[session.name] == "ready"
    status = json.loads(proxy.machine.run("rps", "proxy", "status", "--json", user="rps").stdout)
    assert (status["engine"], status["engine_in_step"]) == (engine, True)
    revoke = said("Day to day", "rps proxy revoke").replace("NAME", session.name)
    proxy.machine.run("bash", "-ec", revoke, user="rps")
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
        backup = said("Day to day", "rps proxy backup").replace("FILE", file)
        proxy.machine.run("bash", "-ec", backup, user=user)
        assert b"SQLite format 3" in (proxy.machine.disk / file.lstrip("/")).read_bytes()
    ((asking,),) = guide("Metrics")
    metrics = proxy.machine.run("bash", "-ec", asking).stdout
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
    # An engine started from the files of the old configuration would show the old value.
    head = proxy.curl(LOGIN, "--head", "--request", "GET", f"https://manage.{DOMAIN}/")
    assert "strict-transport-security: max-age=1234" in head.lower()
    assert "Could not find the engine" not in proxy.journal()


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
        # Queries without the service leave no file that hinders its start.
        down = proxy.machine.run("rps", "proxy", "status", check=False)
        assert down.returncode == 4
        assert "systemctl start rps-proxy" in " ".join(down.stderr.split())
        proxy.machine.run("rps", "proxy", "backup", "/root/stopped.db")
    finally:
        proxy.machine.run("systemctl", "start", *proxy.units)
    proxy.await_ready()
    proxy.await_notebook(session)


def test_a_mistake_in_the_configuration(proxy: Proxy, engine: str, session: Session) -> None:
    """Test that an engine goes on, and the service returns once it is corrected."""
    configuration = proxy.machine.disk / "etc/rps/proxy.yaml"
    good = configuration.read_text()
    command = said("Setting up", "sudo -u rps rps proxy check").partition(" && ")[0]
    command = command.removeprefix("sudo -u rps ")
    assert "can start" in proxy.machine.run("bash", "-ec", command, user="rps").stderr
    configuration.write_text(f"{good}lisen: {{}}\n")
    try:
        refused = proxy.machine.run("bash", "-ec", command, user="rps", check=False)
        assert refused.returncode == 2
        assert "/etc/rps/proxy.yaml:" in refused.stderr
        proxy.machine.run("systemctl", "restart", *proxy.units, check=False)
        if engine != "embedded":
            proxy.await_notebook(session)
            assert "engine-started-as-before" in proxy.journal()
            assert "systemctl restart rps-proxy rps-proxy-engine" in proxy.journal()
    finally:
        configuration.write_text(good)
    proxy.await_ready()  # with no command of ours
    proxy.await_notebook(session)
    assert proxy.machine.run("systemctl", "--failed", "--quiet", "--no-legend").stdout == ""


def test_the_wrong_engine(proxy: Proxy) -> None:
    """The engine's unit is given up then.

    The status says what to start once it is corrected.
    """
    proxy.use("haproxy")
    session = proxy.session()
    proxy.configure(engine="embedded")
    proxy.machine.run("systemctl", "restart", "rps-proxy-engine", check=False)
    proxy.until(
        lambda: proxy.shown("rps-proxy-engine", "ActiveState")["ActiveState"] == "failed",
        "it is given up",
    )
    proxy.configure(engine="haproxy")
    proxy.machine.run("systemctl", "restart", "rps-proxy")
    status = proxy.machine.run("rps", "proxy", "status", user="rps", check=False)
    assert status.returncode == 9
    (advised,) = re.findall(r"`(systemctl \w+ rps-proxy-engine)`", status.stdout)
    proxy.machine.run("bash", "-ec", advised)
    proxy.await_ready()
    proxy.await_notebook(session)


def test_the_plug_is_pulled(proxy: Proxy, session: Session) -> None:
    proxy.pull_the_plug()
    proxy.boot()
    proxy.start_notebook(session)
    proxy.await_ready()
    proxy.await_notebook(session)


@pytest.fixture
def registry_put_back(proxy: Proxy) -> Iterator[None]:
    """Restore the registry after the test."""
    proxy.use("haproxy")
    proxy.machine.run("systemctl", "stop", "rps-proxy")
    proxy.machine.run(
        "bash", "-ec", "mkdir /root/kept; cp -a /var/lib/rps/service/registry.db* /root/kept"
    )
    proxy.machine.run("systemctl", "start", "rps-proxy")
    proxy.await_ready()
    try:
        yield
    finally:
        proxy.machine.run("systemctl", "stop", "rps-proxy")
        proxy.machine.run(
            "bash", "-ec", "cd /var/lib/rps/service; rm -f registry.db*; mv /root/kept/* ."
        )
        proxy.machine.run("rmdir", "/root/kept")
        proxy.machine.run("systemctl", "start", "rps-proxy")
        proxy.await_ready()


def test_a_copy_is_restored(proxy: Proxy, registry_put_back: None) -> None:
    session = proxy.session()
    backup, restore = (
        said("Day to day", command).replace("FILE", "/root/copy.db")
        for command in ("rps proxy backup", "install")
    )
    proxy.machine.run("bash", "-ec", backup)
    later = proxy.session()
    proxy.machine.run("systemctl", "stop", "rps-proxy")
    proxy.machine.run("bash", "-ec", restore)
    for beside in ("wal", "shm"):
        proxy.machine.run("rm", "-f", f"/var/lib/rps/service/registry.db-{beside}")
    proxy.machine.run("systemctl", "start", "rps-proxy")
    proxy.await_ready()
    proxy.await_notebook(session)
    proxy.until(lambda: proxy.page(later) != "notebook", "what came after the copy has no route")
    refused = proxy.curl(
        NODE, "--header", f"Authorization: Bearer {later.claim}", "--data", "{}",
        f"https://manage.{DOMAIN}/api/v1/sessions/{later.name}/renew",
    )  # fmt: skip
    assert json.loads(refused)["error"] == "unknown-name"


@contextlib.contextmanager
def a_directory_in_its_place(file: Path) -> Iterator[None]:
    """Put a directory in place of the file, which comes back whatever happens meanwhile."""
    kept = file.rename(file.with_name("kept"))
    file.mkdir()
    try:
        yield
    finally:
        file.rmdir()
        kept.rename(file)


def test_the_service_cannot_start(proxy: Proxy) -> None:
    """Test a reboot: the engine serves its routes until the service can start."""
    proxy.use("haproxy")
    session = proxy.session()
    # The file is written soon after a route is live; the engine restarts from it alone.
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
    """Run the engine under an account of its own for the length of the block."""
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
    """Return a session whose job is held in the queue."""
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
        return "it is held" in proxy.page(session, "--header", "Accept: text/html")

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
    proxy.until(lambda: not why_it_waits(), "the timer has reported it again")
    proxy.machine.run("systemctl", "stop", "rps-proxy-feed.timer")
    # To systemd, a unit that is stopped while it runs has failed.
    proxy.until(
        lambda: proxy.shown("rps-proxy-feed", "ActiveState")["ActiveState"] != "activating",
        "the feed has ended",
    )
    failed = proxy.machine.run("systemctl", "--failed", "--quiet", "--no-legend").stdout
    assert failed == ""


@pytest.fixture
def feed_key(proxy: Proxy, slurm: None) -> Iterator[None]:
    """Make this host the service's, and also the other that may ask the scheduler.

    As each it has the key.
    """
    key = "0123456789abcdef" * 2
    etc = proxy.machine.disk / "etc/rps"
    for file in ("feed.key", "service-feed.key"):
        (etc / file).write_text(key)
        (etc / file).chmod(0o600)
    proxy.machine.run("chown", "rps:", "/etc/rps/service-feed.key")
    (etc / "config.yaml").write_text(f"proxy: {{domain: {DOMAIN}, ca_file: {proxy.ca}}}\n")
    proxy.configure(feed={"networks": [HOST], "key_file": "/etc/rps/service-feed.key"})
    try:
        proxy.restart()
        yield
    finally:
        (etc / "config.yaml").unlink()
        proxy.configure(feed={})
        proxy.restart()


def test_the_feed_of_another_host(proxy: Proxy, feed_key: None) -> None:
    """Test cron, with its own environment; it mails the output."""
    session = linked(proxy)
    path, line = next(block for block in guide("What the waiting page says") if "*" in block[-1])
    as_cron_does = ["env", "--ignore-environment", "HOME=/root", path, "/bin/sh", "-c"]
    done = proxy.machine.run(*as_cron_does, line.removeprefix("* * * * * "))
    assert (done.stdout, done.stderr) == ("", "")
    assert "it is held" in proxy.page(session, "--header", "Accept: text/html")


def test_what_schedulers_commands_need(proxy: Proxy, slurm: None) -> None:
    """Test the feed's unit: PBS has a setuid program, Torque a socket in /tmp."""
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
    body = json.dumps({"cluster": "generic", "user": "someone"})
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


@pytest.fixture
def moving(proxy: Proxy, slurm: None) -> Iterator[Moving]:
    """DNS leads to the satellite; the new service is ready beside it."""
    moving = Moving(proxy)
    try:
        yield moving
    finally:
        moving.close()
        proxy.machine.run("rps", "proxy", "drain", "--off")
        proxy.configure(**{"satellite.calls": True})
        proxy.restart()
        moving.rps("stop", "--all")


def test_a_logout_that_ends_a_personal_service_is_noticed(proxy: Proxy) -> None:
    """Test KillUserProcesses=yes: logind stops the login's scope, with SendSIGHUP=yes (logind-dbus.c)."""
    machine, scope = proxy.machine, "session-1.scope"
    machine.run("useradd", "--create-home", "ann")
    script = machine.disk / "srv" / "logout.py"
    script.write_text(Path(__file__).with_name("logout.py").read_text())
    as_ann = ("setpriv", "--init-groups", "--reuid=ann", "--regid=ann", "env", "HOME=/home/ann")
    command = (*as_ann, "/opt/rps/bin/python", f"/srv/{script.name}")
    machine.run(
        "systemd-run", "--scope", f"--unit={scope}", "--property=SendSIGHUP=yes", "--", *command
    )
    assert machine.run("systemctl", "is-active", scope).stdout == "active\n"  # the service is in it
    machine.run("systemctl", "stop", scope)
    after = machine.run(*command)
    assert "KillUserProcesses=yes" in after.stderr
    assert "loginctl enable-linger ann" in after.stderr
    assert machine.run(*command).stderr == ""  # it runs


def test_moving_over_and_back(proxy: Proxy, moving: Moving) -> None:
    """The guide's steps, and what it says of those whose session is under way."""
    on_login, (on_node,), (record,), (watch,), (drain,), (undrain,) = guide(
        "Moving over from the satellite"
    )
    reachable = moving.satellite_client()
    assert "phase 1 of 2" in moving.visit(reachable)
    assert moving.job_starts(reachable) == "Success!\n"
    moving.await_notebook(reachable)
    too_late, in_time = moving.satellite_client(), moving.satellite_client()

    # The new service, tried while DNS leads to the old one.
    ready, named = (moving.guides(command, LOGIN) for command in on_login)
    assert json.loads(ready) == {"ready": True, "lacking": []}
    assert named.startswith("Your token is ")
    assert moving.guides(on_node, NODE) == "Oops! Unknown nonce or nonce already used\n"
    assert moving.is_reached(reachable)

    # Over.
    host, _, _, _, address = record.split()
    assert (host, address) == (f"{reachable.name}.{DOMAIN}.", OLD)
    moving.point(HOST, **{host.removesuffix("."): address})
    proxy.await_ready()
    assert moving.is_reached(reachable)  # by the record of its own
    assert "No session has this name" in moving.visit(reachable, to=HOST)  # and without
    refused = "Oops! Unknown nonce or nonce already used\n"
    assert moving.job_starts(too_late) == refused
    # Nor does a job that ends reach the service that has its route.
    ended = moving.asks(NODE, f"destroytoken.cgi?token={reachable.name}")
    assert ended == "Oops! Unknown nonce or nonce already destroyed\n"
    assert moving.is_reached(reachable)

    # Old clients at the new service: start-jupyter's, and galyleo's.
    started, linked = moving.satellite_client(), moving.satellite_client()
    assert "has not started yet" in moving.visit(started)
    assert moving.job_starts(started) == "Success!\n"
    moving.await_notebook(started)
    token = f"token={linked.name}"
    assert moving.asks(LOGIN, f"linktoken.cgi?{token}&jobid=17").startswith("Success!")
    assert moving.job_starts(linked) == "Success!\n"
    moving.await_notebook(linked)
    assert moving.asks(NODE, f"destroytoken.cgi?{token}").startswith("Success!")
    proxy.until(lambda: not moving.is_reached(linked), "its route is gone")
    proxy.until(
        lambda: linked.name in proxy.machine.run("bash", "-ec", watch, check=False).stdout,
        "the log reports an old client",
    )

    # New ones.
    leased = proxy.session()
    unstarted = moving.satellite_client()
    name = moving.rps("start", "--modules", "anaconda").partition("//")[2].partition(".")[0]
    listed = json.loads(proxy.machine.run("rps", "proxy", "sessions", "--json").stdout)
    assert {one["name"]: one["phase"] for one in listed}[name] == "linked"

    # Back.
    proxy.machine.run("bash", "-ec", drain)
    assert "gives no new tokens" in moving.asks(LOGIN, "getlink.cgi", status=503)
    moving.point(OLD)
    assert moving.is_reached(reachable)
    assert moving.job_starts(in_time) == "Success!\n"
    moving.await_notebook(in_time)
    assert moving.job_starts(unstarted) == refused
    for session in (started, leased):
        assert "Please see documentation" in moving.visit(session)
    satellite = moving.rps("start", "--modules", "anaconda")
    assert satellite.startswith("https://aversion-runaround-spearman")

    # And over once more.
    moving.point(HOST)
    proxy.machine.run("bash", "-ec", undrain)
    for session in (started, leased):
        moving.await_notebook(session)
    proxy.call(NODE, f"sessions/{leased.name}/renew", leased.claim)
    assert moving.job_starts(moving.satellite_client()) == "Success!\n"

    # No old client comes any more.
    proxy.configure(**{"satellite.calls": False})
    proxy.restart()
    gone = proxy.curl(LOGIN, "--write-out", "%{http_code}", f"https://manage.{DOMAIN}/getlink.cgi")
    assert gone.endswith("404")
    assert moving.is_reached(started)
