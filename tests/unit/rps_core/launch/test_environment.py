"""Which environment a session gets, which Jupyter serves it, and its kernel."""

import os
import shutil
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from rps_core.config import settings
from rps_core.config.settings import Overrides
from rps_core.environment.active import OWN_MARK
from rps_core.environment.environment import Kind
from rps_core.errors import UsageError
from rps_core.launch.choice import Choice, NoKernelError
from rps_core.launch.environment import Chooser

OWN = str(Path(sys.executable).with_name("jupyter"))


class Stand:
    """A user's home, working directory, shell and configuration."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = Path(os.environ["HOME"])
        self.work = self.home / "work"
        self.work.mkdir()
        self.patch = monkeypatch
        self.patch.chdir(self.work)
        self.variables = {"PATH": str(self.home / "bin")}
        (self.home / "bin").mkdir()

    def choose(
        self, *, configured: str = "", earlier: dict[str, object] | None = None, **options: Any
    ) -> Choice:
        """Choose with a configuration file, an earlier session's settings, and options."""
        file = self.home / ".config" / "rps" / "config.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(configured)
        given = Overrides(
            options={f"notebook.{key}": value for key, value in options.items()},
            earlier={f"notebook.{key}": value for key, value in (earlier or {}).items()},
            session="one-two-three",
        )
        loaded = settings.load("here", None, None, environment={}, given=given)
        directory = Path(str(options.get("directory", self.home)))
        return Chooser(loaded, "lab", directory, self.variables).choose()

    def venv(self, path: Path, *, jupyter: bool = False, kernel: bool = False) -> Path:
        """Make a venv, with what Jupyter and ipykernel leave in it."""
        venv.create(path, symlinks=True)
        if jupyter:
            self.jupyter(path)
        if kernel:
            (next(path.glob("lib/python*/site-packages")) / "ipykernel_launcher.py").touch()
        return path

    def jupyter(self, path: Path) -> str:
        """Make the programs of Jupyter in an environment; return the first."""
        (path / "bin").mkdir(parents=True, exist_ok=True)
        for name in ("jupyter", "jupyter-lab"):
            (path / "bin" / name).write_text(f"#!{path}/bin/python\n")
            (path / "bin" / name).chmod(0o755)
        if not (path / "bin" / "python").exists():
            (path / "bin" / "python").symlink_to(sys.executable)
        return f"{path}/bin/jupyter"


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(monkeypatch)


def conda(path: Path) -> Path:
    """Make an environment as conda leaves it."""
    (path / "conda-meta").mkdir(parents=True)
    (path / "conda-meta" / "python-3.12.4-h194c7f8_0_cpython.json").write_text("{}")
    (path / "bin").mkdir()
    (path / "bin" / "python").symlink_to(sys.executable)
    return path


def test_the_order_in_which_an_environment_is_taken(stand: Stand) -> None:
    """Test from the last to the first: each thing found takes the place of those that follow it."""
    found = stand.choose()
    assert (found.environment.kind, found.jupyter, found.kernel) == (Kind.OWN, OWN, None)
    site = stand.jupyter(stand.home / "site")
    provided = f"notebook: {{provided: {stand.home}/site}}\n"
    found = stand.choose(configured=provided)
    assert (found.environment.kind, found.jupyter) == (Kind.SITE, site)
    on_path = stand.jupyter(stand.home)
    found = stand.choose(configured=provided)
    assert (found.environment.kind, found.jupyter) == (Kind.PATH, on_path)
    active = stand.venv(stand.home / "active", jupyter=True)
    stand.variables["VIRTUAL_ENV"] = str(active)
    found = stand.choose(configured=provided)
    assert (found.environment.prefix, found.jupyter) == (active, f"{active}/bin/jupyter")
    assert found.environment.chosen_by == "active in this shell (VIRTUAL_ENV)"
    project = stand.venv(stand.work / ".venv", jupyter=True)
    found = stand.choose(configured=provided)
    assert (found.environment.prefix, found.served_by, found.kernel) == (project, "", None)
    assert found.environment.described().endswith(", the project in ~/work")
    said = stand.venv(stand.home / "said", jupyter=True)
    found = stand.choose(configured=provided, venv=str(said))
    assert (found.environment.prefix, found.environment.chosen_by) == (said, "--venv")


