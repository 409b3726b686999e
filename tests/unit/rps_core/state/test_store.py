"""Records of sessions: whole or not at all, found by a prefix, private."""

import errno
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from rps_core.errors import NotFoundError, RpsError, ServiceError, UsageError
from rps_core.node.agent.events import Events
from rps_core.node.agent.protocol import is_session_name
from rps_core.state.lookup import find
from rps_core.state.record import Endpoint, Secrets, SessionRecord
from rps_core.state.store import Store
from rps_core.system import paths
from tests.stands.hostile_values import NAMES, TIMES, URLS

SECRETS = Secrets(claim="c" * 43, token="0" * 32)


def record(name: str, created: float = 1.0) -> SessionRecord:
    return SessionRecord(
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
    assert find(store, "ban").name == "banana-split-one"
    assert find(store, "BAN").name == "banana-split-one"
    assert find(store, "apple-pie-two").name == "apple-pie-two"
    with pytest.raises(UsageError, match="apple-pie-one, apple-pie-two"):
        find(store, "apple")
    with pytest.raises(UsageError, match="NAME is ambiguous"):
        find(store, None)
    with pytest.raises(NotFoundError) as caught:
        find(store, "cherry")
    assert caught.value.hint.startswith("`rps start` starts one")
    for typed in ("banna", "Banana-splti", "banana-split-noe"):
        with pytest.raises(NotFoundError) as caught:
            find(store, typed)
        assert caught.value.hint.startswith("Did you mean `banana-split-one`? ")


def test_the_only_living_session_needs_no_name(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no running session"):
        find(store, None)
    old, new = record("apple-pie-one"), record("apple-pie-two", 2.0)
    store.create(old, SECRETS)
    store.create(new, SECRETS)
    store.end(old, now=5.0, outcome="ended", reason="stopped")
    assert find(store, None) == new
    assert find(store, "apple") == new


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
    with pytest.raises(RpsError, match="Cannot read"):
        files.secrets()


def test_a_directory_that_cannot_be_written_is_reported_first(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("a file where the directory should be")
    with pytest.raises(UsageError, match="Not a directory"):
        Store(tmp_path / "sessions").probe()


def test_events_that_are_half_written_are_left_out(store: Store) -> None:
    """Test events cut off at any byte; later ones of the agent are read."""
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
        with pytest.raises(UsageError, match="not a symbolic link"):
            act()
    assert elsewhere.stat().st_mode & 0o777 == 0o755
    if os.getuid() == 0:
        os.chown(elsewhere, 12345, 12345)
        with pytest.raises(UsageError, match="belongs to user 12345"):
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
    with pytest.raises(UsageError, match="NAME is empty"):
        find(store, "")


def test_the_end_of_a_session_is_not_undone_by_who_read_it_before(store: Store) -> None:
    """Test two commands: one ends the session, the other writes an older state."""
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
    """Test an end that is in the record itself."""
    old = replace(record("one-two-three"), ended=5.0, outcome="ended", reason="stopped")
    store.create(old, SECRETS)
    assert store.load("one-two-three") == old
    assert store.end(old, now=6.0, outcome="failed", reason="else").ended == 5.0


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ended": "x", "outcome": 1, "reason": 2}'])
def test_an_end_that_cannot_be_read_is_no_end(store: Store, text: str) -> None:
    files = store.create(record("one-two-three"), SECRETS)
    files.end_file.write_text(text)
    with pytest.raises(RpsError, match=r"session\.json is not a session record"):
        store.load("one-two-three")


def test_a_file_that_went_stale_on_nfs_is_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test ESTALE: another host replaced the file, and a new look-up finds it."""
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
    """Test an open file on NFS: it is renamed `.nfs…`, and its directory stays."""
    files = store.create(record("one-two-three"), SECRETS)
    (files.directory / ".nfs0000000000a1b2c3").write_text("the log of a job")
    (store.directory / ".nfs0000000000a1b2c4").write_text("x")
    assert [found.name for found in store.records()] == ["one-two-three"]
    for name in ("session.json", "claim.json"):
        (files.directory / name).unlink()
    assert list(store.records()) == []
    assert capsys.readouterr().err == ""


@pytest.fixture
def beside(store: Store) -> list[Path]:
    """Make files in and around the store that rps must not remove."""
    found = [
        store.directory / place / "thesis"
        for place in ("precious", "../precious", "../../precious")
    ]
    for file in found:
        file.parent.mkdir()
        file.write_text("years")
    return found


@pytest.mark.parametrize("name", [*NAMES, "a" * 64, "~", "one-two-three/../precious", "a/b"])
def test_no_path_is_made_of_anything_but_a_sessions_name(store: Store, name: Any) -> None:
    """Test a bad name from any source: a service, a record, the command line."""
    if isinstance(name, str) and is_session_name(name):
        assert store.files(name).directory.parent == store.directory
        return
    for call in (store.files, store.load, store.remove, paths.page_to_open):
        with pytest.raises((NotFoundError, ValueError), match="not a valid session name"):
            call(name)


def test_only_a_sessions_own_directory_is_removed(store: Store, beside: list[Path]) -> None:
    store.create(record("one-two-three"), SECRETS)
    precious = beside[1].parent
    (store.directory / "four-five-six").symlink_to(precious)
    (store.files("one-two-three").directory / "link").symlink_to(precious)
    for name in ("one-two-three", "four-five-six", "seven-eight-nine"):
        store.remove(name)
    assert not store.files("one-two-three").directory.exists()
    assert all(file.read_text() == "years" for file in beside)


def test_a_link_in_the_place_of_a_session_is_not_followed(store: Store) -> None:
    elsewhere = store.directory.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "claim.json").write_text("another's")
    (elsewhere / "run").mkdir()
    (elsewhere / "run" / "key.pem").write_text("another's")
    (store.directory / "four-five-six").symlink_to(elsewhere)
    assert list(store.records()) == []
    with pytest.raises(OSError, match=r"directory|symbolic"):
        store.files("four-five-six").remove_secrets()
    assert sorted(path.name for path in elsewhere.rglob("*")) == ["claim.json", "key.pem", "run"]
    # And one in a session's own directory.
    files = store.create(record("one-two-three"), SECRETS)
    (files.directory / "run").symlink_to(elsewhere)
    files.remove_secrets()
    assert (elsewhere / "run" / "key.pem").exists()


def test_a_name_that_is_taken_harms_no_session(store: Store) -> None:
    store.create(record("one-two-three", 5.0), SECRETS)
    with pytest.raises(ServiceError, match="which another session here has"):
        store.create(record("one-two-three", 6.0), Secrets("d" * 43, "1" * 32))
    assert store.load("one-two-three").created == 5.0
    assert store.files("one-two-three").secrets() == SECRETS


@pytest.mark.parametrize("made", [(), ("claim.json",), ("claim.json", ".session.json.17.4711")])
def test_what_was_never_recorded_goes_after_an_hour(store: Store, made: tuple[str, ...]) -> None:
    directory = store.directory / "one-two-three"
    directory.mkdir()
    for name in made:
        (directory / name).touch()
    assert list(store.records()) == []
    assert directory.is_dir()
    os.utime(directory, (0, 0))
    assert list(store.records()) == []
    assert not directory.exists()


@pytest.mark.parametrize("name", ["notes.txt", "run", "batch.sh", ".claim.json.swp"])
def test_whatever_else_is_in_a_directory_stays(store: Store, name: str) -> None:
    directory = store.directory / "my-own-notes"
    directory.mkdir()
    (directory / "claim.json").touch()
    (directory / name).touch()
    os.utime(directory, (0, 0))
    assert list(store.records()) == []
    assert sorted(path.name for path in directory.iterdir()) == sorted(("claim.json", name))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("url", url) for url in URLS if not str(url).startswith(("https://four-five-six", "HTTPS:"))),
        *(("created", time) for time in TIMES if time not in (0, 1e-9)),
        *(("ended", time) for time in TIMES if time not in (0, 1e-9, None)),
        *(("walltime", time) for time in TIMES if time != 0),
        ("outcome", "well"),
        *(("endpoint", {"host": "manage.rps.localhost", "port": 1, key: value}) for key, value in (
            ("host", 7), ("host", "x"), ("host", "x.org/"), ("host", "manage.x.org"), ("port", "443"),
            ("port", 0), ("port", True), ("connect", 7), ("connect", "\n"), ("ca_file", []),
            ("protocol", "gopher"),
        )),
    ],
)  # fmt: skip
def test_a_stored_record_is_read_by_the_grammar(store: Store, field: str, value: object) -> None:
    """An earlier version stored what a service gave."""
    files = store.create(record("one-two-three"), SECRETS)
    found = json.loads(files.record_file.read_text())
    files.record_file.write_text(json.dumps({**found, "created": 5.0}))
    assert store.load("one-two-three").created == 5.0
    files.record_file.write_text(json.dumps({**found, field: value}))
    with pytest.raises(RpsError, match="not a session record"):
        store.load("one-two-three")
    assert list(store.records()) == []


@pytest.mark.parametrize("text", ["[" * 100_000, '{"name":' * 100_000])
def test_a_nested_file_is_a_damaged_one(store: Store, text: str) -> None:
    files = store.create(record("one-two-three"), SECRETS)
    files.write("claim.json", text)
    files.write("session.json", text)
    with pytest.raises(RpsError, match="damaged"):
        files.secrets()
    with pytest.raises(RpsError, match="not a session record"):
        store.load("one-two-three")
    (files.directory / "events.jsonl").write_text(f"{text}\n")
    assert files.events() == []


def test_events_are_read_by_their_types(store: Store) -> None:
    files = store.create(record("one-two-three"), SECRETS)
    lines = [
        '{"time": NaN, "event": "ended"}',
        '{"time": true, "event": "ended"}',
        '{"time": 1e300, "event": "ended"}',
        '{"time": 1, "event": "ended", "reason": ["x"], "node": 7, "port": {}, "left": 5}',
    ]
    (files.directory / "events.jsonl").write_text("\n".join(lines) + "\n")
    assert files.events() == [{"time": 1, "event": "ended", "left": 5}]


def test_what_a_killed_start_left_of_its_probe_is_removed(tmp_path: Path) -> None:
    store = Store(tmp_path / "sessions")
    store.probe()
    old, new = store.directory / ".probe.17", store.directory / ".probe.18"
    for path in (old, new):
        path.touch()
    os.utime(old, (1.0, 1.0))
    store.probe()
    assert [path.name for path in store.directory.iterdir()] == [new.name]
