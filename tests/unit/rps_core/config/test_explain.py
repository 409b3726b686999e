"""`rps config --explain KEY` and `--profile NAME`."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rps_core.cli.main import rps
from rps_core.config.explain import explain
from rps_core.config.schema import keys
from rps_core.config.settings import Settings
from rps_core.errors import UsageError
from rps_core.system import paths

USER = """
job: {partition: shared}
profiles:
  gpu: {job: {partition: gpu}}
"""


@pytest.fixture(autouse=True)
def user_file(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RPS_CLUSTER", "generic")
    path = paths.config_file()
    path.parent.mkdir(parents=True)
    path.write_text(USER)
    return path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(rps, ["config", *arguments])


def mistake(*arguments: str) -> UsageError:
    error = run(*arguments).exception
    assert isinstance(error, UsageError)
    return error


@pytest.mark.parametrize("key", keys(Settings))
def test_every_key_has_a_meaning_and_a_type(key: str) -> None:
    found = explain(key)
    assert found.meaning.endswith((".", ":", ")"))
    assert found.kind
    assert found.keys == ()


def test_a_key_is_explained_with_its_value_in_force(user_file: Path) -> None:
    printed = run("--explain", "job.partition").stdout
    meaning, _, facts = printed.partition("\n\n")
    assert meaning == explain("job.partition").meaning
    assert facts.splitlines() == [
        "type:     a text, or null",
        "default:  null",
        f'in force: job.partition = "shared"    [user] {user_file}:2',
    ]


def test_a_section_lists_its_keys() -> None:
    found = json.loads(run("--explain", "job", "--json").stdout)
    assert found["kind"] == "a section"
    assert found["keys"] == [key for key in keys(Settings) if key.startswith("job.")]
    assert found["in_force"]["job.partition"]["value"] == "shared"


def test_an_unknown_key_names_the_nearest() -> None:
    error = mistake("--explain", "job.partitoin")
    assert error.message == "Unknown key `job.partitoin`"
    assert "job.partition" in (error.hint or "")


def test_an_explanation_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rps_core.display.config.columns_of", lambda _stream: 40)
    meaning = run("--explain", "notebook.link").stdout.partition("\n\n")[0]
    assert max(map(len, meaning.splitlines())) < 40
    assert " ".join(meaning.split()).endswith("users cannot say token.")


def test_a_profile_is_shown_as_a_start_takes_it(user_file: Path) -> None:
    assert 'job.partition = "gpu"' in run("--profile", "gpu", "--origins").stdout
    assert (
        f'"gpu"    [user, profiles.gpu] {user_file}:4'
        in run("--profile", "gpu", "--explain", "job.partition").stdout
    )
    assert mistake("--profile", "gpuu").message == "There is no profile `gpuu`"


@pytest.mark.parametrize("other", [("--explain", "job"), ("--profile", "gpu")])
def test_a_check_is_for_everything(other: tuple[str, str]) -> None:
    assert mistake("--check", *other).message == f"--check and {other[0]} cannot be combined"
