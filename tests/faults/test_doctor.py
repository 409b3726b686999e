"""`rps doctor` on sick machines: each sickness, as far as it can be had here for real, and its line."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from rps_core import paths, shell
from rps_core.doctor import case as doctor_case
from rps_core.doctor import home, job, leftovers, machine, page, scheduler, service
from rps_core.doctor.case import Case, Finding, Verdict
from rps_core.errors import UnhealthyError
from rps_core.models import Host, Question
from rps_core.record import Endpoint, Record, Secrets
from rps_core.store import Store
from rps_proxy.authority import Authority
from tests.older_service import OlderService
from tests.tls_server import TlsServer

DOMAIN = "rps.localhost"


class FakeService(TlsServer):
    """Answers *health* with `answer`, at a time that is `ahead` of ours by so many seconds."""

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


def case_of(*settings: str, cluster: str = "local") -> Case:
    """A machine whose cluster and configuration have been found."""
    case = Case(cluster, settings, shell.run, Store(paths.sessions_dir()))
    list(machine.detection(case))
    found = list(machine.configuration(case))
    assert [one.verdict for one in found] == [Verdict.PASS], found
    return case


def examined(server: TlsServer, *settings: str) -> tuple[list[Finding], list[Finding]]:
    """The findings on the service, and on the clock."""
    case = case_of("proxy.own=false", f"proxy.domain={DOMAIN}", f"proxy.port={server.port}",
                   f"proxy.ca_file={server.ca_file}", *settings)  # fmt: skip
    lines = page.examine(case, (("service", service.service), ("clock", service.clock)))
    found: dict[str, list[Finding]] = {"service": [], "clock": []}
    for line in lines:
        found[line.check].append(line.finding)
    return found["service"], found["clock"]


def only(findings: list[Finding], verdict: Verdict, *words: str) -> Finding:
    """The one finding of this verdict; it has these words, and says what to do."""
    (found,) = [one for one in findings if one.verdict is verdict]
    for word in words:
        assert word in f"{found.text} {found.hint}", found
    assert found.hint
    return found


def test_a_healthy_service(serving: Callable[..., FakeService]) -> None:
    found, clock = examined(serving())
    assert [one.verdict for one in found] == [Verdict.PASS] * 3, found
    assert "names *.rps.localhost" in found[1].text
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
        "it tells whether the clock is to blame"
    )


def test_its_certificate_expires_soon(serving: Callable[..., FakeService]) -> None:
    found, _ = examined(serving(days=3))
    only(found, Verdict.WARN, "3 more days", "renew")


def test_its_certificate_is_from_another_ca(serving: Callable[..., FakeService]) -> None:
    other = serving()
    server = serving()
    found, _ = examined(server, f"proxy.ca_file={other.ca_file}")
    only(found, Verdict.FAIL, "is not from the CA in", str(other.ca_file), "proxy.ca_file")


def test_its_certificate_is_for_another_name(serving: Callable[..., FakeService]) -> None:
    found, _ = examined(serving(hosts=["elsewhere.rps.localhost"]))
    only(found, Verdict.FAIL, "is not for manage.rps.localhost", "proxy.domain")


def test_its_certificate_names_no_wildcard(serving: Callable[..., FakeService]) -> None:
    found, _ = examined(serving(hosts=[f"manage.{DOMAIN}"]))
    only(found, Verdict.FAIL, "names no *.rps.localhost", "wildcard")


def test_it_is_draining(serving: Callable[..., FakeService]) -> None:
    server = serving()
    server.answer["draining"] = True
    only(examined(server)[0], Verdict.WARN, "draining", "drain --off")


def test_it_answers_other_hosts_alone(serving: Callable[..., FakeService]) -> None:
    server = serving()
    server.status, server.answer = 403, {"error": "outside-networks", "message": "no"}
    only(examined(server)[0], Verdict.FAIL, "cluster's own hosts", "login node")


def test_another_web_server_has_its_name(serving: Callable[..., FakeService]) -> None:
    server = serving()
    server.status, server.answer = 404, {"nothing": "here"}
    only(examined(server)[0], Verdict.FAIL, "no Reverse Proxy Service", "404")


def test_the_older_service_is_recognised(tmp_path: Path) -> None:
    server = OlderService(tmp_path)
    try:
        found, _ = examined(server)
        assert found[-1].verdict is Verdict.PASS, found
        assert "the older service" in found[-1].text
        asked = [script for script, _ in server.calls]
        assert asked == ["tokenjobstate.cgi"], "no name is asked for"
        only(examined(server, "proxy.protocol=rps")[0], Verdict.FAIL, "no Reverse Proxy Service")
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("ahead", "verdict", "told"),
    [(-600, Verdict.FAIL, r"(59|60)\d s ahead of"), (600, Verdict.FAIL, r"(59|60)\d s behind"),
     (30, Verdict.WARN, r"\d s behind")],
)  # fmt: skip
def test_the_clocks_differ(
    serving: Callable[..., FakeService], ahead: float, verdict: Verdict, told: str
) -> None:
    server = serving()
    server.ahead = ahead
    found = only(examined(server)[1], verdict, "chrony")
    # A header has whole seconds, and its way takes some time.
    assert re.search(told, found.text), found


# The scheduler


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a program onto the PATH."""
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")

    def write(name: str, text: str) -> None:
        (directory / name).write_text(f"#!/bin/sh\n{text}\n")
        (directory / name).chmod(0o755)

    return write


