"""What is read of an environment's directory, and which ones cannot be used."""

import shutil
import venv
from pathlib import Path

import pytest

from rps_core.environment import prefix
from rps_core.environment.environment import Kind
from rps_core.errors import UsageError

# What uv 0.9.13 and virtualenv 20.35 write into pyvenv.cfg, for the same Python.
UV = """\
home = {home}
implementation = CPython
uv = 0.9.13
version_info = 3.11.7
include-system-site-packages = false
prompt = analysis
"""
VIRTUALENV = """\
home = {home}
implementation = CPython
version_info = 3.11.7.final.0
virtualenv = 20.35.4
version = 3.11.7
base-prefix = {home}/..
include-system-site-packages = false
"""


def made(path: Path, configuration: str = "") -> Path:
    """Make a venv, with the `pyvenv.cfg` of another tool if given."""
    venv.create(path, symlinks=True)
    if configuration:
        home = (path / "bin" / "python").resolve().parent
        (path / "pyvenv.cfg").write_text(configuration.format(home=home))
    return path


def conda(path: Path, *packages: str) -> Path:
    """Make a conda environment: conda writes a file conda-meta/NAME-VERSION-BUILD.json for each package."""
    (path / "conda-meta").mkdir(parents=True)
    (path / "conda-meta" / "history").touch()
    for package in packages:
        (path / "conda-meta" / f"{package}.json").write_text("{}")
    (path / "bin").mkdir()
    if any(package.startswith("python-") for package in packages):
        (path / "bin" / "python").symlink_to("/bin/sh")
    return path


def test_a_venv_says_who_made_it_and_for_which_python(tmp_path: Path) -> None:
    for configuration, tool, name in (
        ("", "venv", "proj"), (UV, "uv", "analysis"), (VIRTUALENV, "virtualenv", "proj"),
    ):  # fmt: skip
        place = made(tmp_path / tool / "proj" / ".venv", configuration)
        found = prefix.read(place, "--venv")
        assert (found.kind, found.made_by, found.name) == (Kind.VENV, tool, name)
        assert found.python_version is not None
        assert found.python_version.startswith("3.")
        assert found.python == place / "bin" / "python"


def test_a_conda_environment_without_activation_scripts_is_whole(tmp_path: Path) -> None:
    place = conda(
        tmp_path / "envs" / "ml", "python-3.12.4-h194c7f8_0_cpython", "numpy-2.1.0-py312_0"
    )
    found = prefix.read(place, "--venv")
    assert (found.kind, found.name, found.python_version) == (Kind.CONDA, "ml", "3.12.4")
    only_r = prefix.read(conda(tmp_path / "r", "r-base-4.4.1-h1_0"), "--venv")
    assert (only_r.python, only_r.python_version) == (None, None)


def test_an_environment_of_pixi_is_called_after_its_project(tmp_path: Path) -> None:
    for name, called in (("default", "proj"), ("cuda", "proj:cuda")):
        place = conda(tmp_path / "proj" / ".pixi" / "envs" / name, "python-3.13.0-h1_0")
        found = prefix.read(place, "--venv")
        assert (found.kind, found.name, found.made_by) == (Kind.PIXI, called, "pixi")


def _python_gone(place: Path) -> None:
    (place / "bin" / "python").unlink()
    (place / "bin" / "python3").unlink()
    (place / "bin" / "python").symlink_to("/gone/bin/python3.12")


def _base_gone(place: Path) -> None:
    (place / "pyvenv.cfg").write_text("home = /gone/bin\nversion = 3.12.1\n")


def _other_python(place: Path) -> None:
    """Give it another Python: an upgrade of the system does it, below /usr/bin/python3."""
    newer = place.parent / "python3.99"
    newer.touch(0o755)
    for name in ("python", "python3"):
        (place / "bin" / name).unlink()
        (place / "bin" / name).symlink_to(newer)


def _packages_gone(place: Path) -> None:
    shutil.rmtree(place / "lib")


def _configuration_gone(place: Path) -> None:
    (place / "pyvenv.cfg").unlink()


