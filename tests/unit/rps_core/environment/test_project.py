"""Which project a directory is in, and whether its environment is taken unasked."""

import os
import venv
from pathlib import Path

import pytest

from rps_core.environment import project

OWN = Path("/rps/own")


def test_the_nearest_environment_comes_first(tmp_path: Path) -> None:
    top, inner = tmp_path / "top", tmp_path / "top" / "inner"
    venv.create(top / ".venv", symlinks=True)
    venv.create(inner / "venv", symlinks=True)
    (inner / "src").mkdir()
    found = [one.prefix for one in project.find(inner / "src", OWN)]
    assert found[:2] == [inner / "venv", top / ".venv"]


@pytest.mark.parametrize(
    ("name", "marker"), [(".pixi/envs/default", "conda-meta"), (".conda", "conda-meta"), (".", "conda-meta")]
)  # fmt: skip
def test_environments_of_pixi_and_conda_in_a_project_count(
    tmp_path: Path, name: str, marker: str
) -> None:
    (tmp_path / "p" / name / marker).mkdir(parents=True)
    found = next(project.find(tmp_path / "p", OWN))
    assert found.prefix == tmp_path / "p" / name
    assert found.directory == tmp_path / "p"


@pytest.mark.parametrize(
    ("file", "remedy"), [("uv.lock", "uv sync"), ("pixi.toml", "pixi install")]
)
def test_a_project_whose_environment_is_not_made_yet_says_how(
    tmp_path: Path, file: str, remedy: str
) -> None:
    (tmp_path / file).touch()
    found = next(project.find(tmp_path, OWN))
    assert (found.prefix, found.remedy) == (None, remedy)


def test_the_home_directory_is_no_project_but_for_its_venv() -> None:
    home = Path(os.environ["HOME"])
    venv.create(home / "venv", symlinks=True)
    assert all(one.prefix != home / "venv" for one in project.find(home, OWN))
    venv.create(home / ".venv", symlinks=True)
    found = next(project.find(home, OWN))
    assert (found.prefix, found.chosen_by) == (home / ".venv", "the project in ~")


def test_the_environment_of_rps_is_of_no_project(tmp_path: Path) -> None:
    """Test a clone of rps, where `./rps` makes `.venv`."""
    venv.create(tmp_path / ".venv", symlinks=True)
    assert next(project.find(tmp_path, tmp_path / ".venv"), None) is None or all(
        one.prefix != tmp_path / ".venv" for one in project.find(tmp_path, tmp_path / ".venv")
    )


def test_what_is_left_of_a_venv_is_found_too(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    assert next(project.find(tmp_path, OWN)).prefix == tmp_path / ".venv"


def test_an_environment_that_others_can_change_is_not_taken_unasked(tmp_path: Path) -> None:
    place = tmp_path / "shared"
    venv.create(place / ".venv", symlinks=True)
    assert next(project.find(place, OWN)).untrusted == ""
    place.chmod(0o777)
    assert str(place) in next(project.find(place, OWN)).untrusted
