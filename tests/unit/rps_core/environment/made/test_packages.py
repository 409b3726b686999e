"""The list of packages of `--with`, and what a requirements.txt includes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rps_core.environment.made import packages
from rps_core.errors import UsageError


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["numpy,torch"], ["numpy", "torch"]),
        (["numpy , torch", "six"], ["numpy", "torch", "six"]),
        (["numpy>=1,<3,torch==2.*,!=2.1"], ["numpy>=1,<3", "torch==2.*,!=2.1"]),
        (["dask[array,dataframe]>=2024,pandas"], ["dask[array,dataframe]>=2024", "pandas"]),
        (
            ["tomli; python_version < '3.11', six"],
            ["tomli; python_version < '3.11'", "six"],
        ),
        (
            ["a @ https://user:pw@example.org/a.whl,b"],
            ["a @ https://user:pw@example.org/a.whl", "b"],
        ),
        ([",numpy,,"], ["numpy"]),
        ([], []),
    ],
)
def test_a_comma_separates_packages_and_not_their_versions(
    given: list[str], expected: list[str]
) -> None:
    assert packages.split(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        "-r /etc/passwd",
        "--index-url=x",
        "$(id)",
        "`id`",
        "a b",
        "/etc",
        "./x",
        "numpy\n-r x",
        "日本",
        "'x'",
    ],
)
def test_what_is_no_package_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a package") as caught:
        packages.split([given])
    assert "requirements.txt" in caught.value.hint


def test_included_files_count(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    base = tmp_path / "sub" / "base é.txt"
    base.write_text("numpy\n-c ../pins.txt\n")
    pins = tmp_path / "pins.txt"
    pins.write_text("numpy==2.0\n")
    wheel = tmp_path / "own-1.0-py3-none-any.whl"
    wheel.write_bytes(b"x")
    own = tmp_path / "requirements.txt"
    own.write_text(
        '# -r no.txt\n--requirement="sub/base é.txt" # why\nsix==1 \\\n  --hash=sha256:00\n'
        "./own-1.0-py3-none-any.whl\n-r https://example.org/x.txt\n-e git+https://example.org/a#egg=a\n"
    )
    found = packages.included(own, own.read_text())
    assert {path.resolve() for path in found.files} == {own, base, pins, wheel}
    assert not found.places


def test_of_an_editable_project_the_place_counts_and_what_it_depends_on(tmp_path: Path) -> None:
    project = tmp_path / "my project"
    project.mkdir()
    (project / "pyproject.toml").write_text("[project]\n")
    own = tmp_path / "requirements.txt"
    own.write_text('-e "./my project"\n')
    found = packages.included(own, own.read_text())
    assert found.places
    assert {path.resolve() for path in found.files} == {own, project / "pyproject.toml"}


def test_a_directory_that_is_not_editable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    own = tmp_path / "requirements.txt"
    own.write_text("./project\n")
    with pytest.raises(UsageError) as caught:
        packages.included(own, own.read_text())
    assert caught.value.hint == "Install it as editable: -e ./project"


def test_a_file_that_includes_itself_is_read_once(tmp_path: Path) -> None:
    own = tmp_path / "requirements.txt"
    own.write_text("-r requirements.txt\n")
    assert packages.included(own, own.read_text()).files == (own,)


def test_an_included_file_that_is_missing_is_named_with_its_place(tmp_path: Path) -> None:
    own = tmp_path / "requirements.txt"
    own.write_text("-r gone.txt\n")
    with pytest.raises(UsageError) as caught:
        packages.included(own, own.read_text())
    assert caught.value.message == f"{own}: {tmp_path}/gone.txt: no such file"
