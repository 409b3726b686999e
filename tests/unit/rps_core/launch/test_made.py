"""The environment that is made to order, among those that are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rps_core.environment.environment import Kind
from rps_core.errors import UsageError
from rps_core.launch import made
from rps_core.launch.choice import Choice
from rps_core.node.builder.cache import Cache
from tests.unit.rps_core.launch.test_environment import OWN, Stand


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    stand = Stand(monkeypatch)
    uv = stand.home / ".local" / "bin" / "uv"  # where its installer puts it
    uv.parent.mkdir(parents=True)
    uv.write_text("#!/bin/sh\n")
    uv.chmod(0o755)
    (stand.work / "requirements.txt").write_text("six\n")
    return stand


def build(stand: Stand, choice: Choice, *, jupyter: bool = False, kernel: bool = True) -> Path:
    """Do what the build of an order does."""
    assert choice.order is not None
    cache = Cache(choice.order.cache)
    lock = cache.try_lock(choice.order.recipe.name)
    assert lock is not None
    stand.venv(Path(lock.tree), jupyter=jupyter, kernel=kernel)
    cache.publish(choice.order.recipe.name, lock.tree, "", label="x", size=1)
    lock.release()
    return Path(lock.tree)


def test_it_is_built_once_and_served_by_the_best_jupyter(stand: Stand) -> None:
    found = stand.choose(env="requirements.txt")
    assert found.order is not None
    assert not found.order.in_the_job
    assert found.environment.described() == (
        "work/requirements.txt (to be built, made by uv), --env"
    )
    tree = build(stand, found)
    os.utime(f"{tree.parent}/{found.order.recipe.name}.json", (1, 1))
    found = stand.choose(env="requirements.txt")
    assert found.order is None
    assert (found.environment.kind, found.environment.prefix) == (Kind.MADE, tree)
    assert found.environment.described().endswith("made by uv), --env")
    assert found.kernel is not None
    assert found.kernel.argv[0] == f"{tree}/bin/python"
    assert found.kernel.display_name.startswith("work/requirements.txt (Python 3.")
    assert found.jupyter == OWN
    assert Cache(str(tree.parent)).used(f"{tree.name.rpartition('-')[0]}") > 1


def test_one_with_jupyterlab_serves_itself(stand: Stand) -> None:
    tree = build(stand, stand.choose(packages=["jupyterlab"]), jupyter=True)
    assert stand.choose(packages=["jupyterlab"]).jupyter == f"{tree}/bin/jupyter"


def test_one_that_is_half_deleted_is_built_again(stand: Stand) -> None:
    tree = build(stand, stand.choose(packages=["six"]))
    (tree / "pyvenv.cfg").unlink()
    assert stand.choose(packages=["six"]).order is not None


def test_an_option_overrides_what_is_configured_and_two_options_differ(stand: Stand) -> None:
    other = stand.venv(stand.home / "other", kernel=True)
    configured = f"notebook: {{venv: {other}}}\n"
    assert stand.choose(configured=configured).environment.kind == Kind.VENV
    assert stand.choose(configured=configured, packages=["six"]).environment.kind == Kind.MADE
    own = stand.jupyter(stand.home / "jupyter")
    configured = "notebook: {packages: [six]}\n"
    assert stand.choose(configured=configured, jupyter=own).environment.kind == Kind.PATH
    assert stand.choose(configured=configured).environment.kind == Kind.MADE
    assert stand.choose(configured=configured, venv=str(other)).environment.kind == Kind.VENV
    with pytest.raises(UsageError, match="--with and --venv are two environments"):
        stand.choose(packages=["six"], venv=str(other))
    with pytest.raises(UsageError, match="--env and --image are two environments"):
        stand.choose(env="requirements.txt", image="x.sif")


def test_an_option_replaces_the_configured_file(stand: Stand) -> None:
    configured = f"notebook: {{env: {stand.work}/requirements.txt}}\n"
    assert stand.choose(configured=configured, packages=["numpy"]).environment.name == "numpy"
    both = stand.choose(env="requirements.txt", packages=["numpy"])
    assert both.order is not None
    assert (both.order.recipe.file, both.order.recipe.packages) == (
        f"{stand.work}/requirements.txt",
        ["numpy"],
    )


def test_the_next_session_takes_the_same(stand: Stand) -> None:
    first = stand.choose(env="requirements.txt")
    kept = first.to_keep()
    assert kept["notebook.venv"] is None
    assert "notebook.env" not in kept  # it stays as it was given
    other = stand.venv(stand.home / "other", kernel=True)
    chosen = stand.choose(configured="notebook: {packages: [six]}\n", venv=str(other))
    assert (chosen.to_keep()["notebook.env"], chosen.to_keep()["notebook.packages"]) == (None, [])


def test_the_named_jupyter_serves_it(stand: Stand) -> None:
    own = stand.jupyter(stand.home / "jupyter")
    assert stand.choose(packages=["six"], jupyter=own).jupyter == own
    with pytest.raises(UsageError, match=r"^--jupyter: this site provides no Jupyter"):
        stand.choose(packages=["six"], jupyter="site")


def test_where_the_site_says_so_the_job_builds_it(stand: Stand, tmp_path: Path) -> None:
    configured = f"notebook: {{build_on: job, cache: {tmp_path}/scratch, node_copy: $TMPDIR}}\n"
    found = stand.choose(configured=configured, packages=["six"])
    assert found.order is not None
    assert found.order.in_the_job
    assert found.environment.described() == "six (built in the job, made by uv), --with"
    build(stand, found)
    found = stand.choose(configured=configured, packages=["six"])
    assert found.order is not None  # the job finds it: its node may be of another kind


def test_what_launch_json_gets(stand: Stand, tmp_path: Path) -> None:
    from rps_core.config import settings

    configured = f"notebook: {{build_on: job, cache: {tmp_path}/scratch, node_copy: $TMPDIR}}\n"
    found = stand.choose(configured=configured, packages=["six"])
    assert found.order is not None
    loaded = settings.load("here", None, None, environment={})
    assert made.for_the_agent(found, loaded) == {
        "build": {"recipe": found.order.recipe.values(), "cache": f"{tmp_path}/scratch"},
        "copy_to": "$TMPDIR",
    }