def asked(*questions: Question) -> list[Finding]:
    """What is found where the scheduler's plugin names these questions."""
    case = case_of()
    case.site = type("Site", (), {"questions": lambda _self: questions})()
    return list(scheduler.scheduler(case))


def test_a_scheduler_that_answers_and_one_that_does_not(programs: Callable[..., None]) -> None:
    programs("squeue", "echo 17")
    programs("sacct", "echo 'sacct: error: Problem talking to the database' >&2")
    programs("sbatch", "echo 'unable to contact slurm controller' >&2; exit 1")
    found = asked(
        Question(argv=("squeue",)),
        Question(argv=("sacct",), needed=False, without="Reasons stay unknown."),
        Question(argv=("sbatch",)),
        Question(argv=("not-there",)),
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
    (found,) = asked(Question(argv=("squeue",)))
    assert (found.verdict, found.text) == (Verdict.FAIL, "`squeue` did not answer within 0 s")


def test_the_time_of_the_page_ends() -> None:
    case = case_of()
    case.ends = time.monotonic()
    case.site = type("Site", (), {"questions": lambda _self: [Question(argv=("true",))]})()
    (found,) = scheduler.scheduler(case)
    assert found.verdict is Verdict.FAIL
    assert "the time for the whole page was over" in found.text


# The runner


def test_a_check_that_raises_or_hangs_costs_its_own_line_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page, "_CHECK_TIME", 2.0)
    ever = threading.Event()

    def raises(case: Case) -> Iterator[Finding]:
        yield doctor_case.passed("so far")
        raise ValueError("a secret in an error's text")

    def full(case: Case) -> Iterator[Finding]:
        raise OSError(28, "No space left on device", "/home/x")
        yield

    def hangs(case: Case) -> Iterator[Finding]:
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
    assert "does not come to an end" in lines[3].finding.text


def test_what_fails_has_an_exit_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def sick(case: Case) -> Iterator[Finding]:
        yield doctor_case.failed("it is sick", "Take something.")

    monkeypatch.setattr(page, "CHECKS", (("one", sick),))
    for as_json in (False, True):
        with pytest.raises(UnhealthyError) as caught:
            page.print_page(case_of(), as_json=as_json)
        assert caught.value.exit_code == 9
    told = capsys.readouterr().out
    assert "one           fail  it is sick\n                    -> Take something.\n" in told
    assert "0 passed, 0 warned, 1 failed." in told


# Home, plugins, configuration, leftovers


