"""`rps doctor` on sick machines.

Each sickness, as far as it can be had here for real, and its line.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from rps_core.doctor import checkup as doctor_case
from rps_core.doctor import home, job, leftovers, machine, page, personal, scheduler, service
from rps_core.doctor.checkup import Checkup, Finding, Verdict
from rps_core.errors import ServiceError, UnhealthyError
from rps_core.models import Host
from rps_core.node.agent import call_files
from rps_core.node.agent.processes import start_ticks
from rps_core.proxy_client.client import client_at
from rps_core.state.record import Endpoint, Secrets, SessionRecord, Tunnel
from rps_core.state.store import Store
from rps_core.system import paths
from rps_core.traits import HealthCheck
from rps_proxy.personal.running import RUNNING_FILE, Running
from rps_proxy.private_files import own_directory, write_private
from rps_proxy.tls.authority import Authority
from rps_proxy.trust.browsers import Change, install
from rps_proxy.trust.certificate import read
from tests.stands.satellite import SatelliteServer
from tests.stands.service import free_port
from tests.stands.tls_server import TlsServer

DOMAIN = "rps.localhost"


class FakeService(TlsServer):
    """A service that answers *health* with `answer`; its clock is `ahead` seconds."""

    def __init__(self, directory: Path, hosts: list[str], days: int = 30) -> None:
        self.answer: dict[str, Any] = {"status": "ok", "domain": DOMAIN, "version": "1.0"}
        self.status = 200
        self.ahead = 0.0
        super().__init__(directory, DOMAIN, f"manage.{DOMAIN}")
        leaf = Authority(directory / "front", "front", DOMAIN).issue(hosts, days)
        pem = directory / "other.pem"
        pem.write_bytes(leaf.certificate + leaf.key)
        self._context.load_cert_chain(pem)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps(fake.answer).encode()
                self.send_response_only(fake.status)
                self.send_header("Date", formatdate(time.time() + fake.ahead, usegmt=True))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


WELL = [f"manage.{DOMAIN}", f"*.{DOMAIN}"]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Callable[..., FakeService]]:
    started: list[FakeService] = []

    def start(hosts: list[str] = WELL, days: int = 30) -> FakeService:
        directory = tmp_path / f"service-{len(started)}"
        directory.mkdir()
        started.append(FakeService(directory, hosts, days))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def case_of(*settings: str, cluster: str = "local") -> Checkup:
    """Return a machine whose cluster and configuration have been found."""
    case = Checkup(cluster, settings, Store(paths.sessions_dir()))
    list(machine.detection(case))
    found = list(machine.configuration(case))
    assert [one.verdict for one in found] == [Verdict.PASS], found
    return case


def examined(server: TlsServer, *settings: str) -> tuple[list[Finding], list[Finding]]:
    """Return the findings on the service, and on the clock."""
    case = case_of("proxy.own=false", f"proxy.domain={DOMAIN}", f"proxy.port={server.port}",
                   f"proxy.ca_file={server.ca_file}", *settings)  # fmt: skip
    lines = page.examine(case, (("service", service.service), ("clock", service.clock)))
    found: dict[str, list[Finding]] = {"service": [], "clock": []}
    for line in lines:
        found[line.check].append(line.finding)
    return found["service"], found["clock"]


def only(findings: list[Finding], verdict: Verdict, *words: str) -> Finding:
    """Return the one finding of this verdict; it has these words, and says what to do."""
    (found,) = [one for one in findings if one.verdict is verdict]
    for word in words:
        assert word in f"{found.text} {found.hint}", found
    assert found.hint
    return found


def test_a_healthy_service(serving: Callable[..., FakeService]) -> None:
    found, clock = examined(serving())
    assert [one.verdict for one in found] == [Verdict.PASS] * 3, found
    assert "for *.rps.localhost" in found[1].text
    assert "ready" in found[2].text
    assert [one.verdict for one in clock] == [Verdict.PASS]


def test_the_service_is_down(serving: Callable[..., FakeService]) -> None:
    server = serving()
    server.stop()
    found, clock = examined(server)
    only(found, Verdict.FAIL, "Connection refused", str(server.port), "support")
    only(clock, Verdict.WARN, "not checked")


def test_its_name_is_not_known() -> None:
    case = case_of("proxy.own=false", "proxy.domain=nowhere.invalid")
    only(list(service.service(case)), Verdict.FAIL, "manage.nowhere.invalid", "proxy.domain")


def test_its_certificate_has_expired(serving: Callable[..., FakeService]) -> None:
    found, clock = examined(serving(days=-1))
    only(found, Verdict.FAIL, "has expired", "renew")
    assert [one.verdict for one in clock] == [Verdict.PASS], (
        "it shows whether the clock is the cause"
    )


def test_its_certificate_expires_soon(serving: Callable[..., FakeService]) -> None:
    found, _ = examined(serving(days=3))
    only(found, Verdict.WARN, "3 more days", "renew")


def test_its_certificate_is_from_another_ca(serving: Callable[..., FakeService]) -> None:
    other = serving()
    server = serving()
    found, _ = examined(server, f"proxy.ca_file={other.ca_file}")
    only(
        found, Verdict.FAIL, "is not signed by the CA in", str(other.ca_file), "proxy.ca_file",
        "If a company's TLS proxy answers in its place, ask for",
    )  # fmt: skip


def test_its_certificate_is_for_another_name(serving: Callable[..., FakeService]) -> None:
    found, _ = examined(serving(hosts=["elsewhere.rps.localhost"]))
    only(found, Verdict.FAIL, "is not for manage.rps.localhost", "proxy.domain")


@pytest.mark.parametrize("protocol", ["rps", "satellite"])
def test_a_call_says_of_a_certificate_what_the_doctor_says(
    serving: Callable[..., FakeService], tmp_path: Path, protocol: str
) -> None:
    """Test that the error advises no retry either."""
    well, expired = serving(), serving(days=-1)
    elsewhere = serving(hosts=["elsewhere.rps.localhost"])
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("no certificate\n")
    with socket.create_server(("127.0.0.1", 0)) as plain:
        threading.Thread(target=greet_in_plain_text, args=(plain,), daemon=True).start()
        for port, ca_file, words, advice in (
            (expired.port, expired.ca_file, "has expired, by this host's clock", "to renew it"),
            (elsewhere.port, elsewhere.ca_file, "is not for manage", "proxy.domain"),
            (
                expired.port,
                well.ca_file,
                f"not signed by the CA in {well.ca_file}",
                "`proxy.ca_file`",
            ),
            (well.port, damaged, f"the CA file {damaged} cannot be used", "`proxy.ca_file`"),
            (well.port, tmp_path / "none", "cannot be used: No such file", "`proxy.ca_file`"),
            (plain.getsockname()[1], well.ca_file, "wrong version number", "another program"),
        ):
            endpoint = Endpoint(host=f"manage.{DOMAIN}", port=port, connect="127.0.0.1",
                                ca_file=str(ca_file), protocol=protocol)  # fmt: skip
            with pytest.raises(ServiceError) as caught:
                client_at(endpoint, 10).issue(cluster="c", scheduler="s", user="u")
            assert words in caught.value.message
            assert advice in caught.value.hint
            assert "again" not in caught.value.hint
            assert not caught.value.transient


@pytest.mark.parametrize("place", ["the user's data directory", "that of the running service"])
def test_of_a_personal_service_the_advice_is_to_restart_it(
    serving: Callable[..., FakeService],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """It has no operator and no `proxy.ca_file`, and writes its CA file at its start."""
    server = serving()
    data, state = tmp_path / "data", tmp_path / "state"
    monkeypatch.setenv("XDG_DATA_HOME", str(data))
    monkeypatch.setenv("RPS_LOCAL_SERVICE_DIR", str(state))
    damaged = (data / "rps" if place.startswith("the user's") else tmp_path) / "ca" / "ca.pem"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("no certificate\n")
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    running = Running(os.getpid(), ticks, server.port, str(damaged), "1")
    own_directory(state)
    write_private(state / RUNNING_FILE, running.to_json())
    endpoint = Endpoint(
        host=f"manage.{DOMAIN}", port=server.port, connect="127.0.0.1", ca_file=str(damaged)
    )
    with pytest.raises(ServiceError) as caught:
        client_at(endpoint, 10).issue(cluster="c", scheduler="s", user="u")
    assert f"the CA file {damaged} cannot be used" in caught.value.message
    assert "proxy.ca_file" not in caught.value.hint
    assert f"This is your personal service. End it (`kill {os.getpid()}`)" in caught.value.hint
    damaged.write_bytes(server.ca_file.read_bytes())
    away = replace(endpoint, port=free_port())
    with pytest.raises(ServiceError, match="does not answer") as caught:
        client_at(away, 10).issue(cluster="c", scheduler="s", user="u")
    assert str(state / "service.log") in caught.value.hint
    assert "support" not in caught.value.hint


def greet_in_plain_text(listener: socket.socket) -> None:
    """Answer in plain text, as sshd does: no TLS."""
    with contextlib.suppress(OSError):
        while True:
            with listener.accept()[0] as connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")


def test_its_certificate_names_no_wildcard(serving: Callable[..., FakeService]) -> None:
    found, _ = examined(serving(hosts=[f"manage.{DOMAIN}"]))
    only(found, Verdict.FAIL, "but not for *.rps.localhost", "wildcard")


def test_it_is_draining(serving: Callable[..., FakeService]) -> None:
    server = serving()
    server.answer["draining"] = True
    only(examined(server)[0], Verdict.WARN, "draining", "drain --off")


def test_it_answers_other_hosts_alone(serving: Callable[..., FakeService]) -> None:
    server = serving()
    server.status, server.answer = 403, {"error": "outside-networks", "message": "no"}
    only(examined(server)[0], Verdict.FAIL, "not in the cluster's networks", "login node")


def test_another_web_server_has_its_name(serving: Callable[..., FakeService]) -> None:
    server = serving()
    server.status, server.answer = 404, {"nothing": "here"}
    only(examined(server)[0], Verdict.FAIL, "not a Reverse Proxy Service", "404")


def test_the_satellite_is_recognised(tmp_path: Path) -> None:
    server = SatelliteServer(tmp_path)
    try:
        found, _ = examined(server)
        assert found[-1].verdict is Verdict.PASS, found
        assert "ready (satellite; its limits: docs/sessions.md)" in found[-1].text
        asked = [script for script, _ in server.calls]
        assert asked == ["tokenjobstate.cgi", "linktoken.cgi"], "no name is asked for"
        assert server.names == {}
        only(examined(server, "proxy.protocol=rps")[0], Verdict.FAIL, "not a Reverse Proxy Service")
    finally:
        server.stop()


def test_a_satellite_that_refuses_this_host(tmp_path: Path) -> None:
    """Test that the first call of a start is checked: the others answer any host."""
    server = SatelliteServer(tmp_path)
    server.outside = True
    try:
        for protocol in ("auto", "satellite"):
            found, _ = examined(server, f"proxy.protocol={protocol}")
            only(found, Verdict.FAIL, "not in range 198.51.100.0/24", "login nodes")
        assert "getlink.cgi" not in [script for script, _ in server.calls]
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("ahead", "verdict", "messages"),
    [(-600, Verdict.FAIL, r"(59|60)\d s ahead of"), (600, Verdict.FAIL, r"(59|60)\d s behind"),
     (30, Verdict.WARN, r"\d s behind")],
)  # fmt: skip
def test_the_clocks_differ(
    serving: Callable[..., FakeService], ahead: float, verdict: Verdict, messages: str
) -> None:
    server = serving()
    server.ahead = ahead
    found = only(examined(server)[1], verdict, "chrony")
    # A header has whole seconds, and its way takes some time.
    assert re.search(messages, found.text), found


# The scheduler


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that puts a program onto the PATH."""
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def write(name: str, text: str) -> None:
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)

    return write