def test_a_terminal_of_rpss_own_jupyter_has_no_other_environment(stand: Stand) -> None:
    """Its venv is active there, and has no kernel of its own."""
    active = stand.venv(stand.home / "python" / "local-3.12")
    (packages,) = active.glob("lib/python*/site-packages")
    (packages / OWN_MARK).touch()
    stand.variables["VIRTUAL_ENV"] = str(active)
    found = stand.choose()
    assert (found.environment.kind, found.jupyter, found.notes) == (Kind.OWN, OWN, ())


def test_a_kernel_alone_is_served_by_the_best_jupyter_there_is(stand: Stand) -> None:
    project = stand.venv(stand.work / ".venv", kernel=True)
    found = stand.choose()
    assert (found.jupyter, found.served_by) == (OWN, f"rps's own Jupyter, {OWN}")
    assert found.kernel is not None
    assert found.kernel.argv[0] == str(project / "bin" / "python")
    assert found.kernel.display_name.startswith("work (Python 3.")
    site = stand.jupyter(stand.home / "site")
    found = stand.choose(configured=f"notebook: {{provided: {site}}}\n")
    assert (found.jupyter, found.served_by) == (site, "the site's Jupyter, ~/site/bin/jupyter")
    named = stand.jupyter(stand.home / "named")
    found = stand.choose(venv=str(project), jupyter=named)
    assert (found.jupyter, found.kernel and found.kernel.name) == (named, "python3")


def test_without_a_kernel_the_command_of_its_own_tool_is_named(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    project = stand.venv(stand.work / ".venv")
    with pytest.raises(
        NoKernelError, match="has no kernel: ipykernel is not installed in it"
    ) as caught:
        stand.choose()
    assert f"-m pip --python {project}/bin/python install ipykernel" in caught.value.hint
    assert "rps start --add-kernel" in caught.value.hint
    (next(project.glob("lib/python*/site-packages")) / "pip").mkdir()
    (next(project.glob("lib/python*/site-packages")) / "pip" / "__init__.py").touch()
    with pytest.raises(NoKernelError) as caught:
        stand.choose()
    assert f"{project}/bin/python -m pip install ipykernel" in caught.value.hint
    with (project / "pyvenv.cfg").open("a") as file:
        file.write("uv = 0.9.13\n")
    uv = stand.home / "bin" / "uv"
    uv.touch(0o755)
    monkeypatch.setenv("PATH", str(uv.parent))
    with pytest.raises(NoKernelError) as caught:
        stand.choose()
    assert f"uv pip install --python {project}/bin/python ipykernel" in caught.value.hint
    (stand.work / "uv.lock").touch()
    with pytest.raises(NoKernelError) as caught:
        stand.choose()
    assert f"uv add --project {stand.work} --dev ipykernel" in caught.value.hint
    # The way out of it: the session has another environment.
    assert stand.choose(jupyter="rps").environment.kind == Kind.OWN


def test_conda_and_pixi_add_a_kernel_by_themselves(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(stand.home / "bin"))
    place = conda(stand.home / "envs" / "ml")
    pixi = conda(stand.work / ".pixi" / "envs" / "default")
    (stand.home / "bin" / "micromamba").touch(0o755)
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"conda_env": str(place)}, f"micromamba install --yes --prefix {place} -c conda-forge ipykernel"),
        ({}, f"pixi add --manifest-path {stand.work}/pixi.toml ipykernel"),
        ({"venv": str(pixi)}, f"pixi add --manifest-path {stand.work}/pixi.toml ipykernel"),
    )  # fmt: skip
    for options, command in cases:
        with pytest.raises(NoKernelError) as caught:
            stand.choose(**options)
        assert command in caught.value.hint


