"""`rps proxy engine render` and `check`, with the real programs."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rps_proxy.engines import apache, haproxy
from tests.engines.stand import PROGRAMS, Stand, running

CONFIGURATION = {"haproxy": haproxy.CONFIG, "apache": apache.CONFIG}
_COMMAND = [sys.executable, "-c", "from rps_core.cli import main; main()", "proxy", "engine"]


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
    """And nothing that it warns of, which an operator would read at each start."""
    done = engine(stand, "check")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "The engine takes its configuration.\n"
    path = str(stand.meeting / CONFIGURATION[stand.kind])
    options = ["-c", "-f", path] if stand.kind == "haproxy" else ["-t", "-f", path]
    command = [need(PROGRAMS[stand.kind] or ""), *options]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60).stderr
    assert "ALERT" not in said
    assert "WARNING" not in said.upper()


def test_a_defect_is_told_with_file_and_line(stand: Stand) -> None:
    path = stand.meeting / CONFIGURATION[stand.kind]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, "nonsense of ours", ""]))
    done = engine(stand, "check")
    assert done.returncode == 4
    assert str(path) in done.stderr
    assert str(len(lines) + 1) in done.stderr
    assert "nonsense" in done.stderr


def test_what_is_missing_is_told(stand: Stand, tmp_path: Path) -> None:
    before = engine(stand, "check", engine_directory=tmp_path / "nothing-yet")
    assert before.returncode == 4
    assert "start `rps proxy serve` first" in before.stderr
    absent = engine(stand, "check", **{f"{stand.kind}.program": "no-such-program"})
    assert absent.returncode == 4
    assert f"`{stand.kind}.program`" in absent.stderr
    embedded = engine(stand, "check", engine="embedded")
    assert embedded.returncode == 2
    assert "Set `engine` to haproxy or apache" in embedded.stderr


def test_a_port_that_is_taken_is_told_by_the_engine(stand: Stand) -> None:
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
