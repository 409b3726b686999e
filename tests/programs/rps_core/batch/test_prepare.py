"""Preparation in a batch script, with real Environment Modules and Lmod."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from rps_core.batch.render import render
from rps_core.launch import plan as planning
from rps_core.state.session_dir import SessionFiles
from tests.stands.modules import KINDS, init

PREPARE = Path(planning.__file__).parents[1] / "batch" / "prepare.sh"
MODULEFILES = {
    "reader/1.0": 'gets stdin line\nsetenv READ "<$line>"\n',
    "second/9.3": "setenv SECOND yes\n",
    "broken": "exec no-such-program\n",
    ".modulerc": "module-alias by-alias second/9.3\n",
}


def prepared(
    tmp_path: Path, kind: str, modules: list[str], prologue: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run prepare.sh with these modules.

    Its script has one line on its standard input.
    """
    for name, text in MODULEFILES.items():
        modulefile = tmp_path / "modulefiles" / name
        modulefile.parent.mkdir(parents=True, exist_ok=True)
        modulefile.write_text("#%Module\n" + text)
    session = tmp_path / "session"
    session.mkdir()
    shutil.copy(PREPARE, session)
    (session / "modules").write_text("".join(f"{name}\n" for name in modules))
    (session / "conda-env").write_text("")
    if prologue:
        (session / "prologue.sh").write_text(prologue)
    (tmp_path / "init.sh").write_text(init(kind))
    script = (
        f". {shlex.quote(str(tmp_path / 'init.sh'))}\n"
        '. "$RPS_SESSION/prepare.sh"\n'
        'echo "$READ $SECOND $LOADEDMODULES"; cat\n'
    )
    return subprocess.run(
        ["bash", "-c", script],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "USER": "someone",
            "MODULEPATH": str(tmp_path / "modulefiles"),
            "RPS_SESSION": str(session),
        },
        input="of the script\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_modulefile_that_reads_takes_nothing_from_the_list(kind: str, tmp_path: Path) -> None:
    done = prepared(tmp_path, kind, ["reader", "second"], "read -r line; echo prologue:$line\n")
    assert done.returncode == 0, done.stderr
    loaded, own = "<> yes reader/1.0:second/9.3\n", "of the script\n"
    assert done.stdout == "prologue:\n" + loaded + own


def test_the_log_begins_with_the_environment_once(tmp_path: Path) -> None:
    """Test both scripts, of which a batch script of the user's own may leave the first out."""
    session = tmp_path / "session"
    session.mkdir()
    for source in (PREPARE, PREPARE.with_name("run-agent.sh")):
        shutil.copy(source, session)
    for name in ("modules", "conda-env"):
        (session / name).touch()
    (session / "interpreters").write_text("/nowhere/python\n")
    (session / "environment").write_text("environment: \u00fcber $(id) (.venv)\n")
    (session / "prologue.sh").write_text("echo the prologue; PATH=/made:$PATH\n")
    prepare = 'set -eu; . "$RPS_SESSION/prepare.sh"\n'
    agent = 'PATH=$TOOLS exec /bin/sh "$RPS_SESSION/run-agent.sh" --app lab\n'
    line = "environment: \u00fcber $(id) (.venv)"
    path = "/usr/bin:/bin"
    tools = tmp_path / "tools"  # and no Python, so that the script ends there
    tools.mkdir()
    for name in ("cat", "dirname", "sed"):
        (tools / name).symlink_to(str(shutil.which(name)))
    for script, lines in (
        (prepare + agent, [line, "the prologue"]),
        (agent, [line]),
        (prepare + agent, ["the prologue"]),  # without a file: an older launcher's
    ):
        if lines[0] != line:
            (session / "environment").unlink()
        (session / "script-began").unlink(missing_ok=True)
        environment = {
            "PATH": path, "TOOLS": str(tools), "HOME": str(tmp_path), "RPS_SESSION": str(session),
        }  # fmt: skip
        done = subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        assert done.stdout.splitlines() == lines, done.stderr
        assert "this node has no Python" in done.stderr
    assert (session / "path-before").read_text() == f"{path}\n"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["broken", "no-such/1.0", "second/1.0"])
def test_a_module_that_is_not_loaded_ends_the_job(kind: str, name: str, tmp_path: Path) -> None:
    done = prepared(tmp_path, kind, ["second", name])
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"rps: the module {name} could not be loaded")
    if kind.endswith("3.2"):
        assert last.endswith(": it is not in LOADEDMODULES=second/9.3")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", [["by-alias"], ["second/9.3"], ["second", "second", "by-alias"]])
