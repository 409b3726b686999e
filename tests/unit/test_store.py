"""Records of sessions: whole or not at all, found by a prefix, private."""

import errno
import json
import os
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from rps_core.errors import NotFoundError, RpsError, UsageError
from rps_core.node.agent.events import Events
from rps_core.record import Endpoint, Record, Secrets
from rps_core.store import Store

SECRETS = Secrets(claim="c" * 43, token="0" * 32)


def record(name: str, created: float = 1.0) -> Record:
    return Record(
        name=name,
        tag=f"rps:{name}:1",
        cluster="local",
        site="local",
        scheduler="local",
        url=f"https://{name}.rps.localhost:1/",
        endpoint=Endpoint(host="manage.rps.localhost", port=1, connect="127.0.0.1"),
        own_service=True,
        app="lab",
        directory="/",
        walltime=60,
        created=created,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = Store(tmp_path / "sessions")
    found.probe()
    return found


def test_a_record_comes_back_as_it_was(store: Store) -> None:
    saved = record("one-two-three")
    files = store.create(saved, SECRETS)
    assert store.load("one-two-three") == saved
    assert files.secrets() == SECRETS
    modes = {path.name: path.stat().st_mode & 0o777 for path in files.directory.iterdir()}
    assert modes == {"session.json": 0o600, "claim.json": 0o600}
    assert files.directory.stat().st_mode & 0o777 == 0o700


def test_no_secret_is_in_the_record_or_in_a_representation(store: Store) -> None:
    store.create(record("one-two-three"), SECRETS)
    assert SECRETS.claim not in store.files("one-two-three").record_file.read_text()
    assert SECRETS.claim not in repr(SECRETS)
    assert SECRETS.token not in repr(SECRETS)


def test_a_later_versions_field_is_passed_over(store: Store) -> None:
    store.create(record("one-two-three"), SECRETS)
    path = store.files("one-two-three").record_file
    path.write_text(json.dumps({**json.loads(path.read_text()), "new": 1}))
    assert store.load("one-two-three").name == "one-two-three"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"endpoint": 3}'])
def test_a_damaged_record_is_named_and_harms_no_other(store: Store, text: str) -> None:
    store.create(record("one-two-three"), SECRETS)
    store.create(record("good-one-here"), SECRETS)
    path = store.files("one-two-three").record_file
    path.write_text(text)
    with pytest.raises(RpsError, match=str(path)):
        store.load("one-two-three")
    assert [found.name for found in store.records()] == ["good-one-here"]