def test_a_home_that_others_can_write(tmp_path: Path) -> None:
    (tmp_path / "home").chmod(0o777)
    only(list(home.home(case_of())), Verdict.FAIL, "everybody can write in", "chmod go-w")
    (tmp_path / "home").chmod(0o770)
    only(list(home.home(case_of())), Verdict.WARN, "the group", "chmod g-w")


QUOTAS = """\
Disk quotas for user alice (uid 47101):
     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace
{}
"""
PAST, AHEAD = 1, 4102444800  # 2100, in Unix seconds


@pytest.mark.parametrize(
    ("line", "verdict", "told"),
    [(f"nfs:/home 10485760* 10000000 10485760 {AHEAD} 17 0 0 0", Verdict.FAIL,
      "on nfs:/home, 10.0 GB of 9.5 GB are used: nothing more can be written"),
     (f"nfs:/home 10100000* 10000000 10485760 {PAST} 17 0 0 0", Verdict.FAIL, "nothing more"),
     (f"nfs:/home 10100000* 10000000 10485760 {AHEAD} 17 0 0 0", Verdict.WARN, "from 2100-01-01"),
     ("/dev/sda1 9600 0 10000 0 17 0 0 0", Verdict.WARN, "9.4 MB of 9.8 MB"),
     ("/dev/sda1 4 0 0 0 1000 900 1000 0", Verdict.FAIL, "1000 files of 900 files")],
)  # fmt: skip
def test_a_quota_that_is_used_up(
    programs: Callable[..., None], line: str, verdict: Verdict, told: str
) -> None:
    """As Linux's `quota` prints it (no file system here has quotas): it then ends with 1."""
    programs("quota", f"[ \"$*\" = '-Q -w -p' ] && cat <<'E'\n{QUOTAS.format(line)}E\nexit 1")
    only(list(home.home(case_of())), verdict, told, "Remove some files")


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
    assert fixed == ["its mode is 0700 now"] * 2
    assert session.stat().st_mode & 0o777 == 0o700
    assert not [one for one in home.state(case) if one.fixed]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_state_directory_of_somebody_elses() -> None:
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


def test_in_the_shell_of_an_allocation_it_is_told_how_one_starts_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = Host(hostname="comet-14-01", fqdn="comet-14-01.sdsc.edu", commands={})
    monkeypatch.setattr(machine, "this_host", lambda: node)
    store = Store(paths.sessions_dir())
    (found,) = machine.detection(Case(None, (), shell.run, store))
    only([found], Verdict.FAIL, "is a compute node of Comet", "rps start --here")
    (found,) = machine.detection(Case(None, (), shell.run, store, inside=True))
    assert found.verdict is Verdict.PASS
    assert "`rps start --here` starts a session" in found.text


def test_an_unknown_key_is_told_with_its_line() -> None:
    paths.config_file().parent.mkdir(parents=True)
    paths.config_file().write_text("job:\n  waltime: 1\n")
    case = Case("local", (), shell.run, Store(paths.sessions_dir()))
    list(machine.detection(case))
    found = only(list(machine.configuration(case)), Verdict.FAIL, "job.waltime", "job.walltime")
    assert f"{paths.config_file()}:2" in found.text
    for needs_it in (job.allocation, job.jupyter, service.service):
        (line,) = page.examine(case, (("one", needs_it),))
        assert line.finding.text == "not checked: the configuration is not valid"
    nowhere = Case("no-such-cluster", (), shell.run, Store(paths.sessions_dir()))
    (line,) = page.examine(nowhere, (("one", job.allocation),))
    assert line.finding.text == "not checked: no cluster was detected"


def test_a_configuration_that_others_can_write() -> None:
    paths.config_file().parent.mkdir(parents=True)
    paths.config_file().write_text("job: {account: abc123}\n")
    paths.config_file().chmod(0o666)
    case = Case("local", (), shell.run, Store(paths.sessions_dir()))
    list(machine.detection(case))
    found = list(machine.configuration(case))
    only(found, Verdict.FAIL, "everybody can write", "your jobs run anything")
    (allocation,) = job.allocation(case)
    assert allocation.text == f"abc123, from {paths.config_file()}:1"


