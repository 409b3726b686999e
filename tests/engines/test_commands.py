"""`rps proxy engine render` and `check`, with the real programs."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rps_proxy.engines.apache import configuration as apache
from rps_proxy.engines.haproxy import configuration as haproxy
from tests.engines.stand import PROGRAMS, Stand, listens, running
from tests.stands.certificates import PublicCa
from tests.stands.service import DOMAIN
from tests.stands.waiting import until

CONFIGURATION = {"haproxy": haproxy.CONFIG, "apache": apache.CONFIG}
_COMMAND = [sys.executable, "-c", "from rps_core.cli.main import main; main()", "proxy", "engine"]


@pytest.fixture(params=CONFIGURATION)
def stand(
    request: pytest.FixtureRequest, tmp_path: Path, need: Callable[[str], str]
) -> Iterator[Stand]:
    with running(tmp_path, request.param, need) as stand:
        yield stand


def engine(stand: Stand, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    given = {**stand.given, **settings}
    command = [*_COMMAND, *arguments, *(f"--set={key}={value}" for key, value in given.items())]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_what_is_rendered_is_what_the_service_wrote(stand: Stand, tmp_path: Path) -> None:
    printed = engine(stand, "render")
    assert printed.returncode == 0, printed.stderr
    written = engine(stand, "render", "--output", str(tmp_path / "new"))
    files = [Path(line) for line in written.stdout.splitlines()]
    assert tmp_path / "new" / CONFIGURATION[stand.kind] in files
    for file in files:
        assert file.read_text() == (stand.meeting / file.name).read_text()
        assert file.read_text() in printed.stdout


def test_the_engine_itself_finds_no_fault(stand: Stand, need: Callable[[str], str]) -> None:
    """Test that it prints no warning, which operators would see at each start."""
    done = engine(stand, "check")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "The engine accepts its configuration.\n"
    path = str(stand.meeting / CONFIGURATION[stand.kind])
    options = ["-c", "-f", path] if stand.kind == "haproxy" else ["-t", "-f", path]
    command = [need(PROGRAMS[stand.kind] or ""), *options]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60).stderr
    assert "ALERT" not in said
    assert "WARNING" not in said.upper()


def test_a_defect_is_reported_with_file_and_line(stand: Stand) -> None:
    path = stand.meeting / CONFIGURATION[stand.kind]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "nonsense of ours", ""]))
    done = engine(stand, "check")
    assert done.returncode == 4
    assert str(path) in done.stderr
    assert str(len(lines) + 1) in done.stderr
    assert "nonsense" in done.stderr


def test_what_is_missing_is_named(stand: Stand, tmp_path: Path) -> None:
    before = engine(stand, "check", engine_directory=tmp_path / "nothing-yet")
    assert before.returncode == 4
    assert "Start the service first" in before.stderr
    absent = engine(stand, "check", **{f"{stand.kind}.program": "no-such-program"})
    assert absent.returncode == 4
    assert f"`{stand.kind}.program`" in absent.stderr
    embedded = engine(stand, "check", engine="embedded")
    assert embedded.returncode == 2
    assert "Set `engine` to haproxy or apache" in embedded.stderr


def test_the_status_looks_at_the_engine_when_asked(stand: Stand) -> None:
    def status() -> subprocess.CompletedProcess[str]:
        command = [*_COMMAND[:-1], "status"]
        given = {**stand.given, "listen.port": stand.port}
        options = [f"--set={key}={value}" for key, value in given.items()]
        return subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)

    def in_step() -> bool:
        done = status()
        return done.returncode == 0 and ", in step," in done.stdout

    until(in_step, "it is in step")
    logged = stand.engine_log()
    assert status().returncode == 0
    assert stand.engine_log() == logged  # without our own requests
    stand.kill_engine()
    dead = status()
    assert dead.returncode == 9
    assert ", not in step," in dead.stdout
    assert "not ready: the engine" in dead.stdout
    stand.start_engine()
    until(in_step, "it is in step again")
    stand.signal_engine(signal.SIGSTOP)
    try:
        hangs = status()
    finally:
        stand.signal_engine(signal.SIGCONT)
    assert hangs.returncode == 9
    assert ", not in step," in hangs.stdout
    stand.stop()
    away = status()
    assert away.returncode == 4
    assert "engine   running: existing routes work" in away.stdout
    assert "systemctl start rps-proxy" in " ".join(away.stderr.split())
    stand.kill_engine()
    assert "engine   not answering" in status().stdout


def test_a_port_that_is_taken_is_reported_by_the_engine(stand: Stand) -> None:
    stand.kill_engine()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", stand.port))
        taken.listen()
        process = stand.run("engine run", stand.given, stand.directory / "engine.log")
        try:
            assert process.wait(60) != 0
        finally:
            process.kill()
    assert "Address already in use" in stand.engine_log()


@pytest.mark.parametrize("kind", ["embedded", *CONFIGURATION])
def test_a_check_before_a_restart(
    kind: str, tmp_path: Path, need: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test a check without a service: it finds what a start would, and leaves no file."""
    if program := PROGRAMS[kind]:
        need(program)
    ca = PublicCa(tmp_path, DOMAIN)
    ca.renew()
    monkeypatch.setenv("SSL_CERT_FILE", str(ca.root_file))
    audit = tmp_path / "audit"
    audit.mkdir()
    good = {
        "engine": kind,
        "directory": tmp_path / "service",
        "engine_directory": tmp_path / "engine",
        "tls.certificate": ca.certificate,
        "tls.key": ca.key,
        "audit.file": audit / "audit.log",
        "haproxy.group": "root",
        "apache.group": "root",
    }

    def check(**settings: object) -> subprocess.CompletedProcess[str]:
        options = [f"--set={key}={value}" for key, value in {**good, **settings}.items()]
        command = [*_COMMAND[:-1], "check", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    before = sorted(tmp_path.rglob("*"))
    done = check()
    assert done.stderr == "The service can start with this configuration.\n"
    assert (done.returncode, done.stdout) == (0, "")
    faults: dict[str, tuple[dict[str, object], int, str]] = {
        "a value": ({"listen.port": 70000}, 2, "`listen.port` must be a port"),
        "the audit log": (
            {"audit.file": audit / "none" / "audit.log"},
            4,
            "Cannot write the audit log",
        ),
        "a key": ({"networks.issue_key_file": tmp_path / "none"}, 4, "holds no key for issuing"),
    }
    if program:
        faults["the engine"] = ({f"{kind}.program": "false"}, 4, "false rejected")
        faults["no engine"] = (
            {f"{kind}.program": "/none/engine"},
            4,
            "`/none/engine` is not an executable file of this host",
        )
    for what, (settings, code, said) in faults.items():
        done = check(**settings)
        assert (done.returncode, said in " ".join(done.stderr.split())) == (code, True), what
    assert sorted(tmp_path.rglob("*")) == before
    ca.spoil("another key")
    done = check()
    assert done.returncode == 2
    assert "the key is another certificate's" in " ".join(done.stderr.split())
    ca.spoil("no chain")
    done = check()
    assert done.returncode == 0
    assert "warning: could not verify" in done.stderr


def test_a_mistake_in_the_configuration_stops_no_traffic(stand: Stand, tmp_path: Path) -> None:
    with stand.notebook() as (session, _):
        stand.kill_engine()
        log = stand.directory / "engine.log"
        command = f"engine run --config {tmp_path / 'typo.yaml'}"
        (tmp_path / "typo.yaml").write_text("lisen: {}\n")
        refused = stand.run(command, {}, log)
        assert refused.wait(60) != 0
        # Errors after which systemd must not restart have another exit code.
        assert engine(stand, "run", "--config", str(tmp_path / "typo.yaml")).returncode == 4
        stand.engine = stand.run(f"{command} --last {stand.meeting}", {}, log)
        until(lambda: listens("127.0.0.1", stand.port), "the engine is back")
        assert stand.request(session.host, "GET", "/").status == 200
        assert "engine-started-as-before" in stand.engine_log()