def test_conda_environments_are_activated_in_the_job(stand: Stand) -> None:
    place = conda(stand.home / "envs" / "ml")
    stand.jupyter(place)
    found = stand.choose(conda_env=str(place))
    assert (found.conda_env, found.prefix) == (str(place), None)
    assert found.environment.described().startswith(
        "ml (~/envs/ml, Python 3.12.4, made by conda), --conda"
    )
    stand.variables["CONDA_PREFIX"] = str(place)
    assert stand.choose().conda_env == str(place)
    # One that only the job knows has its kernel first, whatever serves it.
    unknown = stand.choose(conda_env="on-the-node")
    assert (unknown.jupyter, unknown.fallback, unknown.conda_env) == ("jupyter", OWN, "on-the-node")
    assert unknown.kernel is not None
    assert unknown.kernel.argv[:2] == ("/usr/bin/env", "python")


def test_the_base_of_conda_without_a_kernel_is_not_taken(stand: Stand) -> None:
    """Test what conda's auto_activate leaves in every shell."""
    place = conda(stand.home / "miniforge3")
    (place / "condabin").mkdir()
    stand.variables["CONDA_PREFIX"] = str(place)
    assert stand.choose().environment.kind == Kind.OWN
    stand.jupyter(place)
    assert stand.choose().environment.name == "base"


def test_an_option_overrides_what_is_configured_under_another_key(stand: Stand) -> None:
    place = conda(stand.home / "envs" / "ml")
    stand.jupyter(place)
    said = stand.venv(stand.home / "said", jupyter=True)
    configured = f"notebook: {{conda_env: {place}}}\n"
    found = stand.choose(configured=configured)
    assert found.environment.prefix == place
    assert "config.yaml:1)" in found.environment.chosen_by
    found = stand.choose(configured=configured, venv=str(said))
    assert (found.environment.prefix, found.conda_env) == (said, None)
    with pytest.raises(UsageError, match="--venv and --conda-env are two environments"):
        stand.choose(venv=str(said), conda_env=str(place))


def test_the_same_environment_is_taken_again_whatever_the_shell(stand: Stand) -> None:
    project = stand.venv(stand.work / ".venv", kernel=True)
    active = stand.venv(stand.home / "active", jupyter=True)
    place = conda(stand.home / "envs" / "ml")
    stand.jupyter(place)
    site = f"notebook: {{provided: {stand.jupyter(stand.home / 'site')}}}\n"
    firsts = [
        stand.choose(),
        stand.choose(conda_env=str(place)),
        stand.choose(jupyter="site", configured=site),
    ]
    shutil.rmtree(project.parent / ".venv")
    firsts += [stand.choose(), stand.choose(modules=["anaconda"])]
    stand.venv(stand.work / ".venv", kernel=True)
    stand.variables["VIRTUAL_ENV"] = str(active)
    for first in firsts:
        kept = {key.removeprefix("notebook."): value for key, value in first.to_keep().items()}
        again = stand.choose(earlier=kept, configured=site)
        assert (again.environment.kind, again.environment.prefix) == (
            first.environment.kind,
            first.environment.prefix,
        )
        assert (again.modules, again.conda_env) == (first.modules, first.conda_env)
        assert again.to_keep() == first.to_keep()
        # An option overrides the earlier session's environment, also under another key.
        other = stand.choose(earlier=kept, configured=site, venv=str(active))
        assert other.environment.prefix == active


def test_d_leads_to_its_project(stand: Stand) -> None:
    stand.venv(stand.work / ".venv", jupyter=True)
    other = stand.venv(stand.home / "other" / ".venv", jupyter=True)
    inside = stand.home / "other" / "notebooks"
    inside.mkdir()
    assert stand.choose(directory=str(inside)).environment.prefix == other
    # A configured directory is the top of all that the user has; the user is in a project below.
    found = stand.choose(configured=f"notebook: {{directory: {stand.home}}}\n")
    assert found.environment.prefix == stand.work / ".venv"


def test_venv_may_name_the_project(stand: Stand) -> None:
    place = stand.venv(stand.home / "other" / ".venv", jupyter=True)
    assert stand.choose(venv=str(place.parent)).environment.prefix == place