@pytest.mark.parametrize(
    ("every", "verdict", "told"),
    [(["abc123", "xyz789"], Verdict.PASS, "abc123, from --set; yours too are xyz789"),
     (["xyz789"], Verdict.WARN, "abc123, from --set, is not among yours: xyz789"),
     ([], Verdict.PASS, "abc123, from --set")],
)  # fmt: skip
def test_the_allocation_among_all(every: list[str], verdict: Verdict, told: str) -> None:
    case = case_of("job.account=abc123")
    case.site = type("Site", (), {"allocations": lambda _self, _shell: every})()
    (found,) = job.allocation(case)
    assert (found.verdict, found.text) == (verdict, told)


def test_no_jupyter(monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of("notebook.jupyter=no-such-jupyter")
    only(list(job.plan(case)), Verdict.FAIL, "no `no-such-jupyter`", "pip install jupyterlab")


def test_a_module_that_is_not_here_is_told_with_the_jobs_words() -> None:
    case = case_of('notebook.modules=["no/such"]')
    list(job.plan(case))
    only(list(job.jupyter(case)), Verdict.WARN, "no/such", "nodes have more")


def record(name: str, **more: Any) -> Record:
    made = Record(
        name=name, tag=f"rps:{name}:1", cluster="local", site="local", scheduler="local",
        url=f"https://{name}.example.org/", endpoint=Endpoint(host="manage.rps.localhost", port=1),
        own_service=False, app="lab", directory="/", walltime=60, created=1.0,
    )  # fmt: skip
    return replace(made, **more)


def test_leftovers_of_dead_sessions_are_told_and_with_fix_removed(tmp_path: Path) -> None:
    case = case_of()
    case.store.probe()
    store = case.store
    # Never submitted, by a launcher that was killed long ago.
    never = store.create(record("never-sent-here"), Secrets("a" * 43, "b" * 32))
    (never.directory / "claim.json").unlink()  # no service is asked here
    # Its supervisor was killed, and nobody has listed sessions since.
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
    ]
    paths.config_file().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in halves:
        path.touch()
        os.utime(path, (1.0, 1.0))
    kept = [paths.home() / "rps-how-to-use.html", paths.home() / ".rps-notes.html.v1.txt"]
    for path in kept:  # somebody's own
        path.touch()
        os.utime(path, (1.0, 1.0))
    # Ended, and somebody put its secrets back: a backup, or a home directory that came back from one.
    ended = store.create(record("ended-one-here"), Secrets("a" * 43, "b" * 32))
    store.end(store.load("ended-one-here"), now=5.0, outcome="ended", reason="stopped")
    ended.write("claim.json", json.dumps({"claim": "canary-claim", "token": "canary-token"}))
    # Begun and never recorded; one that lost its record is another matter, for its job may live.
    begun, lost = store.directory / "begun-one-here", store.directory / "lost-one-here"
    for path in (begun, lost):
        path.mkdir()
        os.utime(path, (1.0, 1.0))
    (lost / "events.jsonl").write_text("{}\n")
    sockets = Path("/tmp") / f"rps-{os.urandom(8).hex()}"
    sockets.mkdir()
    os.utime(sockets, (1.0, 1.0))

    try:
        found = [one for one in leftovers.leftovers(case) if str(tmp_path) in one.text
                 or "-here" in one.text or sockets.name in one.text]  # fmt: skip
        told = "\n".join(f"{one.text} {one.hint}" for one in found)
        assert {one.verdict for one in found} == {Verdict.WARN}
        for words in ("never-sent-here counts as living", "gone-one-here counts as living",
                      f"3 files in {store.directory}", f"2 files in {paths.home()}",
                      f"1 files in {paths.config_file().parent}",
                      "ended-one-here has ended, and its secrets",
                      "lost-one-here has no record", str(sockets)):  # fmt: skip
            assert words in told
        assert "canary" not in told

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
