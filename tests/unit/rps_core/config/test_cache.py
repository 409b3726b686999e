"""The cache of the configuration: same as merged from the files, and never stale."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from rps_core.config import cache as merged
from rps_core.config import loading, settings
from rps_core.errors import UsageError
from rps_core.system import paths


def load(**arguments: object) -> settings.LoadedSettings:
    environment = arguments.pop("environment", {})
    given = settings.Overrides(**arguments)  # type: ignore[arg-type]
    return settings.load("here", None, None, environment=environment, given=given)  # type: ignore[arg-type]


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each real merge."""
    done: list[int] = []
    merge = loading.merge  # type: ignore[attr-defined]

    def counted(*arguments: object, **options: object) -> object:
        done.append(1)
        return merge(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "merge", counted)
    return done


@pytest.fixture
def user_file() -> Path:
    path = paths.config_file()
    path.parent.mkdir(parents=True)
    path.write_text(
        "job: {account: abc123, walltime: 60, directives: [--exclusive]}\n"
        "limits: {partitions: {debug: {walltime: 30, gpus: 2}}}\n"
    )
    return path


def cached() -> Path:
    return paths.cache_dir() / "configuration"


def test_lists_and_tuples_are_remembered_as_what_they_are(
    merges: list[int], user_file: Path
) -> None:
    user_file.write_text(
        "job: {directives: [--exclusive]}\napps: {mine: {command: [a, '{port}']}}\n"
    )
    first, second = load(), load()
    assert len(merges) == 1
    assert second.settings.apps == first.settings.apps  # a tuple is not equal to a list
    assert second.settings.apps["mine"]["command"] == ["a", "{port}"]
    assert second.settings.job == first.settings.job


def test_a_mapping_with_a_key_of_the_cache_is_not_cached() -> None:
    for key in ("()", "="):
        odd = replace(load().settings, apps={"mine": {key: ["a"]}})
        merged.note("odd", odd, {})
        assert merged.recall(settings.Settings, "odd") is None


@pytest.mark.usefixtures("user_file")
def test_what_is_remembered_is_what_was_merged(merges: list[int]) -> None:
    first, second = load(), load()
    assert len(merges) == 1
    assert second == first
    assert isinstance(second.settings.job.directives, tuple)
    assert isinstance(second.settings.limits.partitions["debug"], settings.PartitionLimits)
    assert second.where("job.account").endswith("config.yaml:1")


def test_an_edited_file_is_seen_whatever_its_times_say(user_file: Path) -> None:
    assert load().settings.job.account == "abc123"
    before = user_file.stat()
    user_file.write_text(user_file.read_text().replace("abc123", "xyz789"))
    os.utime(user_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = user_file.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino, before.st_size, before.st_mtime_ns,
    )  # fmt: skip
    assert load().settings.job.account == "xyz789"


def test_a_file_that_is_gone_or_moved_is_seen(
    user_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    system = user_file.rename(tmp_path / "system.yaml")
    assert load().settings.job.account is None
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(system))
    assert load().where("job.account") == f"{system}:1"


def test_packaged_files_variables_and_options_count_too(merges: list[int], tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    for account in ("one", "two"):
        site.write_text(f"job: {{account: {account}}}\n")
        found = settings.load("here", None, site, environment={})
        assert found.settings.job.account == account
    for number in ("2", "3"):
        assert load(environment={"RPS_JOB_NODES": number}).settings.job.nodes == int(number)
        assert load(options={"job.nodes": number}).settings.job.nodes == int(number)
        assert load(assignments=[f"job.nodes={number}"]).settings.job.nodes == int(number)
    assert len(merges) == 8
    assert load(options={"job.nodes": "2"}).settings.job.nodes == 2
    assert len(merges) == 8


def test_a_fault_is_reported_each_time(user_file: Path) -> None:
    load()
    user_file.write_text("job:\n  acount: x\n")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"config\.yaml:2: unknown key `job\.acount`"):
            load()
    user_file.write_text("keep_ended: 99999\n")
    for _ in range(2):
        with pytest.raises(UsageError, match=r"config\.yaml:1: `keep_ended` is"):
            load()


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"[]\n[]\n", None], ids=str)
def test_a_damaged_file_is_replaced(merges: list[int], damage: bytes | None) -> None:
    first = load()
    lines = cached().read_bytes().splitlines(keepends=True)
    cached().write_bytes(lines[0] + lines[1][:-20] if damage is None else damage)
    assert load() == first
    assert len(merges) == 2
    assert load() == first
    assert len(merges) == 2


def test_settings_of_another_schema_are_merged_again(merges: list[int]) -> None:
    load()
    cached().write_text(cached().read_text().replace('"allow_root"', '"allowed_root"'))
    load()
    assert len(merges) == 2


def test_what_others_could_have_written_is_not_believed(merges: list[int], tmp_path: Path) -> None:
    load()
    assert cached().stat().st_mode & 0o777 == 0o600
    cached().chmod(0o620)
    load()
    assert len(merges) == 2
    elsewhere = cached().rename(tmp_path / "elsewhere")
    cached().symlink_to(elsewhere)
    load()
    assert len(merges) == 3
    assert cached().stat(follow_symlinks=False).st_mode & 0o777 == 0o600


def test_a_cache_that_cannot_be_written_is_no_error(merges: list[int]) -> None:
    paths.cache_dir().parent.mkdir(parents=True, exist_ok=True)
    paths.cache_dir().write_text("a file where the directory should be")
    assert load() == load()
    assert len(merges) == 2


def test_no_more_are_kept_than_are_of_use(merges: list[int]) -> None:
    for number in range(1, 30):
        load(options={"job.nodes": number})
    assert len(cached().read_text().splitlines()) == 2 * merged._KEPT
    merges.clear()
    load(options={"job.nodes": 29})
    assert not merges