def test_what_was_not_taken_is_said(stand: Stand) -> None:
    stand.venv(stand.work / ".venv", jupyter=True)
    stand.work.chmod(0o777)
    stand.variables["VIRTUAL_ENV"] = str(stand.home / "gone")
    found = stand.choose()
    assert found.environment.kind == Kind.OWN
    assert any("~/work/.venv was not taken" in note and "--venv" in note for note in found.notes)
    assert any("VIRTUAL_ENV names ~/gone, which is not there" in note for note in found.notes)
    assert stand.choose(venv=str(stand.work / ".venv")).environment.prefix == stand.work / ".venv"
    stand.work.chmod(0o755)
    shutil.rmtree(stand.work / ".venv")
    (stand.work / "uv.lock").touch()
    assert any("`uv sync` makes it" in note for note in stand.choose().notes)


def test_modules_go_with_the_environment_that_needs_them(stand: Stand, tmp_path: Path) -> None:
    """Test a venv of a module's Python, whose libraries are in the module's directories."""
    apps = tmp_path / "apps" / "python" / "bin"
    apps.mkdir(parents=True)
    place = stand.venv(stand.work / ".venv", kernel=True)
    (place / "pyvenv.cfg").write_text(f"home = {apps}\nversion = 3.11.7\n")
    stand.variables["LOADEDMODULES"] = "gcc/13:python/3.11"
    found = stand.choose()
    assert found.modules == ("gcc/13", "python/3.11")
    assert "with the modules gcc/13, python/3.11" in found.environment.described()
    (place / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.7\n")
    assert stand.choose().modules == ()
    # Configured ones are loaded in any case; a project is nearer than they are.
    found = stand.choose(configured="notebook: {modules: [cuda]}\n")
    assert (found.modules, found.environment.kind) == (("cuda",), Kind.VENV)
    found = stand.choose(modules=["anaconda"])
    assert (found.environment.kind, found.jupyter, found.fallback) == (Kind.MODULES, "jupyter", OWN)


def test_loaded_modules_with_jupyter_or_a_kernel_are_an_environment(
    stand: Stand, tmp_path: Path
) -> None:
    module = tmp_path / "apps" / "anaconda"
    stand.variables |= {"LOADEDMODULES": "anaconda/2025", "PATH": f"{module}/bin"}
    conda(module)
    (module / "bin" / "python3").symlink_to("python")
    assert stand.choose().environment.kind == Kind.OWN  # neither Jupyter nor a kernel
    packages = module / "lib" / "python3.12" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "ipykernel_launcher.py").touch()
    found = stand.choose()
    assert (found.environment.kind, found.jupyter) == (Kind.MODULES, OWN)
    assert found.kernel is not None
    assert found.kernel.argv[0] == f"{module}/bin/python"
    server = stand.jupyter(module)
    found = stand.choose()
    assert (found.modules, found.jupyter, found.fallback) == (("anaconda/2025",), "jupyter", server)


def test_a_prologue_may_bring_a_jupyter_and_need_not(stand: Stand) -> None:
    found = stand.choose(prologue="/some/file")
    assert (found.environment.kind, found.jupyter, found.fallback) == (Kind.OWN, "jupyter", OWN)
    place = stand.venv(stand.work / ".venv", jupyter=True)
    assert stand.choose(prologue="/some/file").jupyter == f"{place}/bin/jupyter"


def test_without_anything_to_serve_it_a_kernel_is_refused(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.venv(stand.work / ".venv", kernel=True)
    monkeypatch.setattr("sys.executable", "/nowhere/bin/python")
    with pytest.raises(UsageError, match="no other Jupyter to serve it") as caught:
        stand.choose()
    assert caught.value.hint


def test_a_jupyter_that_was_named_by_a_word_must_be_there(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="--jupyter: this site provides no Jupyter"):
        stand.choose(jupyter="site")
    monkeypatch.setattr("sys.executable", "/nowhere/bin/python")
    with pytest.raises(UsageError, match="--jupyter: rps has no Jupyter of its own"):
        stand.choose(jupyter="rps")
