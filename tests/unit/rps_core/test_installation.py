"""The advice to install something, which is right for this installation alone.

With the real pipx, uv and pip: `tests/bootstrap/test_packaging.py`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rps_core import installation
from rps_core.installation import Kind

Programs = Callable[..., None]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """Return a function that makes these programs, and no others, be on the PATH."""

    def make(*names: str) -> None:
        directory = tmp_path / "programs"
        directory.mkdir()
        for name in names:
            (directory / name).touch(0o755)
        monkeypatch.setenv("PATH", str(directory))

    return make


@pytest.fixture
def installed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that makes an installation of what each installer leaves behind."""

    def make(*files: str) -> Path:
        prefix = tmp_path / "prefix"
        for name in files:
            (prefix / name).parent.mkdir(parents=True, exist_ok=True)
            (prefix / name).touch()
        monkeypatch.setattr(sys, "prefix", str(prefix))
        return prefix

    return make


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        (["pyvenv.cfg", "rps-stamp"], Kind.CLONE),
        (["pyvenv.cfg", "pipx_metadata.json"], Kind.PIPX),
        (["pyvenv.cfg", "uv-receipt.toml"], Kind.UV),
        (["pyvenv.cfg"], Kind.ENVIRONMENT),
        (["conda-meta/history"], Kind.ENVIRONMENT),
    ],
    ids=lambda value: value.name if isinstance(value, Kind) else "",
)
def test_the_kind_of_an_installation(
    installed_by: Callable[..., Path], files: list[str], kind: Kind
) -> None:
    assert installation.kind(installed_by(*files)) is kind


def test_of_a_python_that_refuses_pip(
    installed_by: Callable[..., Path], programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test PEP 668: `EXTERNALLY-MANAGED` in the standard library's directory."""
    prefix = installed_by("lib/EXTERNALLY-MANAGED")
    monkeypatch.setattr("sysconfig.get_path", lambda _name: str(prefix / "lib"))
    programs("python3")
    advice = installation.extra_advice("local")
    assert advice.startswith(f"{prefix} refuses pip (PEP 668).")
    assert "python3 -m venv ~/rps && ~/rps/bin/pip install" in advice
    (prefix / "lib/EXTERNALLY-MANAGED").unlink()
    assert " -m pip install " in installation.extra_advice("local")


def test_an_environment_without_pip_is_uvs(
    installed_by: Callable[..., Path], programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed_by("pyvenv.cfg")
    programs("uv")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    advice = installation.extra_advice("local")
    assert f"uv pip install --python {sys.executable} " in advice


@pytest.mark.parametrize(
    ("names", "environment", "advice"),
    [
        (["uv", "conda", "pipx"], {}, "uv tool install --with-executables-from jupyter-core jupyterlab"),
        (["conda", "pipx"], {}, "conda create -n jupyter -c conda-forge jupyterlab"),
        (["micromamba"], {}, "micromamba create -n jupyter -c conda-forge jupyterlab"),
        (["pipx"], {}, "pipx install --include-deps jupyterlab"),
        ([], {}, "python3 -m venv ~/jupyter && ~/jupyter/bin/pip install jupyterlab"),
        (["uv"], {"VIRTUAL_ENV": "/home/u/work"}, "/home/u/work/bin/python -m pip install jupyterlab"),
        (["uv", "conda"], {"CONDA_DEFAULT_ENV": "work"}, "conda install -c conda-forge jupyterlab"),
        (["uv", "conda"], {"CONDA_DEFAULT_ENV": "base"}, "uv tool install"),
    ],
)  # fmt: skip
def test_jupyter_by_what_is_there(
    installed_by: Callable[..., Path],
    programs: Programs,
    names: list[str],
    environment: dict[str, str],
    advice: str,
) -> None:
    installed_by("pyvenv.cfg")
    programs(*names)
    assert advice in installation.jupyter_advice(None, environment=environment)


def test_jupyter_for_a_clone_comes_with_rps(
    installed_by: Callable[..., Path], programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = installed_by("pyvenv.cfg", "rps-stamp")
    programs("uv")
    clone = Path(installation.__file__).parents[1]
    monkeypatch.chdir("/")
    advice = installation.jupyter_advice(None, environment={})
    assert advice == f"Install it with rps: RPS_EXTRAS=local {clone}/rps --version"
    monkeypatch.chdir(clone)
    assert installation.clone_script() == "./rps"
    (prefix / "bin").mkdir()
    (prefix / "bin" / "jupyter-lab").touch()  # and it is not what is missing
    assert "uv tool install" in installation.jupyter_advice(None, environment={})


def test_the_sites_words_come_first() -> None:
    assert (
        installation.jupyter_advice("Load it: module load jupyter")
        == "Load it: module load jupyter"
    )


def test_an_application_is_installed_where_its_jupyter_is(tmp_path: Path) -> None:
    jupyter = tmp_path / "jupyter"
    jupyter.write_text("#!/opt/python/bin/python3.12\n")
    advice = installation.jupyter_advice(None, "notebook", beside=str(jupyter))
    assert advice == "Install it there: /opt/python/bin/python3.12 -m pip install notebook"


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ('ID=debian\nVERSION="12"\n', "apt install libnss3-tools"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "apt install libnss3-tools"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install nss-tools"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "zypper install mozilla-nss-tools"),
        ("ID=nixos\n", ""),
        ("nothing\n", ""),
    ],
)
def test_the_package_of_this_distribution(tmp_path: Path, release: str, command: str) -> None:
    file = tmp_path / "os-release"
    file.write_text(release)
    names = {"debian": "libnss3-tools", "fedora": "nss-tools", "suse": "mozilla-nss-tools"}
    assert installation.package_advice(names, file) == command
    assert installation.package_advice(names, tmp_path / "none") == ""


@pytest.mark.parametrize(
    ("origin", "named"),
    [
        ({"url": "file:///nowhere/rps", "dir_info": {}}, "'rps-launcher[local]'"),
        ({"url": "https://example.org/rps.git", "vcs_info": {"vcs": "git", "commit_id": "ab12"}},
         "'rps-launcher[local] @ git+https://example.org/rps.git@ab12'"),
        (None, "'rps-launcher[local]'"),
    ],
)  # fmt: skip
def test_what_is_installed_is_what_was(
    monkeypatch: pytest.MonkeyPatch, origin: object, named: str
) -> None:
    """Test `direct_url.json` (PEP 610)."""

    class Distribution:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return None if origin is None else json.dumps(origin)

    monkeypatch.setattr("importlib.metadata.distribution", lambda _name: Distribution())
    assert installation.requirement("local") == named


def test_a_directory_that_was_installed_is_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "a clone"
    directory.mkdir()
    text = json.dumps({"url": directory.as_uri(), "dir_info": {"editable": True}})
    distribution = type("Distribution", (), {"read_text": lambda _self, _name: text})()
    monkeypatch.setattr("importlib.metadata.distribution", lambda _name: distribution)
    assert installation.requirement("proxy") == f"'{directory}[proxy]'"