def test_a_module_is_known_by_each_of_its_names(
    kind: str, names: list[str], tmp_path: Path
) -> None:
    done = prepared(tmp_path, kind, names)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == " yes second/9.3"


@pytest.mark.parametrize(
    ("profile", "seen"),
    [
        ("", (True, [])),
        ("exec zsh\n", (False, [])),
        ("echo Welcome; exit 3\n", (False, ["Welcome"])),
        ("set -e; false\n", (False, [])),
    ],
    ids=["none", "exec", "exit", "set -e"],
)
def test_how_far_a_jobs_login_shell_came(
    profile: str, seen: tuple[bool, list[str]], tmp_path: Path, need: Callable[[str], str]
) -> None:
    """Test a real login shell, as in the first line of batch scripts."""
    need("zsh")
    session, home = tmp_path / "session", tmp_path / "jobs-home"
    session.mkdir()
    home.mkdir()
    (home / ".bash_profile").write_text(profile)
    shutil.copy(PREPARE, session)
    for name in ("modules", "conda-env"):
        (session / name).write_text("")
    template = PREPARE.parents[1] / "schedulers" / "slurm" / "batch" / "jupyterlab.sh"
    script = tmp_path / "batch.sh"
    script.write_text(render(template, [], session))
    script.chmod(0o755)
    with (session / "job.log").open("wb") as log:
        subprocess.run(
            [script], env={"HOME": str(home), "PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=subprocess.DEVNULL, check=False, umask=0,
        )  # fmt: skip
    files = SessionFiles(session)
    for note in session.glob("script-began"):
        assert note.stat().st_mode & 0o777 == 0o600
    assert (files.script_began(), files.last_lines()) == seen
    (session / "job.log").unlink()
    assert files.last_lines() is None


# What `conda init` writes, below the line with which Debian's ~/.bashrc ends where no one types.
BASHRC = """[[ $- == *i* ]] || return
conda() { echo "the user's conda"; }
"""


@pytest.mark.parametrize("named", ["by path", "by name"])
@pytest.mark.parametrize(
    "conda",
    [
        "",
        "conda() { [ $1 = shell.bash ]; }\n",
        # Seen with conda 26.7 and a quote in the path: base, which its hook activates, stays active.
        "conda() { export CONDA_PREFIX=/usr; }\n",
    ],
    ids=["no conda in the job", "a conda that fails", "a conda that fails and returns 0"],
)
def test_an_environment_whose_path_is_known_needs_no_conda(
    named: str, conda: str, tmp_path: Path
) -> None:
    place = tmp_path / "micromamba" / "envs" / "my science"
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "jupyter").write_text("#!/bin/sh\n")
    (place / "bin" / "jupyter").chmod(0o755)
    scripts = place / "etc" / "conda" / "activate.d"
    scripts.mkdir(parents=True)
    (scripts / "proj.sh").write_text('export PROJ_DATA="$CONDA_PREFIX/share/proj"; read -r line\n')
    home = tmp_path / "jobs-home"
    (home / ".conda").mkdir(parents=True)
    (home / ".conda" / "environments.txt").write_text(f"/gone/envs/my science\n{place}\n")
    (home / ".bashrc").write_text(BASHRC)
    (home / ".bash_profile").write_text(". ~/.bashrc\n" + conda)
    session = tmp_path / "session"
    session.mkdir()
    (session / "modules").write_text("")
    (session / "conda-env").write_text(f"{place if named == 'by path' else place.name}\n")
    done = subprocess.run(
        ["bash", "-l", "-c", f". {PREPARE}; command -v jupyter; echo $PROJ_DATA; cat"],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "RPS_SESSION": str(session)},
        input="of the script\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{place}/bin/jupyter\n{place}/share/proj\nof the script\n"


def test_an_environment_that_is_nowhere_ends_the_job(tmp_path: Path) -> None:
    session = tmp_path / "session"
    session.mkdir()
    (session / "modules").write_text("")
    (session / "conda-env").write_text("no-such\n")
    done = subprocess.run(
        ["bash", "-c", f". {PREPARE}; echo reached"], capture_output=True, text=True, check=False,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "RPS_SESSION": str(session)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "rps: there is no conda to activate no-such with\n"
