"""`rps doctor` as a user runs it: on a healthy machine, and on sick ones."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import environment_of, path_without_schedulers

Start = Callable[..., dict[str, Any]]


def lines(done: Any) -> dict[str, list[tuple[str, str]]]:
    """Verdicts and texts, with what to do behind them, by the name of the check."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in json.loads(done.stdout)["lines"]:
        text = f"{line['text']} {line['hint'] or ''}{line['fixed'] or ''}"
        found.setdefault(line["check"], []).append((line["verdict"], text))
    return found


def only(found: list[tuple[str, str]], verdict: str) -> str:
    (text,) = [text for one, text in found if one == verdict]
    return text


def test_a_healthy_machine_with_a_session(installed: Any, start: Start) -> None:
    """Test that every check runs and passes, and that no secret is printed."""
    name = start()["name"]
    state = Path(installed.user.home) / ".local/state/rps/sessions" / name
    service = Path(f"/var/tmp/rps-{installed.user.uid}")
    secrets = list(json.loads((state / "claim.json").read_text()).values())
    secrets += [(service / "issue.key").read_text().strip()]
    page = installed.rps("doctor", "-vv")
    message = installed.rps("doctor", "--json", "-vv", "--log-format", "json")
    found = lines(message)
    assert list(found) == [
        "launcher", "detection", "plugins", "configuration", "allocation", "plan", "login shell",
        "jupyter", "home",
        "sessions", "paths", "service", "clock", "scheduler", "leftovers",
    ]  # fmt: skip
    bad = {
        check: one for check, one in found.items() if {verdict for verdict, _ in one} != {"pass"}
    }
    assert bad == {}
    assert "ready (rps" in found["service"][-1][1]
    assert page.stdout.endswith(" passed, 0 warned, 0 failed.\n")
    for text in (page.stdout, page.stderr, message.stdout, message.stderr):
        for secret in secrets:
            assert secret not in text


@pytest.fixture
def broken_plugin(installed: Any) -> Iterator[str]:
    """Install a plugin that cannot be imported into the environment of rps."""
    (place,) = (installed.directory / ".venv/lib").glob("python*/site-packages")
    metadata = place / "rps_broken-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: rps-broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[rps]\nbroken = rps_broken_plugin\n")
    yield "broken (rps-broken 1.0) is broken: ModuleNotFoundError"
    shutil.rmtree(metadata)


def test_a_sick_configuration_home_and_plugin(installed: Any, broken_plugin: str) -> None:
    home = Path(installed.user.home)
    config = home / ".config/rps/config.yaml"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text("job: {waltime: 1}\n")
    mode = home.stat().st_mode
    try:
        odd = installed.rps("doctor", "--json", check=False)
        home.chmod(0o777)
        # A state directory where this user can write nothing, too.
        done = installed.rps("doctor", "--json", env={"XDG_STATE_HOME": "/"}, check=False)
    finally:
        home.chmod(mode)
        config.unlink()
    assert done.returncode == 9, done.stderr
    found = lines(done)
    mistake, doubt = [text for verdict, text in found["plugins"] if verdict == "warn"]
    assert broken_plugin in mistake
    assert "RPS_BLOCK=broken" in mistake
    assert (
        "may belong to the cluster `broken`, whose plugin is broken; going on with `local`" in doubt
    )
    assert f"{config}:1: unknown key `job.waltime`" in only(lines(odd)["configuration"], "fail")
    assert f"{home} is writable for everyone" in only(found["configuration"], "fail")
    assert f"{home} is writable for everyone" in only(found["home"], "fail")
    assert "/rps/sessions: Permission denied" in only(found["sessions"], "fail")
    assert "not checked" in only(found["service"], "warn")
    assert {verdict for verdict, _ in found["leftovers"]} == {"pass"}


def test_jupyter_is_the_one_that_the_job_takes(installed: Any) -> None:
    """Test a prologue that makes none, and one that makes its own."""
    made = installed.user.make(Path(installed.user.home) / "made")
    for name in ("jupyter", "jupyter-lab"):
        (made / name).write_text("#!/bin/sh\necho 4.0.made\n")
        (made / name).chmod(0o755)
    for path in ("$PATH", f"{made}:$PATH"):
        (made / "before.sh").write_text(f"export PATH={path} OMP_NUM_THREADS=1\n")
        settings = {"RPS_NOTEBOOK_PROLOGUE": str(made / "before.sh")}
        done = installed.rps("doctor", "--json", env=settings, check=False)
        found = lines(done)["jupyter"]
        assert ("4.0.made" in only(found, "pass")) == (path != "$PATH"), found


def test_a_clock_that_is_wrong(
    installed: Any, start: Start, need: Callable[[str], str], ground: Path
) -> None:
    programs = ground / "programs"
    start()
    done = installed.user.run(
        [need("faketime"), "-f", "+10m", str(installed.directory / "rps"), "doctor", "--json"],
        # libfaketime breaks Python's `time.sleep`, with which it waits for a command's end: none is run.
        env={"FAKETIME_DONT_FAKE_MONOTONIC": "1", "PATH": path_without_schedulers(programs)},
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    # A header has whole seconds, and its way takes some time.
    message = only(lines(done)["clock"], "fail")
    assert re.search(r"(59|60)\d s ahead of the service's", message), message


def test_a_disk_that_is_full(installed: Any, need: Callable[[str], str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    disk = installed.user.make(Path(installed.user.home) / "disk")
    user = installed.user
    fill = f"mount -t tmpfs -o size=64k,mode=700,uid={user.uid} tmpfs disk; "
    fill += "head -c 60k /dev/zero >disk/ballast; "
    become = f'exec setpriv --reuid={user.uid} --regid={user.gid} --clear-groups "$@"'
    done = subprocess.run(
        [need("unshare"), "--mount", "sh", "-c", fill + become, "sh",
         str(installed.directory / "rps"), "doctor", "--json"],
        env={**environment_of(user.home), "XDG_STATE_HOME": str(disk)}, cwd=user.home,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 9, done.stderr
    message = only(lines(done)["sessions"], "fail")
    assert "No space left on device" in message
    assert "XDG_STATE_HOME" in message
