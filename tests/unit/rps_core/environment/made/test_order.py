"""What `--env` and `--with` ask for, and what is refused before a job is submitted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rps_core.environment.made import order
from rps_core.errors import UsageError
from rps_core.node.builder.recipe import Recipe

Ordered = Callable[..., Recipe]
TOOLS = ("uv", "micromamba", "conda", "pixi")


@pytest.fixture
def ordered(tmp_path: Path) -> Ordered:
    """Order an environment where only the named tools are there."""

    def run(
        file: Path | str | None,
        *packages: str,
        tools: tuple[str, ...] = TOOLS,
        on_the_node: bool = False,
    ) -> Recipe:
        programs = tmp_path / "programs"
        programs.mkdir(exist_ok=True)
        for program in programs.iterdir():
            program.unlink()
        for tool in tools:
            (programs / tool).write_text("#!/bin/sh\n")
            (programs / tool).chmod(0o755)
        environment = {"PATH": str(programs)}
        return order.recipe(
            None if file is None else str(file),
            packages,
            environment=environment,
            on_the_node=on_the_node,
        )

    return run


def project(directory: Path, files: dict[str, str]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


UV_PROJECT = {"uv.lock": "version = 1\n", "pyproject.toml": "[project]\nname = 'x'\n"}
PIXI_PROJECT = {"pixi.lock": "- conda: x/ipykernel-6.conda\n", "pixi.toml": "[project]\n"}
CONDA = {"environment.yml": "dependencies:\n  - python\n"}


@pytest.mark.parametrize(
    ("files", "named", "kind", "family"),
    [
        ({"requirements.txt": "six\n"}, "requirements.txt", "requirements", "uv"),
        ({"dev.in": "six\n"}, "dev.in", "requirements", "uv"),
        (UV_PROJECT, "uv.lock", "uv-lock", "uv"),
        (UV_PROJECT, "pyproject.toml", "uv-lock", "uv"),
        (
            {"pyproject.toml": "[project]\ndependencies = ['six']\n"},
            "pyproject.toml",
            "project",
            "uv",
        ),
        ({"pylock.dev.toml": ""}, "pylock.dev.toml", "pylock", "uv"),
        (CONDA, "environment.yml", "conda", "micromamba"),
        ({"explicit.txt": "@EXPLICIT\n"}, "explicit.txt", "explicit", "micromamba"),
        (PIXI_PROJECT, "pixi.lock", "pixi", "pixi"),
        (PIXI_PROJECT, "pixi.toml", "pixi", "pixi"),
        (UV_PROJECT | {"requirements.txt": "six"}, ".", "uv-lock", "uv"),
        (CONDA | {"requirements.txt": "six"}, ".", "conda", "micromamba"),
    ],
)
def test_each_kind_has_its_tool(
    tmp_path: Path, ordered: Ordered, files: dict[str, str], named: str, kind: str, family: str
) -> None:
    place = project(tmp_path / "p é $(x) '", files)
    recipe = ordered(place / named)
    assert (recipe.kind, recipe.family) == (kind, family)
    assert recipe.tool.startswith("/")
    assert set(recipe.unchanged) >= {recipe.file}
    assert Recipe(recipe.values()).values() == recipe.values()  # as it passes through launch.json


def test_without_uv_a_venv_is_made_by_pip(tmp_path: Path, ordered: Ordered) -> None:
    place = project(tmp_path / "p", UV_PROJECT | {"requirements.txt": "six"})
    assert ordered(place / "requirements.txt", tools=()).family == "pip"
    assert ordered(None, "six", tools=()).family == "pip"
    # A lock is for its tool; without that, the project is installed as pip does.
    assert ordered(place / "pyproject.toml", tools=()).kind == "project"


def test_conda_serves_where_micromamba_is_not_there(tmp_path: Path, ordered: Ordered) -> None:
    place = project(tmp_path / "p", CONDA)
    assert ordered(place / "environment.yml", tools=("conda",)).family == "conda"


@pytest.mark.parametrize(
    ("files", "named", "words"),
    [
        (CONDA, "environment.yml", "found no micromamba and no mamba and no conda"),
        (UV_PROJECT, "uv.lock", "found no uv"),
        (PIXI_PROJECT, "pixi.lock", "found no pixi"),
    ],
)
def test_without_its_tool_it_is_refused_unless_the_job_may_load_that(
    tmp_path: Path, ordered: Ordered, files: dict[str, str], named: str, words: str
) -> None:
    place = project(tmp_path / "p", files)
    with pytest.raises(UsageError, match=words) as caught:
        ordered(place / named, tools=())
    assert caught.value.hint
    recipe = ordered(place / named, tools=(), on_the_node=True)
    assert recipe.tool == recipe.family


@pytest.mark.parametrize(
    ("files", "named", "words"),
    [
        ({}, "gone.txt", "gone.txt: no such file"),
        ({}, ".", "has no file that an environment can be built from"),
        ({"x.tar": ""}, "x.tar", "cannot build an environment from it"),
        ({"hostname": "six\n"}, "hostname", "cannot build an environment from it"),
        ({"environment.yml": "name: x\n"}, "environment.yml", "no list `dependencies`"),
        ({"pyproject.toml": "[project\n"}, "pyproject.toml", r"line 1"),
        ({"pyproject.toml": "[tool.x]\n"}, "pyproject.toml", "names no dependencies"),
        (
            {"pyproject.toml": "[project]\ndependencies = ['-r x']\n"},
            "pyproject.toml",
            "not a dependency",
        ),
        ({"uv.lock": ""}, "uv.lock", "uv.lock needs its project: .*pyproject.toml: no such file"),
        ({"pixi.toml": ""}, "pixi.toml", "no pixi.lock beside it"),
        ({"pixi.lock": "", "pixi.toml": ""}, "pixi.lock", "has no kernel for notebooks"),
        ({"requirements.txt": "-r gone.txt"}, "requirements.txt", "gone.txt: no such file"),
    ],
)
def test_a_file_that_cannot_be_built_is_refused_with_advice(
    tmp_path: Path, ordered: Ordered, files: dict[str, str], named: str, words: str
) -> None:
    place = project(tmp_path / "p", files)
    with pytest.raises(UsageError, match=words) as caught:
        ordered(place / named)
    assert caught.value.hint


def test_what_is_no_text_is_refused(tmp_path: Path, ordered: Ordered) -> None:
    binary = tmp_path / "requirements.txt"
    binary.write_bytes(b"\xff\xfe\0")
    for given, words in (
        (binary, "not a text in UTF-8"),
        ("a\0b", "x00"),
        ("/a\nb.txt", "control characters"),
    ):
        with pytest.raises(UsageError, match=words):
            ordered(given)


def test_packages_are_added_to_a_list_and_not_to_a_lock(tmp_path: Path, ordered: Ordered) -> None:
    place = project(tmp_path / "p", UV_PROJECT | {"requirements.txt": "six"})
    assert ordered(place / "requirements.txt", "numpy").packages == ["numpy"]
    with pytest.raises(UsageError, match=r": packages cannot be added to .*uv\.lock"):
        ordered(place / "uv.lock", "numpy")


def test_the_same_content_is_the_same_environment(tmp_path: Path, ordered: Ordered) -> None:
    one, other = (project(tmp_path / name, {"requirements.txt": "six\n"}) for name in ("a", "b"))
    assert ordered(one / "requirements.txt").key == ordered(other / "requirements.txt").key
    assert ordered(one).key == ordered(one, tools=()).key  # whichever tool builds it
    (other / "requirements.txt").write_text("six==1\n")
    assert ordered(one).key != ordered(other).key
    assert ordered(one).key != ordered(one, "numpy").key
    assert ordered(None, "a", "b").key == ordered(None, "a,b").key


@pytest.mark.parametrize("name", ["requirements.txt", "environment.yml"])
def test_an_included_file_changes_the_environment(
    tmp_path: Path, ordered: Ordered, name: str
) -> None:
    text = {
        "requirements.txt": "-r more.txt\n",
        "environment.yml": "dependencies:\n- pip:\n  - -r more.txt\n",
    }
    place = project(tmp_path / "p", {name: text[name], "more.txt": "six"})
    before = ordered(place / name).key
    (place / "more.txt").write_text("numpy")
    assert ordered(place / name).key != before


def test_of_a_project_that_is_installed_itself_the_place_counts(
    tmp_path: Path, ordered: Ordered
) -> None:
    files = {"pyproject.toml": "[build-system]\nrequires = []\n[project]\nname = 'x'\n"}
    one, other = (project(tmp_path / name, files) for name in ("a", "b"))
    first = ordered(one / "pyproject.toml")
    assert first.editable
    assert first.key != ordered(other / "pyproject.toml").key


def test_the_label_is_short(tmp_path: Path, ordered: Ordered) -> None:
    place = project(tmp_path / "proj", {"requirements.txt": "six\n"})
    assert ordered(place).label == "proj/requirements.txt"
    assert (
        ordered(None, "numpy>=1,<2", "dask[array]", "a @ https://u:p@example.org/a.whl").label
        == "numpy, dask, a"
    )
    assert len(ordered(None, *(f"package{number}" for number in range(99))).label) == 60


@pytest.mark.parametrize("text", ["", " ", ","])
def test_a_list_without_a_package_is_refused(ordered: Ordered, text: str) -> None:
    with pytest.raises(UsageError, match="no package is named"):
        ordered(None, text)
