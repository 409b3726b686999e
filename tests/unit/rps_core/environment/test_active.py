"""What is active in a shell."""

import os
from pathlib import Path

import pytest

from rps_core.environment import active
from rps_core.environment.environment import Environment, Kind, of_modules, short


def test_the_environment_that_is_first_on_the_path_counts() -> None:
    both = {"VIRTUAL_ENV": "/v", "CONDA_PREFIX": "/c"}
    for path, first in (("/v/bin:/c/bin", "/v"), ("/c/bin:/v/bin", "/c"), ("/usr/bin", "/v")):
        assert active.prefixes({**both, "PATH": path})[0][1] == Path(first)
    assert active.prefixes({"VIRTUAL_ENV": "", "CONDA_PREFIX": "relative"}) == []


def test_modules_are_listed_in_their_order() -> None:
    assert active.modules({"LOADEDMODULES": "gcc/13:python/3.12:"}) == ("gcc/13", "python/3.12")
    assert active.modules({}) == ()


def test_a_program_of_a_module_is_outside_of_system_and_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path(os.environ["HOME"])
    for place, of_a_module in ((tmp_path / "apps", True), (home / "bin", False)):
        place.mkdir()
        (place / "python3").touch(0o755)
        monkeypatch.setenv("PATH", str(place))
        found = active.program_of_a_module("jupyter", "python3")
        assert found == (f"{place}/python3" if of_a_module else None)


def test_a_line_says_all_that_is_known() -> None:
    home = Path(os.environ["HOME"])
    found = Environment(
        kind=Kind.VENV, name="proj", chosen_by="the project in ~/proj", prefix=home / "proj" / ".venv",
        python_version="3.12.3", made_by="uv", place=".venv", modules=("python/3.12",),
    )  # fmt: skip
    assert found.described() == (
        "proj (.venv, Python 3.12.3, made by uv, with the module python/3.12), the project in ~/proj"
    )
    assert found.as_json()["prefix"] == f"{home}/proj/.venv"
    assert of_modules(("a", "b"), "--modules").described() == "the modules a, b, --modules"
    assert short(home / "x") == "~/x"
    assert short(home) == "~"
    assert short(Path("/opt/x")) == "/opt/x"