def asked(*questions: HealthCheck) -> list[Finding]:
    """Return the findings for a scheduler's plugin with these checks."""
    case = case_of()
    case.site = type("Site", (), {"health_checks": lambda _self: questions})()
    return list(scheduler.scheduler(case))


def test_a_scheduler_that_answers_and_one_that_does_not(programs: Callable[..., None]) -> None:
    programs("squeue", "echo 17")
    programs("sacct", "echo 'sacct: error: Problem talking to the database' >&2")
    programs("sbatch", "echo 'unable to contact slurm controller' >&2; exit 1")
    found = asked(
        HealthCheck(argv=("squeue",)),
        HealthCheck(argv=("sacct",), needed=False, without="Reasons stay unknown."),
        HealthCheck(argv=("sbatch",)),
        HealthCheck(argv=("not-there",)),
    )
    assert [one.verdict for one in found] == ["pass", "warn", "fail", "fail"]
    assert re.fullmatch(r"squeue answers in \d+\.\d\d s", found[0].text)
    assert "talking to the database" in found[1].text
    assert "Reasons stay unknown" in found[1].hint
    assert "unable to contact slurm controller" in found[2].text
    assert "not on the PATH" in found[3].text


def test_a_scheduler_that_hangs_is_given_up(
    programs: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs("squeue", "exec sleep 600")
    monkeypatch.setattr(doctor_case, "CALL_TIME", 0.3)
    (found,) = asked(HealthCheck(argv=("squeue",)))
    assert (found.verdict, found.text) == (Verdict.FAIL, "`squeue` did not answer within 0 s")


def test_the_time_of_the_page_ends() -> None:
    case = case_of()
    case.ends = time.monotonic()
    case.site = type("Site", (), {"health_checks": lambda _self: [HealthCheck(argv=("true",))]})()
    (found,) = scheduler.scheduler(case)
    assert found.verdict is Verdict.FAIL
    assert "the time limit of the whole run was reached" in found.text


# The runner


def test_a_check_that_raises_or_hangs_costs_its_own_line_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page, "_CHECK_TIME", 2.0)
    ever = threading.Event()

    def raises(case: Checkup) -> Iterator[Finding]:
        yield doctor_case.passed("so far")
        raise ValueError("a secret in an error's text")

    def full(case: Checkup) -> Iterator[Finding]:
        raise OSError(28, "No space left on device", "/home/x")
        yield

    def hangs(case: Checkup) -> Iterator[Finding]:
        ever.wait(60)
        yield doctor_case.passed("never seen")

    checks = (("one", raises), ("two", full), ("three", hangs), ("four", job.launcher))
    try:
        lines = list(page.examine(case_of(), checks))
    finally:
        ever.set()
    assert [(line.check, str(line.finding.verdict)) for line in lines] == [
        ("one", "pass"), ("one", "fail"), ("two", "fail"), ("three", "fail"), ("four", "pass"),
    ]  # fmt: skip
    assert "ValueError" in lines[1].finding.text
    assert "secret" not in lines[1].finding.text
    assert lines[2].finding.text == "/home/x: No space left on device"
    assert "timeout" in lines[3].finding.text


