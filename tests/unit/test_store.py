"""Records of sessions: whole or not at all, found by a prefix, private."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from rps_core.errors import NotFoundError, RpsError, UsageError
from rps_core.store import Endpoint, Record, Secrets, Store

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
    with pytest.raises(NotFoundError):
        store.find("cherry")


def test_the_only_living_session_needs_no_name(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no session"):
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
    with pytest.raises(UsageError, match="Nothing can be written"):
        Store(tmp_path / "sessions").probe()


def test_events_that_are_half_written_are_left_out(store: Store) -> None:
    files = store.create(record("one-two-three"), SECRETS)
    (files.directory / "events.jsonl").write_text('{"event": "started"}\n{"event": "rea')
    assert files.events() == [{"event": "started"}]