def _of_another_architecture(place: Path) -> None:
    """Write an ELF header (elf.h) for a big-endian MIPS, which no host here is."""
    python = place / "bin" / "python"
    python.unlink()
    python.write_bytes(b"\x7fELF\x02\x02\x01" + bytes(9) + b"\x00\x02\x00\x08")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_python_gone, "its Python is gone: there is no /gone/bin/python3.12"),
        (_base_gone, "the Python that it was made from is gone: there is no /gone/bin"),
        (_other_python, "its Python is now 3.99, and its packages are for 3."),
        (_packages_gone, "its packages are gone"),
        (_configuration_gone, "it is half deleted"),
        (_of_another_architecture, "its Python is for another machine (8), and this host is"),
    ],
)
def test_a_venv_that_cannot_be_used_is_refused_with_what_to_do(
    tmp_path: Path, harm: object, words: str
) -> None:
    place = made(tmp_path / "it's a $(proj) ü" / ".venv")
    assert callable(harm)
    harm(place)
    with pytest.raises(UsageError) as caught:
        prefix.read(place, "the project")
    assert words in caught.value.message
    assert str(place) in caught.value.message
    assert "--venv" in caught.value.hint


def test_a_venv_is_made_again_by_its_own_tool(tmp_path: Path) -> None:
    place = made(tmp_path / "p" / ".venv", UV)
    _python_gone(place)
    with pytest.raises(UsageError) as caught:
        prefix.read(place, "--venv")
    assert f"uv venv --clear --python 3.11 {place}" in caught.value.hint
    (tmp_path / "p" / "uv.lock").touch()
    with pytest.raises(UsageError) as caught:
        prefix.read(place, "--venv")
    assert f"uv sync --project {tmp_path}/p" in caught.value.hint


@pytest.mark.parametrize(
    ("packages", "words"), [(("python-3.12.4-h1_0",), "its Python is gone"), ((), "its packages are gone")]
)  # fmt: skip
def test_a_half_deleted_conda_environment_is_refused(
    tmp_path: Path, packages: tuple[str, ...], words: str
) -> None:
    place = conda(tmp_path / "ml", *packages)
    (place / "bin" / "python").unlink(missing_ok=True)
    with pytest.raises(UsageError, match=words):
        prefix.read(place, "--conda-env")


def test_what_is_no_environment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words in (
        (tmp_path, "is no environment"),
        (tmp_path / "file", "is not a directory"),
        (tmp_path / "none", "not found"),
    ):
        with pytest.raises(UsageError, match=words):
            prefix.read(path, "--venv")


def test_a_module_is_found_where_its_python_would_find_it(tmp_path: Path) -> None:
    place = made(tmp_path / "v")
    packages = prefix.read(place, "").packages[0]
    assert not prefix.read(place, "").has_module("ipykernel_launcher")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ipykernel_launcher.py").touch()
    (packages / "layer.pth").write_text(f"# a comment\nimport os\n{elsewhere}\n")
    assert prefix.read(place, "").has_module("ipykernel_launcher")


def test_system_packages_count_where_the_venv_takes_them(tmp_path: Path) -> None:
    base = tmp_path / "base"
    packages = base / "lib" / "python3.11" / "site-packages"
    packages.mkdir(parents=True)
    (base / "bin").mkdir()
    (packages / "ipykernel_launcher.py").touch()
    for taken in ("true", "false"):
        place = made(tmp_path / taken)
        (place / "pyvenv.cfg").write_text(
            f"home = {base}/bin\ninclude-system-site-packages = {taken}\nversion = 3.11.7\n"
        )
        assert prefix.read(place, "").has_module("ipykernel_launcher") is (taken == "true")


def test_a_program_whose_interpreter_is_gone_is_none(tmp_path: Path) -> None:
    """Test an environment that was moved: its scripts name the former directory."""
    place = made(tmp_path / "v")
    for name in ("jupyter", "jupyter-lab"):
        (place / "bin" / name).write_text(f"#!{tmp_path}/former/bin/python\n")
        (place / "bin" / name).chmod(0o755)
    assert not prefix.read(place, "").serves("lab")
    for name in ("jupyter", "jupyter-lab"):
        (place / "bin" / name).write_text(f"#!{place}/bin/python\n")
    assert prefix.read(place, "").serves("lab")
    found = prefix.of_program(str(place / "bin" / "jupyter"))
    assert found is not None
    assert found.path == place
