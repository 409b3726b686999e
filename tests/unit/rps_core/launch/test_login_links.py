"""A Jupyter that is too old for login links is refused before the queue, as far as it can be seen."""

from __future__ import annotations

import os
import shutil
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

from rps_core.cluster import ClusterContext
from rps_core.config import settings
from rps_core.doctor.checkup import Checkup
from rps_core.doctor.job import plan as plan_check
from rps_core.errors import UsageError
from rps_core.hooks.manager import Plugins
from rps_core.launch import plan as planning
from rps_core.state.store import Store
from rps_core.system.shell import Finished


def no_shell(*argv: str, stdin: str = "", timeout: float = 30.0) -> Finished:
    raise AssertionError(f"a scheduler was asked: {argv}")


def context(**options: object) -> ClusterContext:
    site_config = Path(os.environ["HOME"]) / "site.yaml"
    site_config.write_text("allow_root: true\nlimits: {share: '8:00:00'}\n")
    plugins = Plugins.load()
    site = plugins.site(next(found for found in plugins.clusters() if found.name == "local"))
    given = settings.Overrides(options={f"notebook.{key}": each for key, each in options.items()})
    loaded = settings.load(
        "local", site.scheduler_config(), site_config, environment={}, given=given
    )
    return ClusterContext(site, (), loaded, shell=no_shell)


def plan(*, dry_run: bool = False, **options: Any) -> planning.Plan:
    return planning.plan(context(**options), dry_run=dry_run)


class Stand:
    """A venv with a Jupyter, as pip leaves it."""

    def __init__(self) -> None:
        self.path = Path(os.environ["HOME"]) / "old"
        venv.create(self.path, symlinks=True)
        self.packages = next(self.path.glob("lib/python*/site-packages"))
        (self.packages / "ipykernel_launcher.py").touch()
        self.jupyter = f"{self.path}/bin/jupyter"
        for name in ("jupyter", "jupyter-lab", "jupyter-notebook"):
            (self.path / "bin" / name).write_text(f"#!{self.path}/bin/python\n")
            (self.path / "bin" / name).chmod(0o755)

    def has(self, *versions: str) -> None:
        """Replace the packages that are recorded there."""
        for old in self.packages.glob("*-info"):
            old.rmdir()
        for version in versions:
            (self.packages / version).mkdir()

    def plan(self, *, dry_run: bool = False, **options: Any) -> planning.Plan:
        return plan(**{"venv": str(self.path), "link": "once", **options}, dry_run=dry_run)


@pytest.fixture
def stand() -> Stand:
    return Stand()


@pytest.mark.parametrize(
    ("app", "versions", "old"),
    [
        ("lab", ["jupyter_server-1.24.0.dist-info", "jupyterlab-3.6.8.dist-info"], "jupyter_server 1.24.0"),
        ("lab", ["jupyterlab-2.3.2.dist-info", "notebook-6.5.7.dist-info"], "jupyterlab 2.3.2"),
        # Notebook 6 does not run on a Jupyter Server that is beside it.
        ("notebook", ["jupyter_server-2.17.0.dist-info", "notebook-6.5.7.dist-info"], "notebook 6.5.7"),
        ("notebook", ["jupyter_server-1.23.3.egg-info", "notebook-6.4.12.egg-info"], "jupyter_server 1.23.3"),
    ],
)  # fmt: skip
def test_one_that_is_too_old_is_refused(
    stand: Stand, app: str, versions: list[str], old: str
) -> None:
    stand.has(*versions)
    with pytest.raises(UsageError) as caught:
        stand.plan(app=app)
    assert f"need Jupyter Server 2, and {stand.jupyter} has {old}" in caught.value.message
    hint = caught.value.hint or ""
    assert f"{'notebook>=7' if app == 'notebook' else 'jupyterlab>=4'}'" in hint
    assert str(stand.path / "bin" / "python") in hint
    assert f"rps start --venv {stand.path} --jupyter rps" in hint
    assert caught.value.message in stand.plan(app=app, dry_run=True).environment.notes
    # Its token opens the session, and only sharing needs more.
    (note,) = stand.plan(app=app, link="token").environment.notes
    assert "`rps share` will not work" in note


def test_the_doctor_says_so(stand: Stand) -> None:
    stand.has("jupyter_server-1.24.0.dist-info")

    def findings(link: str) -> list[tuple[str, str]]:
        here = context(venv=str(stand.path), link=link)
        case = Checkup(None, (), Store(stand.path), site=here.site, loaded=here.loaded)
        return [(one.verdict, one.text) for one in plan_check(case)]

    ((verdict, text),) = findings("once")
    assert verdict == "fail"
    assert f"{stand.jupyter} has jupyter_server 1.24.0" in text
    (passed, _), (verdict, text) = findings("token")
    assert (passed, verdict) == ("pass", "warn")
    assert "`rps share` will not work" in text


def test_one_that_accepts_them_or_that_is_unknown_is_taken(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    for versions in (
        ["jupyter_server-2.0.0.dist-info", "jupyterlab-3.6.8.dist-info"],
        ["jupyter_server_proxy-1.6.0.dist-info"],  # another package
        [],
    ):
        stand.has(*versions)
        assert stand.plan().environment.notes == ()
    stand.has("jupyter_server-1.24.0.dist-info")
    prologue = Path(os.environ["HOME"]) / "prologue.sh"
    prologue.touch()
    assert stand.plan(prologue=str(prologue)).environment.notes == ()  # it may bring others
    assert stand.plan(modules=["python"]).environment.notes == ()
    newer = Path(os.environ["HOME"]) / "newer"
    (newer / "jupyter_server-2.14.2.dist-info").mkdir(parents=True)
    monkeypatch.setenv("PYTHONPATH", str(newer))
    assert stand.plan().environment.notes == ()


def test_an_application_that_nothing_here_can_serve_is_refused_in_a_conda_environment(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    conda = Path(os.environ["HOME"]) / "conda"
    shutil.copytree(stand.path, conda, symlinks=True)
    (conda / "pyvenv.cfg").unlink()
    (conda / "conda-meta").mkdir()
    (conda / "conda-meta" / "python-3.12.4-h194c7f8_0_cpython.json").write_text("{}")
    for name in ("jupyter", "jupyter-lab"):
        (conda / "bin" / name).write_text(f"#!{conda}/bin/python\n")
    app: dict[str, Any] = {"app": "command", "arguments": ["true"], "conda_env": str(conda)}
    assert plan(**app).environment.notes == ()  # rps's own Jupyter serves it
    monkeypatch.setattr(sys, "executable", "/nowhere/bin/python")
    with pytest.raises(UsageError, match="has no jupyter-server-proxy, version 4") as caught:
        plan(**app)
    assert caught.value.message in plan(dry_run=True, **app).environment.notes
    packages = next(conda.glob("lib/python*/site-packages"))
    (packages / "jupyter_server_proxy-4.4.0.dist-info").mkdir()
    assert plan(**app).environment.notes == ()