def test_what_fails_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sick(case: Checkup) -> Iterator[Finding]:
        yield doctor_case.failed("it is sick", "Take something.")

    monkeypatch.setattr(page, "CHECKS", (("one", sick),))
    for as_json in (False, True):
        with pytest.raises(UnhealthyError) as caught:
            page.print_page(case_of(), as_json=as_json)
        assert caught.value.exit_code == 9
    messages = capsys.readouterr().out
    assert "one           fail  it is sick\n                    -> Take something.\n" in messages
    assert "0 passed, 0 warned, 1 failed." in messages


# Home, plugins, configuration, leftovers


def browsers_of(case: Checkup) -> list[Finding]:
    return [line.finding for line in page.examine(case, (("browsers", personal.browsers),))]


def test_a_browser_that_does_not_trust_the_ca(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, need: Callable[[str], str]
) -> None:
    """Test a real store of Chromium's, before and after `rps proxy ca --install`."""
    need("certutil")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    (tmp_path / "authority").mkdir()
    authority = Authority(tmp_path / "authority" / "ca", "front", DOMAIN)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.certificate)
    case = case_of()
    assert browsers_of(case) == []  # the service does not run
    case.endpoint = Endpoint(host=f"manage.{DOMAIN}", port=1, ca_file=str(ca_file))
    (paths.home() / ".pki" / "nssdb").mkdir(parents=True)
    (found,) = browsers_of(case)
    assert only([found], Verdict.WARN, "does not trust the CA", "`rps proxy ca --install`")
    assert [one.change for one in install(read(ca_file, DOMAIN))] == [Change.ADDED]
    (found,) = browsers_of(case)
    assert (found.verdict, "trusts the CA" in found.text) == (Verdict.PASS, True)
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")  # the browser is elsewhere
    assert browsers_of(case) == []


