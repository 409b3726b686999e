"""The environment of a shell that has loaded modules, by real Environment Modules and Lmod."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.visitor import Visitor
from tests.stands.modules import init

MODULEFILES = {
    "science/2.1": "prepend-path PATH {place}/bin\nsetenv SCIENCE {place}\n",
    "helpers/1.0": "setenv HELPER loaded\n",
    "broken": "puts stderr {{the licence server does not answer}}\nexit 1\n",
}


@pytest.fixture(params=["Environment Modules", "Lmod"])
def shell(request: pytest.FixtureRequest, installed: Any, ground: Path) -> Iterator[str]:
    """Yield what a user's login shells read; a module has a Python with a kernel, as a site's do."""
    science = ground / "science"
    science.mkdir(mode=0o755)
    for name, text in MODULEFILES.items():
        modulefile = ground / "modulefiles" / name
        modulefile.parent.mkdir(parents=True, exist_ok=True)
        modulefile.write_text("#%Module\n" + text.format(place=science))
    python = str(installed.directory / ".venv/bin/python")
    shutil.chown(science, installed.user.uid, installed.user.gid)
    installed.user.run([python, "-m", "venv", "--without-pip", str(science)], check=True)
    theirs = next((installed.directory / ".venv").glob("lib/python*/site-packages"))
    packages = next(science.glob("lib/python*/site-packages"))
    (packages / "kernel.pth").write_text(f"{theirs}\n")
    profile = Path(installed.user.home) / ".bash_profile"
    # Both tools' profile.d sets BASH_ENV too, for shells that are no login shells.
    (ground / "init.sh").write_text(init(request.param))
    lines = (
        f"export BASH_ENV={ground}/init.sh",
        '. "$BASH_ENV"',
        f"module use {ground}/modulefiles",
    )
    profile.write_text("".join(f"{line}\n" for line in lines))
    yield f". {shlex.quote(str(profile))}\n"
    profile.unlink()


def typed(installed: Any, shell: str, line: str) -> Any:
    """Run a line in a shell of the user's."""
    rps = shlex.quote(str(installed.directory / "rps"))
    script = f'{shell}rps() {{ {rps} "$@"; }}\n{line}\n'
    env = {"USER": installed.user.name, "SHELL": "/bin/bash"}
    return installed.user.run(["bash", "-c", script], env=env, capture_output=True, timeout=120)


def test_loaded_modules_are_named_and_loaded_in_the_job(
    installed: Any, shell: str, start: Callable[..., Any], visit: Callable[[str], Visitor]
) -> None:
    load = "module load science helpers\n"
    shown = typed(installed, shell, f"{load}rps env --json")
    found = json.loads(shown.stdout)["environment"]
    assert (found["kind"], found["modules"]) == ("modules", ["science/2.1", "helpers/1.0"]), (
        shown.stderr
    )
    assert found["line"].startswith(
        f"the modules science/2.1, helpers/1.0 (Python {found['python']}), "
    )
    assert found["line"].endswith(", loaded in this shell (LOADEDMODULES)")
    done = typed(installed, shell, f"{load}rps start --wait --json")
    session = json.loads(done.stdout)
    code = "import os, sys; print(sys.prefix, *map(os.environ.get, ('SCIENCE', 'HELPER', 'LOADEDMODULES')))"
    place = found["prefix"] or session["environment"]["prefix"]
    ran = visit(session["url"]).run_cell(code).split()
    assert ran[1:] == [ran[0], "loaded", "science/2.1:helpers/1.0"]
    assert ran[0].endswith("/science"), place

    # Another shell, without modules: `rps again` takes the same, and the job loads them.
    installed.rps("stop", session["name"])
    dry = installed.rps("again", session["name"], "--dry-run")
    assert "the modules science/2.1, helpers/1.0" in dry.stderr


@pytest.mark.parametrize("shell", ["Lmod"], indirect=True)
def test_a_module_that_fails_ends_the_session_with_its_own_words(
    installed: Any, shell: str
) -> None:
    done = typed(installed, shell, "rps start --modules helpers,broken --wait --json")
    assert done.returncode != 0
    assert "the module broken could not be loaded" in done.stderr
    name = done.stderr.removeprefix("rps: ").split()[0]
    log = installed.rps("logs", name).stdout
    assert "the licence server does not answer" in log
    why = installed.rps("why", name, check=False)
    assert "the module broken could not be loaded" in why.stdout + why.stderr
