"""The records of sessions.

A launcher killed at any step of a write, a full disk, two writers at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from rps_core.errors import RpsError
from rps_core.state.record import Endpoint, Secrets, SessionRecord
from rps_core.state.store import Store

PROJECT = Path(__file__).parents[2]
NAME = "one-two-three"
WRITING = ("openat", "write", "fsync", "rename", "close", "unlink", "unlinkat", "mkdir", "rmdir")

# A process that makes one change to the store on request; a fork, since Python starts slowly.
ACTOR = """
import os, sys
from dataclasses import replace
from pathlib import Path
from rps_core.state.record import Secrets
from rps_core.state.store import Store
from tests.faults.test_store import NAME, SECRETS, record
store = Store(Path(sys.argv[1]))
for line in sys.stdin:
    act = line.strip()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(reader, 1)
        if act == "create":
            store.create(record(), SECRETS)
        elif act == "save":
            store.save(replace(store.load(NAME), job_id="17", submitting=False))
        else:
            store.end(store.load(NAME), now=5.0, outcome="ended", reason="stopped")
        os._exit(0)
    print(pid, flush=True)
    sys.stdin.readline()
    os.write(writer, b"+")
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
    os.close(reader)
    os.close(writer)
"""
SECRETS = Secrets(claim="c" * 43, token="0" * 32)


def record() -> SessionRecord:
    return SessionRecord(
        name=NAME, tag=f"rps:{NAME}:1", cluster="comet", site="comet", scheduler="slurm",
        url=f"https://{NAME}.example.org/", endpoint=Endpoint(host="manage.example.org", port=443),
        own_service=False, app="lab", directory="/", walltime=60, created=1.0, submitting=True,
    )  # fmt: skip


def python(code: str, *arguments: object, before: tuple[str, ...] = ()) -> list[str]:
    return [*before, sys.executable, "-c", code, *map(str, arguments)]


@contextmanager
def actor(directory: Path) -> Iterator[Callable[[str, str], int]]:
    """Has something done under strace's `-e inject=`.

    Answers the exit code, negative for a signal.
    """
    process = subprocess.Popen(
        python(ACTOR, directory), cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    said: IO[str] = process.stdout
    message: IO[str] = process.stdin

    def act(what: str, inject: str) -> int:
        print(what, file=message, flush=True)
        pid = said.readline().strip()
        with subprocess.Popen(
            ["strace", "-p", pid, "-o", "/dev/null", "-e", inject],
            stderr=subprocess.PIPE, text=True,
        ) as strace:  # fmt: skip
            assert strace.stderr is not None
            assert "attached" in strace.stderr.readline()
            print("go", file=message, flush=True)
            return int(said.readline())

    try:
        yield act
    finally:
        message.close()
        said.close()
        process.wait()


@pytest.mark.parametrize("act", ["create", "save", "end"])
def test_a_launcher_that_is_killed_at_any_step_leaves_what_was_or_what_is_to_be(
    act: str, tmp_path: Path, need: Callable[[str], str]
) -> None:
    need("strace")
    steps, states = [], set()
    store = Store(tmp_path / "sessions")
    with actor(store.directory) as killed:
        for call in WRITING:
            for number in range(1, 30):
                store.probe()
                if act != "create":
                    store.create(record(), SECRETS)
                code = killed(act, f"inject={call}:signal=KILL:when={number}")
                states.add(state_of(store))
                if act == "end":  # the next command does what is left
                    store.end(store.load(NAME), now=6.0, outcome="ended", reason="stopped")
                    assert state_of(store) == "ended"
                store.remove(NAME)
                if code == 0:  # it makes fewer of these calls
                    break
                assert code == -9, code
                steps.append(f"{call} {number}")
            assert code == 0, "it was killed at every step"
    assert {"openat 1", "write 1", "fsync 1", "rename 1", "close 1"} <= set(steps)
    assert (
        states
        == {
            "create": {"none", "new"},
            "save": {"new", "17"},
            "end": {"new", "secrets gone", "ended"},
        }[act]
    )


def state_of(store: Store) -> str:
    """Return the state that commands see; never an error."""
    found = list(store.records())
    if not found:
        return "none"
    secrets = store.files(NAME).secrets()
    if found[0].ended is not None:
        assert secrets is None
        return "ended"
    if found[0].job_id is not None:
        return found[0].job_id
    return "new" if secrets else "secrets gone"


def test_on_a_disk_that_is_full_nothing_is_lost_and_a_session_ends(
    tmp_path: Path, need: Callable[[str], str]
) -> None:
    need("unshare")
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    (tmp_path / "disk").mkdir()
    code = """
import errno, json, sys
from dataclasses import replace
from pathlib import Path
from rps_core.errors import UsageError
from rps_core.state.store import Store
from tests.faults.test_store import NAME, SECRETS, record
store = Store(Path(sys.argv[1]) / "sessions")
store.probe()
files = store.create(record(), SECRETS)
with open(sys.argv[1] + "/ballast", "wb", 0) as ballast:
    try:
        while True:
            ballast.write(bytes(4096))
    except OSError as error:
        assert error.errno == errno.ENOSPC
seen = {"before": store.load(NAME) == record()}
try:
    store.save(replace(record(), job_id="17"))
except OSError as error:
    seen["save"] = error.errno
seen["after"] = store.load(NAME) == record() and files.secrets() == SECRETS
try:
    store.probe()
except UsageError as error:
    seen["probe"] = error.message
store.end(record(), now=5.0, outcome="ended", reason="stopped")
seen["ended"] = store.load(NAME).outcome
seen["left"] = sorted(path.name for path in files.directory.iterdir())
print(json.dumps(seen))
"""
    mount = 'mount -t tmpfs -o size=256k tmpfs "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, "sh", str(tmp_path / "disk"),
         *python(code, tmp_path / "disk")],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert seen.pop("probe").endswith("No space left on device")
    assert seen == {
        "before": True, "save": 28, "after": True,
        "ended": "ended",  # the removed secrets left room for it
        "left": ["end.json", "session.json"],
    }  # fmt: skip


def test_two_writers_at_once_lose_neither_the_job_nor_the_end(tmp_path: Path) -> None:
    """Test two writers and a reader: each state read is whole, and never older."""
    store = Store(tmp_path / "sessions")
    store.probe()
    store.create(record(), SECRETS)
    code = """
import sys
from dataclasses import replace
from pathlib import Path
from rps_core.state.store import Store
from tests.faults.test_store import NAME
store = Store(Path(sys.argv[1]))
stale = store.load(NAME)
print("ready", flush=True)
sys.stdin.readline()
for number in range(150):
    store.save(replace(stale, job_id="17") if sys.argv[2] == "job" and number == 50 else stale)
    if sys.argv[2] == "end" and number == 75:
        store.end(stale, now=5.0, outcome="ended", reason="stopped")
"""
    writers = [
        subprocess.Popen(
            python(code, store.directory, role), cwd=PROJECT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for role in ("job", "end", "other")
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    over = False
    try:
        while any(writer.poll() is None for writer in writers):
            seen = store.load(NAME)
            assert seen.ended is not None or not over
            over = seen.ended is not None
    except RpsError as error:
        pytest.fail(f"a reader met a record that was not whole: {error}")
    finally:
        for writer in writers:
            _, errors = writer.communicate(timeout=60)
            assert writer.returncode == 0, errors
    assert store.load(NAME).ended == 5.0
    assert [path.name for path in store.files(NAME).directory.glob(".*")] == []