def test_a_failed_write_leaves_the_old_record(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = record("one-two-three")
    store.create(saved, SECRETS)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.save(replace(saved, job_id="17"))
    assert store.load("one-two-three") == saved
    assert sorted(p.name for p in store.files("one-two-three").directory.iterdir()) == [
        "claim.json", "session.json",
    ]  # fmt: skip


def test_a_prefix_finds_a_session(store: Store) -> None:
    for name in ("apple-pie-one", "apple-pie-two", "banana-split-one"):
        store.create(record(name), SECRETS)
    assert store.find("ban").name == "banana-split-one"
    assert store.find("BAN").name == "banana-split-one"
    assert store.find("apple-pie-two").name == "apple-pie-two"
    with pytest.raises(UsageError, match="apple-pie-one, apple-pie-two"):
        store.find("apple")
    with pytest.raises(UsageError, match="Which session"):
        store.find(None)
    with pytest.raises(NotFoundError) as caught:
        store.find("cherry")
    assert caught.value.hint.startswith("`rps start` starts one")
    for typed in ("banna", "Banana-splti", "banana-split-noe"):
        with pytest.raises(NotFoundError) as caught:
            store.find(typed)
        assert caught.value.hint.startswith("Did you mean `banana-split-one`? ")


def test_the_only_living_session_needs_no_name(store: Store) -> None:
    with pytest.raises(NotFoundError, match="No session"):
        store.find(None)
    old, new = record("apple-pie-one"), record("apple-pie-two", 2.0)
    store.create(old, SECRETS)
    store.create(new, SECRETS)
    store.end(old, now=5.0, outcome="ended", reason="stopped")
    assert store.find(None) == new
    assert store.find("apple") == new


def test_an_ended_session_keeps_no_secret(store: Store) -> None:
    saved = record("one-two-three")
    files = store.create(saved, SECRETS)
    (files.directory / "run").mkdir()
    (files.directory / "run" / "key.pem").write_text("secret")
    ended = store.end(saved, now=5.0, outcome="failed", reason="because")
    assert store.load("one-two-three") == ended
    assert (ended.outcome, ended.reason, ended.ended) == ("failed", "because", 5.0)
    assert files.secrets() is None
    assert not (files.directory / "run").exists()


def test_secrets_that_others_could_read_or_plant_are_refused(store: Store, tmp_path: Path) -> None:
    files = store.create(record("one-two-three"), SECRETS)
    claim = files.directory / "claim.json"
    claim.chmod(0o640)
    with pytest.raises(RpsError, match="not private"):
        files.secrets()
    claim.unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(json.dumps({"claim": "a", "token": "b"}))
    elsewhere.chmod(0o600)
    claim.symlink_to(elsewhere)
    with pytest.raises(RpsError, match="cannot be read"):
        files.secrets()


def test_a_place_that_cannot_be_written_is_told_before_anything_else(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("a file where the directory should be")
    with pytest.raises(UsageError, match="Not a directory"):
        Store(tmp_path / "sessions").probe()


def test_events_that_are_half_written_are_left_out(store: Store) -> None:
    """Cut off at any byte, by a crash or a full disk; what the agent adds afterwards is read."""
    files = store.create(record("one-two-three"), SECRETS)
    path = files.directory / "events.jsonl"
    agent = Events(str(files.directory))
    for name in ("started", "ready"):
        agent.add(name, port=5000)
    whole = path.read_bytes()
    first = whole.index(b"\n")
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        kept = ["started"] * (size >= first) + ["ready"] * (size >= len(whole) - 1)
        assert [event["event"] for event in files.events()] == kept
        agent.add("ended", cause="signal")
        assert [event["event"] for event in files.events()] == [*kept, "ended"]


def test_whatever_the_umask_nothing_is_open_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store(tmp_path / "local" / "state" / "sessions")
        store.probe()
        files = store.create(record("one-two-three"), SECRETS)
        files.write("batch.sh", "pass\n")
        files.write("agent.pyz", b"PK")
    finally:
        os.umask(before)
    for path in [tmp_path / "local", *(tmp_path / "local").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_directory_that_is_a_link_or_not_ours_is_refused(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(elsewhere)
    for act in (Store(tmp_path / "link").probe, lambda: list(Store(tmp_path / "link").records())):
        with pytest.raises(UsageError, match="no link"):
            act()
    assert elsewhere.stat().st_mode & 0o777 == 0o755
    if os.getuid() == 0:
        os.chown(elsewhere, 12345, 12345)
        with pytest.raises(UsageError, match="somebody else"):
            list(Store(elsewhere).records())


@pytest.mark.parametrize(
    ("key", "value"),
    [("created", None), ("created", "abc"), ("job_id", 5), ("ended", "x"), ("name", "other-name-here"),
     ("endpoint", {"host": 1}), ("walltime", 1.5)],
)  # fmt: skip
def test_a_record_with_a_field_of_the_wrong_kind_is_damaged(
    store: Store, key: str, value: object
) -> None:
    store.create(record("one-two-three"), SECRETS)
    path = store.files("one-two-three").record_file
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    if key == "endpoint":
        with pytest.raises(RpsError):
            store.load("one-two-three")
    else:
        with pytest.raises(RpsError, match=str(path)):
            store.load("one-two-three")
        assert list(store.records()) == []


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"claim": "a b", "token": "c"}', '{"claim": 1, "token": 2}']
)
def test_damaged_secrets_are_named_and_not_quoted(store: Store, text: str) -> None:
    files = store.create(record("one-two-three"), SECRETS)
    (files.directory / "claim.json").write_text(text)
    with pytest.raises(RpsError, match="damaged") as caught:
        files.secrets()
    assert "a b" not in str(caught.value)


def test_events_that_are_none_are_left_out(store: Store) -> None:
    files = store.create(record("one-two-three"), SECRETS)
    (files.directory / "events.jsonl").write_text(
        '5\n[]\n{"event": "x"}\n{"event": "y", "time": 1}\n'
    )
    assert [event["event"] for event in files.events()] == ["y"]


def test_a_job_that_noted_its_id_is_found(store: Store) -> None:
    files = store.create(record("one-two-three"), SECRETS)
    assert files.noted_job_id() is None
    (files.directory / "events.jsonl").write_text(
        '{"event": "started", "time": 1, "job_id": "17"}\n'
    )
    assert files.noted_job_id() == "17"
    (files.directory / "job-id").write_text("18\n")
    assert files.noted_job_id() == "18"


def test_a_copy_of_a_sessions_directory_is_no_second_session(store: Store) -> None:
    import shutil

    files = store.create(record("one-two-three"), SECRETS)
    shutil.copytree(files.directory, files.directory.with_name("one-two-three.bak"))
    assert [found.name for found in store.records()] == ["one-two-three"]


def test_a_full_disk_at_the_end_still_removes_the_secrets(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = record("one-two-three")
    files = store.create(saved, SECRETS)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert store.end(saved, now=1.0, outcome="ended", reason="x").ended == 1.0
    assert files.secrets() is None


def test_an_empty_name_names_no_session(store: Store) -> None:
    store.create(record("one-two-three"), SECRETS)
    with pytest.raises(UsageError, match="empty name"):
        store.find("")


def test_the_end_of_a_session_is_not_undone_by_who_read_it_before(store: Store) -> None:
    """Two commands at once: one ends the session, the other writes what it had read before that."""
    before = record("one-two-three")
    store.create(before, SECRETS)
    store.end(before, now=5.0, outcome="ended", reason="stopped")
    written = store.save(replace(before, submitting=True))
    for found in (written, store.load("one-two-three")):
        assert (found.ended, found.outcome, found.reason) == (5.0, "ended", "stopped")
        assert not found.submitting
    # In the other order within one write: it had already looked whether the session was over.
    store.files("one-two-three").write("session.json", json.dumps(asdict(before)))
    assert store.load("one-two-three").ended == 5.0


def test_the_first_end_counts(store: Store) -> None:
    saved = record("one-two-three")
    store.create(saved, SECRETS)
    store.end(saved, now=5.0, outcome="failed", reason="it ran out of memory")
    again = store.end(saved, now=6.0, outcome="ended", reason="stopped")
    assert (again.ended, again.reason) == (5.0, "it ran out of memory")
    assert store.load("one-two-three") == again


def test_a_jobs_id_is_not_undone_by_who_read_the_record_before(store: Store) -> None:
    before = record("one-two-three")
    store.create(before, SECRETS)
    store.save(replace(before, job_id="17"))
    assert store.save(replace(before, submitting=True)).job_id == "17"
    found = store.load("one-two-three")
    assert (found.job_id, found.submitting) == ("17", False)
    assert store.end(before, now=5.0, outcome="ended", reason="stopped").job_id == "17"


def test_an_end_that_an_earlier_version_noted_counts(store: Store) -> None:
    """It wrote it into the record itself."""
    old = replace(record("one-two-three"), ended=5.0, outcome="ended", reason="stopped")
    store.create(old, SECRETS)
    assert store.load("one-two-three") == old
    assert store.end(old, now=6.0, outcome="failed", reason="else").ended == 5.0


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ended": "x", "outcome": 1, "reason": 2}'])
def test_an_end_that_cannot_be_read_is_no_end(store: Store, text: str) -> None:
    files = store.create(record("one-two-three"), SECRETS)
    files.end_file.write_text(text)
    with pytest.raises(RpsError, match=r"session\.json is not a record"):
        store.load("one-two-three")


def test_a_file_that_went_stale_on_nfs_is_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host replaced it: the name leads to the new one, the next time it is looked up."""
    saved = record("one-two-three")
    files = store.create(saved, SECRETS)
    (files.directory / "events.jsonl").write_text('{"event": "ready", "time": 1}\n')
    stale: dict[str, int] = {}
    read, opened = Path.read_text, os.open

    def once(name: str) -> None:
        stale[name] = stale.get(name, 0) + 1
        if stale[name] == 1:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), name)

    def read_text(path: Path, *arguments: Any) -> str:
        once(path.name)
        return read(path, *arguments)

    def open_file(path: Any, *arguments: Any, **options: Any) -> int:
        if str(path).endswith("claim.json"):
            once("claim.json")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(os, "open", open_file)
    assert store.load("one-two-three") == saved
    assert files.secrets() == SECRETS
    assert [event["event"] for event in files.events()] == ["ready"]
    assert stale == {"session.json": 2, "end.json": 2, "claim.json": 2, "events.jsonl": 2}


def test_what_stays_stale_is_an_error_and_no_missing_session(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create(record("one-two-three"), SECRETS)

    def stale(_path: Path, *_arguments: Any) -> str:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(Path, "read_text", stale)
    with pytest.raises(RpsError, match="Stale file handle") as caught:
        store.load("one-two-three")
    assert not isinstance(caught.value, NotFoundError)


def test_what_nfs_leaves_of_removed_files_is_no_session(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that somebody holds open is renamed `.nfs…` there, and its directory stays."""
    files = store.create(record("one-two-three"), SECRETS)
    (files.directory / ".nfs0000000000a1b2c3").write_text("the log of a job")
    (store.directory / ".nfs0000000000a1b2c4").write_text("x")
    assert [found.name for found in store.records()] == ["one-two-three"]
    for name in ("session.json", "claim.json"):
        (files.directory / name).unlink()
    assert list(store.records()) == []
    assert capsys.readouterr().err == ""


def test_nothing_of_the_launchers_state_is_locked() -> None:
    """There need not be locks where a home directory is (NFS without lockd). One's own service, whose
    directory is on a disk of the machine, is another matter."""
    import rps_core

    package = Path(rps_core.__file__).parent
    users = [
        path.name
        for path in package.rglob("*.py")
        if re.search(r"\b(fcntl|flock|lockf|sqlite3)\b", path.read_text("utf-8"))
    ]
    assert users == []
