"""Profiles and reruns: which setting takes precedence, and errors for mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rps_core.cli.main import rps
from rps_core.config import settings
from rps_core.config.check import check_own_files
from rps_core.config.mistakes import Mistakes
from rps_core.config.settings import Overrides
from rps_core.errors import NotFoundError, UsageError
from rps_core.launch import rerun as again
from rps_core.state.record import Endpoint, Secrets, SessionRecord
from rps_core.state.store import Store, prune
from rps_core.system import paths

GPU = """
job: {account: abc123, partition: shared, walltime: 60}
profiles:
  gpu:
    job: {partition: gpu, gpus: 2}
    notebook:
      modules: [cuda]
  big: {job: {memory: 64G}}
sites:
  generic:
    profiles:
      gpu: {job: {gpus: 4}}
"""


@pytest.fixture
def user_file(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    path = paths.config_file()
    path.parent.mkdir(parents=True)
    path.write_text(GPU)
    return path


def check_other_sites() -> None:
    mistakes = Mistakes()
    check_own_files(mistakes)
    mistakes.check()


def load(**given: Any) -> settings.LoadedSettings:
    variables = {"RPS_JOB_PARTITION": "from-a-variable"}
    return settings.load("generic", None, None, environment=variables, given=Overrides(**given))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(rps, arguments)


@pytest.mark.usefixtures("user_file")
def test_a_profile_beats_files_and_variables_and_options_beat_it() -> None:
    assert load().settings.job.partition == "from-a-variable"
    job = load(profile="gpu").settings.job
    assert (job.account, job.partition, job.gpus, job.walltime) == ("abc123", "gpu", "4", "60")
    loaded = load(profile="gpu", options={"job.gpus": "1"}, assignments=("job.partition=mine",))
    assert (loaded.settings.job.gpus, loaded.settings.job.partition) == ("1", "mine")
    assert loaded.where("notebook.modules").endswith("config.yaml:7")


@pytest.mark.usefixtures("user_file")
def test_the_administrators_profile_and_the_users_are_merged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system.yaml"
    system.write_text("profiles:\n  gpu: {job: {gpus: 1, qos: fast}}\n  long: {job: {qos: long}}\n")
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(system))
    loaded = load(profile="gpu")
    assert (loaded.settings.job.qos, loaded.settings.job.gpus) == ("fast", "4")
    assert loaded.where("job.qos") == f"{system}:2"
    assert load(profile="long").settings.job.qos == "long"


@pytest.mark.usefixtures("user_file")
@pytest.mark.parametrize("arguments", [["gpu"], ["--profile", "gpu"]])
def test_start_takes_a_profile(arguments: list[str]) -> None:
    script = run("start", *arguments, "--dry-run", "-t", "5")
    assert script.exit_code == 0, script.output
    for directive in ("--partition=gpu", "--gres=gpu:4", "--time=00:05:00", "--account=abc123"):
        assert f"#SBATCH {directive}" in script.stdout


@pytest.mark.usefixtures("user_file")
def test_an_unknown_profile_lists_those_that_there_are() -> None:
    error = run("start", "gup", "--dry-run").exception
    assert isinstance(error, UsageError)
    assert "no profile `gup`" in error.message
    assert error.hint == "Did you mean `gpu`? Your profiles: gpu, big."
    other = run("start", "elsewhere", "--dry-run").exception
    assert isinstance(other, UsageError)
    assert other.hint == "Your profiles: gpu, big."
    assert "PROFILE and --profile differ" in str(run("start", "gpu", "--profile", "big").exception)


@pytest.mark.usefixtures("user_file")
@pytest.mark.parametrize("arguments", [[""], ["--profile", ""]])
def test_an_empty_name_is_no_profile(arguments: list[str]) -> None:
    """Test an empty name, as of an unset variable: the user wanted other settings."""
    assert "no profile ``" in str(run("start", *arguments, "--dry-run").exception)


def test_without_any_profile_the_error_names_their_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    assert "below `profiles:`" in str(run("start", "gpu", "--dry-run").exception)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("profiles:\n  a:\n    jbo: {}\n", r"config\.yaml:3: unknown key `jbo`"),
        ("profiles:\n  a:\n    job:\n      gpus: -1\n", r"config\.yaml:4: `job\.gpus`"),
        ("profiles:\n  a:\n    keep_ended: -1\n", r"config\.yaml:3: `keep_ended`"),
        (
            "profiles:\n  a:\n    profiles: {b: {}}\n",
            r"config\.yaml:3: a profile cannot contain `prof",
        ),
        (
            "profiles:\n  a:\n    sites: {b: {}}\n",
            r"config\.yaml:3: a profile cannot contain `sites`",
        ),
        ("profiles:\n  a b: {}\n", r"config\.yaml:2: `a b` is not a valid name"),
        ("profiles:\n  a: text\n", r"config\.yaml:2: `profiles\.a` must be a mapping"),
        ("profiles: text\n", r"config\.yaml:1: `profiles` must be a mapping"),
        ("sites:\n  here: text\n", r"config\.yaml:2: `sites\.here` must be a mapping"),
        ("sites: text\n", r"config\.yaml:1: `sites` must be a mapping"),
    ],
)
def test_an_unused_profile_is_checked(user_file: Path, text: str, messages: str) -> None:
    user_file.write_text(text)
    with pytest.raises(UsageError, match=messages):
        settings.load("here", None, None, environment={})


def test_a_profile_of_another_cluster_is_checked_on_request(user_file: Path) -> None:
    user_file.write_text("sites:\n  there:\n    profiles:\n      a: {job: {gpuz: 1}}\n")
    load()
    with pytest.raises(UsageError, match=r"config\.yaml:4: unknown key `job\.gpuz`"):
        check_other_sites()


def test_empty_profiles_are_none(user_file: Path) -> None:
    user_file.write_text("profiles:\n")
    assert load().settings.profiles == {}
    user_file.write_text("profiles:\n  a:\n")
    assert load(profile="a").settings.job.gpus is None


@pytest.mark.usefixtures("user_file")
def test_origins_show_each_key_of_a_profile_with_its_line() -> None:
    shown = run("config", "--origins").stdout
    assert 'profiles.gpu.job.partition = "gpu"    [user] ' in shown
    assert f"[user, sites.generic] {paths.config_file()}:12" in shown
    found = json.loads(run("config", "--json").stdout)["profiles"]
    assert sorted(found) == ["big", "gpu"]


# ----------------------------------------------------------------------------------- the same again


def record(name: str, created: float, **more: Any) -> SessionRecord:
    values: dict[str, Any] = {
        "name": name,
        "tag": f"rps:{name}:1",
        "cluster": "generic",
        "site": "generic",
        "scheduler": "slurm",
        "url": f"https://{name}.example.org/",
        "endpoint": Endpoint(host="manage.example.org", port=443),
        "own_service": False,
        "app": "lab",
        "directory": "/",
        "walltime": 60,
        "created": float(created),
        "job_id": "7",
        "ended": float(created),
        "outcome": "ended",
        "settings": {"job.walltime": "60", "job.qos": name, "job.account": "abc123"},
        **more,
    }
    return SessionRecord(**values)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    found = Store(paths.sessions_dir())
    found.probe()
    for one in (
        record("first-one", 1),
        record("second-one", 2),
        record("refused-one", 3, job_id=None),  # the scheduler took no job: not what --last means
        record("there-one", 4, cluster="elsewhere"),
        record("older-one", 0.5, settings={}),
    ):
        found.create(one, Secrets("claim", "token"))
    return found


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["again", "first"], ["--qos=first-one", "--time=01:00:00"]),
        (["again"], ["--qos=second-one"]),
        (["start", "--last"], ["--qos=second-one"]),
        (["start", "--last", "-t", "5"], ["--qos=second-one", "--time=00:05:00"]),
        (["again", "first", "--qos", "mine"], ["--qos=mine", "--time=01:00:00"]),
        (["again", "first", "--set", "job.qos=mine"], ["--qos=mine", "--time=01:00:00"]),
    ],
    ids=" ".join,
)
def test_the_settings_of_an_earlier_session(arguments: list[str], messages: list[str]) -> None:
    script = run(*arguments, "--dry-run")
    assert script.exit_code == 0, script
    for directive in messages:
        assert f"#SBATCH {directive}" in script.stdout


@pytest.mark.usefixtures("user_file", "store")
def test_they_beat_files_and_a_profile_beats_them() -> None:
    script = run(
        "again", "first", "--profile", "big", "--set", "profiles.big.job.qos=mine", "--dry-run"
    )
    for directive in ("--qos=mine", "--mem=65536M", "--time=01:00:00", "--partition=shared"):
        assert f"#SBATCH {directive}" in script.stdout


def test_a_key_that_no_longer_exists_is_reported(store: Store, capfd: Any) -> None:
    kept = {"job.qos": "q", "job.flux": "1", "job.account": "a"}
    store.create(record("flux-one", 9, settings=kept), Secrets("claim", "token"))
    taken, unknown = again.recorded(store.load("flux-one"))
    assert (taken, unknown) == ({"job.qos": "q", "job.account": "a"}, ["job.flux"])
    script = run("again", "flux", "--dry-run")
    assert "#SBATCH --qos=q" in script.stdout
    assert "job.flux" in script.stderr + capfd.readouterr().err


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("name", "error", "messages"),
    [
        ("older", UsageError, "did not record settings"),
        ("there", UsageError, "was a session on elsewhere, but this is generic"),
        ("none", NotFoundError, "no session `none`"),
    ],
)
def test_what_cannot_be_started_again(name: str, error: type, messages: str) -> None:
    found = run("again", name, "--dry-run").exception
    assert isinstance(found, error)
    assert messages in str(found)


def test_with_no_session_there_is_no_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    found = run("start", "--last", "--dry-run").exception
    assert isinstance(found, NotFoundError)
    assert "generic" in found.message


def test_the_last_session_of_each_cluster_outlives_the_others(store: Store) -> None:
    prune(store, 0, list(store.records()))
    assert {one.name for one in store.records()} == {"second-one", "there-one"}