def test_a_call_as_a_file_that_is_not_answered() -> None:
    store = Store(paths.sessions_dir())
    store.probe()
    record = SessionRecord(
        name="one-two-three", tag="rps:one-two-three:1", cluster="c", site="generic", scheduler="slurm",
        url=f"http://one-two-three.{DOMAIN}:8443/", endpoint=Endpoint(host=f"manage.{DOMAIN}", port=1),
        own_service=True, tunnel=Tunnel(host="login1", socket="/run/rps.sock", port=8443), app="lab",
        directory="/", walltime=60, created=1.0,
    )  # fmt: skip
    files = store.create(record, Secrets(claim="c" * 43, token="0" * 32))

    def found() -> list[Finding]:
        case = case_of("proxy.own=true", cluster="generic")
        return [line.finding for line in page.examine(case, (("file calls", personal.file_calls),))]

    assert found() == []
    (files.directory / "calls").mkdir(mode=0o700)
    request = files.directory / "calls" / call_files.file_name(call_files.REQUEST, 7)
    request.touch()
    (answered,) = found()
    assert (answered.verdict, answered.text[-1]) == (Verdict.PASS, "1")
    os.utime(request, (time.time() - 600,) * 2)
    only(
        found(),
        Verdict.WARN,
        "one-two-three",
        "was not answered",
        "rps status one-two-three",
        "login1",
    )
    request.unlink()
    assert [one.verdict for one in found()] == [Verdict.PASS]
    store.end(record, now=2.0, outcome="ended", reason="stopped", cause="stopped")
    assert found() == []


