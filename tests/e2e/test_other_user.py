"""Another user of the machine, who would have the owner's jobs run something else."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Paths of the arguments that were replaced, by another file or in their content.
ATTACK = """
import os, sys
for path in sys.argv[1:]:
    for name, act in (
        ("moved", lambda: os.rename(path, path + ".gone")),
        ("removed", lambda: os.unlink(path)),
        ("written", lambda: open(path, "a").write("touch /tmp/run-by-the-owner")),
        ("opened to all", lambda: os.chmod(path, 0o777)),
        ("entered", lambda: os.mkdir(os.path.join(path, "from-a-stranger"))),
        ("read", lambda: os.path.isfile(path) and open(path).read(1)),
    ):
        try:
            if act() is not False:
                print(path, name)
        except OSError:
            pass
"""
# What is anybody's to read.
PUBLIC = ("/", "/tmp", "/var", "/var/tmp", "/home")


@pytest.fixture
def ground(installed: Any) -> Iterator[Path]:
    """Make a directory of the owner in /tmp that others can enter but not write to."""
    place = Path(tempfile.mkdtemp(prefix="rps-ground-"))
    os.chown(place, installed.user.uid, installed.user.gid)
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.mark.parametrize(
    "variable",
    ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "RPS_LOCAL_SERVICE_DIR", "HOME"],
)
def test_a_place_that_the_other_user_can_write_to_is_refused(
    variable: str, installed: Any, stranger: Any, ground: Path
) -> None:
    """Test XDG_STATE_HOME writable for all.

    Run-agent.sh was replaced between two commands.
    """
    shared = installed.user.make(ground / "shared")
    shared.chmod(0o777)
    place = shared / "mine"
    planted = "notebook: {prologue: /tmp/planted.sh}\n"
    if variable == "RPS_LOCAL_SERVICE_DIR":
        installed.user.make(place)
        place.chmod(0o700)
    else:  # it was ours, and is the stranger's now
        stranger.run(["mkdir", "-p", str(place / "rps")], check=True)
        stranger.run(["tee", str(place / "rps" / "config.yaml")], input=planted, check=True,
                     capture_output=True)  # fmt: skip
    environment = {variable: str(place)}
    if variable == "HOME":
        environment |= {f"XDG_{name}_HOME": "" for name in ("STATE", "CONFIG", "CACHE", "DATA")}
        stranger.run(["mkdir", "-p", str(place / ".config" / "rps")], check=True)
    message = f"{shared} is writable for everyone (mode 0777)"
    # A service that runs already has its CA, and does not look for it.
    if variable == "XDG_DATA_HOME":
        environment["RPS_LOCAL_SERVICE_DIR"] = str(installed.user.make(ground / "service"))
        (ground / "service").chmod(0o700)
    done = installed.rps("start", "--quiet", env=environment, check=False)
    assert done.returncode in (2, 4), done.stdout + done.stderr
    assert message in done.stderr, done.stderr
    assert f"chmod go-w {shared}" in done.stderr, done.stderr
    assert done.stdout == ""
    doctor = installed.rps("doctor", "--json", env=environment, check=False)
    assert doctor.returncode == 9
    lines = json.loads(doctor.stdout)["lines"]
    failed = [line["text"] for line in lines if line["verdict"] == "fail"]
    assert any(message in text for text in failed), failed
    # Closed, it is the stranger's directory in it that is refused.
    shared.chmod(0o755)
    if variable != "RPS_LOCAL_SERVICE_DIR":
        done = installed.rps("start", "--quiet", env=environment, check=False)
        assert f"{place} belongs to user {stranger.uid}" in done.stderr, done.stderr


def test_what_is_remembered_is_not_taken_from_another_user(
    installed: Any, stranger: Any, ground: Path
) -> None:
    """Test a cache of another user, which could set a job's prologue: it is not used."""
    shared = installed.user.make(ground / "cache")
    shared.chmod(0o777)
    installed.rps("config", env={"XDG_CACHE_HOME": str(shared)})
    assert list(shared.iterdir()) == []
    stranger.run(["mkdir", str(shared / "rps")], check=True)
    installed.rps("config", env={"XDG_CACHE_HOME": str(shared)})
    assert list((shared / "rps").iterdir()) == []


def all_of(place: Path) -> list[Path]:
    return [*reversed(place.parents), place, *sorted(place.rglob("*"))]


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_nothing_of_a_session_can_be_replaced_or_read(
    umask: int, installed: Any, stranger: Any, start: Callable[..., dict[str, Any]], ground: Path
) -> None:
    """Test any umask: all files and sockets of a session are private.

    The launcher's files, the agent's, Jupyter's, the kernels' sockets, the service's, and each directory
    above.
    """
    below = {
        name: ground / name.lower()
        for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")
    }
    environment = {name: str(place / "new") for name, place in below.items()}
    for place in below.values():
        installed.user.make(place)
        place.chmod(0o755)
    service = ground / "local" / "service"
    environment["RPS_LOCAL_SERVICE_DIR"] = str(service)
    try:
        found = start(env=environment, umask=umask)
        session = below["XDG_STATE_HOME"] / "new/rps/sessions" / found["name"]
        sockets = Path((session / "run" / "sockets").read_text())
        made = [
            path
            for top in (session, service, sockets, *(place / "new" for place in below.values()))
            if top.exists()
            for path in (top, *top.rglob("*"))
        ]
        assert session / "run" / "labextensions" / "rps-session" in made
        assert {sockets, service / "registry.db", session / "agent.pyz"} <= set(made)
        public = {  # the CA's certificate is for browsers to read
            str(path): f"{path.lstat().st_mode & 0o777:04o}"
            for path in made
            if not stat.S_ISLNK(path.lstat().st_mode) and path.lstat().st_mode & 0o022
        }
        assert public == {}
        for path in (session, service, sockets, below["XDG_CACHE_HOME"] / "new" / "rps"):
            assert path.stat().st_mode & 0o777 == 0o700, path
        ways = sorted({str(way) for path in made for way in (*path.parents, path)})
        done = stranger.run(
            ["/usr/bin/python3", "-c", ATTACK, *ways], capture_output=True, check=True, timeout=60
        )
        entered = [line for line in done.stdout.splitlines() if line.split()[0] not in PUBLIC]
        assert entered == []
    finally:
        installed.rps("stop", "--all", env=environment)
        for marker in ("/tmp/from-a-stranger", "/var/tmp/from-a-stranger"):
            shutil.rmtree(marker, ignore_errors=True)
