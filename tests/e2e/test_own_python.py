"""rps's own Jupyter and the launcher: what a notebook installs reaches no command, and lasts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.visitor import Visitor

Start = Callable[..., dict[str, Any]]
Visit = Callable[[str], Visitor]

CLICK = (
    "import json, shutil, sys, click\n"
    "from importlib.metadata import version\n"
    "print(json.dumps([version('click'), click.__file__, sys.prefix, shutil.which('pip')]))"
)


@pytest.fixture
def own_python(installed: Any) -> Iterator[Path]:
    """Yield the directory of the venvs of notebooks, removed with what the test installs there."""
    place = Path(installed.user.home) / ".local/share/rps/python"
    shutil.rmtree(place, ignore_errors=True)
    yield place
    shutil.rmtree(place, ignore_errors=True)


def seen_by_rps(installed: Any) -> str:
    """Return the version of click that the launcher's Python imports."""
    python = installed.directory / ".venv/bin/python"
    code = "from importlib.metadata import version; print(version('click'))"
    return str(installed.user.run([str(python), "-Ic", code], capture_output=True).stdout).strip()


def test_what_a_notebook_installs_breaks_no_command_and_lasts(
    installed: Any, start: Start, visit: Visit, own_python: Path
) -> None:
    """Test `%pip install click==7`, which in rps's own environment would break every command."""
    name = (found := start())["name"]
    launchers = seen_by_rps(installed)
    page = visit(found["url"])
    page.run_cell("%pip install --quiet click==7.0")
    version, file, prefix, pip = json.loads(page.run_cell(CLICK))
    (place,) = own_python.iterdir()
    assert (version, prefix, pip) == ("7.0", str(place), f"{place}/bin/pip")
    assert file.startswith(f"{place}/")
    specs = json.loads(page.get("/api/kernelspecs")[1])
    assert specs["default"] == "python3"
    shown = specs["kernelspecs"]["python3"]["spec"]
    assert (shown["argv"][0], shown["display_name"][-5:]) == (f"{place}/bin/python", "(rps)")
    # JupyterLab's extension manager would install into the launcher's Python.
    assert '"extensionManager": {"can_install": false' in page.get("/lab")[1]
    assert seen_by_rps(installed) == launchers != "7.0"
    for command in (
        ["--help"], ["list"], ["status", name], ["url", name], ["logs", name], ["why", name],
        ["cluster"], ["config"], ["env"], ["start", "--dry-run"], ["proxy", "ca"], ["stop", name],
    ):  # fmt: skip
        installed.rps(*command)
    with (installed.directory / "pyproject.toml").open("a") as file_of_the_clone:
        file_of_the_clone.write("# a later version\n")
    assert "updating" in installed.rps("--version").stderr
    assert json.loads(visit(start()["url"]).run_cell(CLICK)) == [version, file, prefix, pip]


def test_a_home_that_cannot_have_it_says_so_and_protects_the_launcher(
    installed: Any, start: Start, visit: Visit, own_python: Path
) -> None:
    installed.user.make(own_python).chmod(0o500)
    found = start()
    done = installed.rps("start", "--no-wait", "--json")
    assert "what notebooks install ends with this session" in done.stderr
    _, _, prefix, pip = json.loads(visit(found["url"]).run_cell(CLICK))
    session = Path(installed.user.home) / ".local/state/rps/sessions" / found["name"]
    assert (prefix, pip) == (f"{session}/python", f"{session}/python/bin/pip")