def test_a_home_that_others_can_write(tmp_path: Path) -> None:
    case = case_of()
    (tmp_path / "home").chmod(0o777)
    only(list(home.home(case)), Verdict.FAIL, "is writable for everyone", "chmod go-w")


def test_every_directory_that_others_can_replace_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test each variable that names a directory."""
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    case = case_of()
    assert [one.verdict for one in home.safe_paths(case)] == [Verdict.PASS]
    for variable in (
        "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR",
        "RPS_LOCAL_SERVICE_DIR",
    ):  # fmt: skip
        with monkeypatch.context() as changed:
            changed.setattr(tempfile, "tempdir", None)  # which it remembers
            changed.setenv(variable, str(open_to_all))
            case.store = Store(paths.sessions_dir())
            found = list(home.safe_paths(case))
        assert found, variable
        for one in found:
            assert one.verdict is Verdict.FAIL, (variable, one)
            assert f"{open_to_all} is writable for everyone" in one.text, (variable, one)
            assert variable in one.hint, (variable, one)


QUOTAS = """\
Disk quotas for user alice (uid 47101):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
{}
"""
PAST, AHEAD = 1, 4102444800  # 2100, in Unix seconds


@pytest.mark.parametrize(
    ("line", "verdict", "messages"),
    [(f"nfs:/home 10485760* 10000000 10485760 {AHEAD} 17 0 0 0", Verdict.FAIL,
      "on nfs:/home: 10.0 GB of 9.5 GB used; writes fail"),
     (f"nfs:/home 10100000* 10000000 10485760 {PAST} 17 0 0 0", Verdict.FAIL, "writes fail"),
     (f"nfs:/home 10100000* 10000000 10485760 {AHEAD} 17 0 0 0", Verdict.WARN, "from 2100-01-01"),
     ("/dev/sda1 9600 0 10000 0 17 0 0 0", Verdict.WARN, "9.4 MB of 9.8 MB"),
     ("/dev/sda1 4 0 0 0 1000 900 1000 0", Verdict.FAIL, "1000 files of 900 files")],
)  # fmt: skip
def test_a_quota_that_is_used_up(
    programs: Callable[..., None], line: str, verdict: Verdict, messages: str
) -> None:
    """As Linux's `quota` prints it (no file system here has quotas).

    It then ends with 1.
    """
    programs("quota", f"[ \"$*\" = '-Q -w -p' ] && cat <<'E'\n{QUOTAS.format(line)}E\nexit 1")
    only(list(home.home(case_of())), verdict, messages, "Remove some of your files")


@pytest.mark.parametrize("answer", ["none", "9000 10000 10000 0 17 0 0 0", "no * 1 2 3 4 5 6 7 8"])
def test_a_quota_with_room_is_no_news(programs: Callable[..., None], answer: str) -> None:
    programs("quota", f"cat <<'E'\n{QUOTAS.format(f'/dev/sda1 {answer}')}E")
    assert [one.verdict for one in home.home(case_of())] == [Verdict.PASS]


def test_directories_that_others_can_enter_are_closed_with_fix() -> None:
    case = case_of()
    case.store.probe()
    session = case.store.directory / "one-two-three"
    for place in (session, paths.cache_dir()):
        place.mkdir(exist_ok=True)
        place.chmod(0o755)
    found = [one for one in home.state(case) if one.verdict is Verdict.WARN]
    assert [one.text.endswith("(mode 0755)") for one in found] == [True, True], found
    case.fix = True
    fixed = [one.fixed for one in home.state(case) if one.fixed]
    assert fixed == ["set its mode to 0700"] * 2
    assert session.stat().st_mode & 0o777 == 0o700
    assert not [one for one in home.state(case) if one.fixed]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_state_directory_of_another_user() -> None:
    case = case_of()
    case.store.probe()
    os.chown(case.store.directory, 12345, 12345)
    found = list(home.state(case))
    assert {one.verdict for one in found} == {Verdict.FAIL}
    assert "belongs to user 12345" in found[0].text


def test_the_kind_of_a_file_system_is_that_of_the_longest_mount_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = (
        "22 1 0:20 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:31 / /proc rw - proc proc rw\n"
        "40 22 0:40 / /my\\040disk rw,relatime shared:1 - nfs4 server:/export rw\n"
        "41 40 0:41 / /my\\040disk/scratch rw - tmpfs tmpfs rw\n"
    )
    read = Path.read_text

    def text(path: Path, *arguments: Any) -> str:
        return table if str(path) == "/proc/self/mountinfo" else read(path, *arguments)

    monkeypatch.setattr(Path, "read_text", text)
    kinds = [
        home._file_system(Path(place)) for place in ("/home/x", "/my disk/x", "/my disk/scratch")
    ]
    assert kinds == ["ext4", "nfs4", "tmpfs"]


def test_in_the_shell_of_an_allocation_the_error_names_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = Host(hostname="comet-14-01", fqdn="comet-14-01.sdsc.edu", commands={})
    monkeypatch.setattr(machine, "this_host", lambda: node)
    store = Store(paths.sessions_dir())
    (found,) = machine.detection(Checkup(None, (), store))
    only([found], Verdict.FAIL, "is a compute node of Comet", "rps start --here")
    (found,) = machine.detection(Checkup(None, (), store, inside=True))
    assert found.verdict is Verdict.PASS
    assert "use `rps start --here`" in found.text


def test_an_unknown_key_is_reported_with_its_line() -> None:
    paths.config_file().parent.mkdir(parents=True)
    paths.config_file().write_text("job:\n  waltime: 1\n")
    case = Checkup("local", (), Store(paths.sessions_dir()))
    list(machine.detection(case))
    found = only(list(machine.configuration(case)), Verdict.FAIL, "job.waltime", "job.walltime")
    assert f"{paths.config_file()}:2" in found.text
    for needs_it in (job.allocation, job.jupyter, service.service):
        (line,) = page.examine(case, (("one", needs_it),))
        assert line.finding.text == "not checked: the configuration is not valid"
    nowhere = Checkup("no-such-cluster", (), Store(paths.sessions_dir()))
    (line,) = page.examine(nowhere, (("one", job.allocation),))
    assert line.finding.text == "not checked: no cluster was detected"


def test_a_configuration_that_others_can_write() -> None:
    paths.config_file().parent.mkdir(parents=True)
    paths.config_file().write_text("job: {account: abc123}\n")
    paths.config_file().chmod(0o666)
    case = Checkup("local", (), Store(paths.sessions_dir()))
    list(machine.detection(case))
    found = list(machine.configuration(case))
    only(found, Verdict.FAIL, f"{paths.config_file()} is writable for everyone", "chmod go-w")
    paths.config_file().chmod(0o644)
    list(machine.configuration(case))
    (allocation,) = job.allocation(case)
    assert allocation.text == f"abc123, from {paths.config_file()}:1"


@pytest.mark.parametrize(
    ("every", "verdict", "messages"),
    [(["abc123", "xyz789"], Verdict.PASS, "abc123, from --set; your other allocations: xyz789"),
     (["xyz789"], Verdict.WARN, "abc123, from --set, is not one of your allocations: xyz789"),
     ([], Verdict.PASS, "abc123, from --set")],
)  # fmt: skip
def test_the_allocation_among_all(every: list[str], verdict: Verdict, messages: str) -> None:
    case = case_of("job.account=abc123")
    case.site = type("Site", (), {"allocations": lambda _self, _shell: every})()
    (found,) = job.allocation(case)
    assert (found.verdict, found.text) == (verdict, messages)


def test_no_jupyter(monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of("notebook.jupyter=no-such-jupyter")
    only(list(job.plan(case)), Verdict.FAIL, "`no-such-jupyter` not found", "Give the path")


@pytest.mark.parametrize(
    ("profile", "verdict", "messages"),
    [
        ("", Verdict.PASS, "comes back"),
        ("echo Welcome to the cluster", Verdict.PASS, "comes back"),
        ("exec zsh", Verdict.FAIL, "becomes another program"),
        ("set -e; no-such-command", Verdict.FAIL, "no-such-command: command not found"),
        ("sleep 1000", Verdict.FAIL, "does not come back"),
    ],
)
def test_a_login_shell_that_does_not_come_back(
    profile: str,
    verdict: Verdict,
    messages: str,
    monkeypatch: pytest.MonkeyPatch,
    need: Callable[[str], str],
) -> None:
    """Jobs of Slurm, Torque and PBS begin with one."""
    need("zsh")
    monkeypatch.setattr(doctor_case, "CALL_TIME", 2.0 if "sleep" in profile else 30.0)
    (Path(os.environ["HOME"]) / ".bash_profile").write_text(f"{profile}\n")
    (found,) = list(job.login_shell(case_of()))
    assert found.verdict is verdict
    assert messages in found.text
    assert bool(found.hint) == (verdict is Verdict.FAIL)


def test_a_batch_script_without_a_login_shell_needs_none() -> None:
    case = case_of("notebook.jupyter=/bin/true", "notebook.modules=[x]")
    list(job.plan(case))
    assert case.plan is not None
    (found,) = list(job.login_shell(case))
    assert found.text.startswith("not needed")


def test_a_missing_module_is_reported_as_in_a_job() -> None:
    case = case_of('notebook.modules=["no/such"]')
    list(job.plan(case))
    only(list(job.jupyter(case)), Verdict.WARN, "no/such", "compute nodes have it")


def record(name: str, **more: Any) -> SessionRecord:
    made = SessionRecord(
        name=name, tag=f"rps:{name}:1", cluster="local", site="local", scheduler="local",
        url=f"https://{name}.rps.localhost/", endpoint=Endpoint(host="manage.rps.localhost", port=1),
        own_service=False, app="lab", directory="/", walltime=60, created=1.0,
    )  # fmt: skip
    return replace(made, **more)


def test_leftovers_of_dead_sessions_are_reported_and_with_fix_removed(tmp_path: Path) -> None:
    case = case_of()
    case.store.probe()
    store = case.store
    # Never submitted: its launcher was killed long ago.
    never = store.create(record("never-sent-here"), Secrets("a" * 43, "b" * 32))
    (never.directory / "claim.json").unlink()  # no service is asked here
    # Its supervisor was killed, and sessions have not been listed since.
    job = "999999999.1.00000000@" + os.uname().nodename
    gone = store.create(record("gone-one-here", job_id=job), Secrets("a" * 43, "b" * 32))
    (gone.directory / "claim.json").unlink()
    # What two commands were writing when they were killed.
    page = paths.page_to_open("gone-one-here")  # for a browser, with the token
    halves = [
        store.directory / ".probe.17",
        *(gone.directory / f".{name}.17.1234" for name in ("session.json", "agent.pyz")),
        page,
        page.with_name(f".{page.name}.17.1234"),
        paths.config_file().with_name(".config.yaml.17.1234"),
        paths.cache_dir() / ".configuration.17.1234",
    ]
    paths.config_file().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths.make_directory(paths.cache_dir())
    for path in halves:
        path.touch()
        os.utime(path, (1.0, 1.0))
    kept = [paths.home() / "rps-how-to-use.html", paths.home() / ".rps-notes.html.v1.txt"]
    for path in kept:  # somebody's own
        path.touch()
        os.utime(path, (1.0, 1.0))
    # Ended, and its secrets are back: a home directory restored from a backup.
    ended = store.create(record("ended-one-here"), Secrets("a" * 43, "b" * 32))
    store.end(store.load("ended-one-here"), now=5.0, outcome="ended", reason="stopped")
    ended.write("claim.json", json.dumps({"claim": "canary-claim", "token": "canary-token"}))
    # Begun and never recorded. (The job of one that lost its record may still run.)
    begun, lost = store.directory / "begun-one-here", store.directory / "lost-one-here"
    for path in (begun, lost):
        path.mkdir()
        os.utime(path, (1.0, 1.0))
    (lost / "events.jsonl").write_text("{}\n")
    sockets = Path("/tmp") / f"rps-{os.urandom(4).hex()}"
    sockets.mkdir()
    os.utime(sockets, (1.0, 1.0))

    try:
        found = [one for one in leftovers.leftovers(case) if str(tmp_path) in one.text
                 or "-here" in one.text or sockets.name in one.text]  # fmt: skip
        messages = "\n".join(f"{one.text} {one.hint}" for one in found)
        assert {one.verdict for one in found} == {Verdict.WARN}
        for words in ("never-sent-here is recorded as running", "gone-one-here is recorded as running",
                      f"3 unfinished files of killed commands in {store.directory}",
                      f"2 unfinished files of killed commands in {paths.home()}",
                      f"1 unfinished file of killed commands in {paths.config_file().parent}",
                      f"1 unfinished file of killed commands in {paths.cache_dir()}",
                      "ended-one-here has ended, but its secrets",
                      "lost-one-here has no readable record", str(sockets)):  # fmt: skip
            assert words in messages
        assert "canary" not in messages

        case.fix = True
        fixed = {one.text.split()[0]: one.fixed for one in leftovers.leftovers(case) if one.fixed}
        assert fixed["ended-one-here"] == "removed"
        assert "before it submitted the job" in fixed["never-sent-here"]
        assert fixed[str(sockets)] == "removed"
        assert not (ended.directory / "claim.json").exists()
        assert not sockets.exists()
        assert not any(path.exists() for path in halves)
        assert all(path.exists() for path in kept)
        assert store.load("gone-one-here").ended is not None
        assert store.load("never-sent-here").outcome == "failed"
        assert lost.exists()
        assert not begun.exists()
        assert not [one for one in leftovers.leftovers(case) if one.fixed]
    finally:
        if sockets.exists():
            sockets.rmdir()


def test_fix_removes_nothing_but_what_is_of_a_session(tmp_path: Path) -> None:
    """Test links, and directories with other names: both are kept."""
    case = case_of()
    case.store.probe()
    elsewhere = tmp_path / "elsewhere"
    mine = case.store.directory / "My notes"
    for directory in (elsewhere, mine):
        (directory / "run").mkdir(parents=True)
        for name in (".session.json.17.4711", "claim.json", "run/key.pem"):
            (directory / name).touch()
            os.utime(directory / name, (1.0, 1.0))
        os.utime(directory, (1.0, 1.0))
    (case.store.directory / "one-two-three").symlink_to(elsewhere)
    before = sorted(path for place in (elsewhere, mine) for path in place.rglob("*"))
    case.fix = True
    messages = [one.text for one in leftovers.leftovers(case)]
    assert sum("is not a session's directory" in text for text in messages) == 2
    assert sorted(path for place in (elsewhere, mine) for path in place.rglob("*")) == before
