"""The node agent as one file: what is in it, and by which Python it is run."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

import rps_core
from rps_core.node import archive

CORE = Path(rps_core.__file__).parent


def test_importing_it_is_cheap() -> None:
    code = "import sys, rps_core.node.agent.life; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"ssl", "http.client", "asyncio", "argparse", "ctypes", "email"} & set(loaded)


def test_it_runs_under_python_3_6() -> None:
    checker = Path(sys.executable).with_name("vermin")
    sources = sorted((CORE / "node" / "agent").glob("*.py"))
    assert len(sources) > 20
    subprocess.run([checker, "-q", "--violations", "-t=3.6-", *sources], check=True)


def test_it_is_one_file_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    packed = archive.build()
    assert packed == archive.build()
    with zipfile.ZipFile(io.BytesIO(packed)) as opened:
        held = {info.filename: info for info in opened.infolist()}
        main = (CORE / "node" / "agent" / "__main__.py").read_bytes()
        assert opened.read("__main__.py") == main
    here = {path.name for path in (CORE / "node" / "agent").iterdir() if path.is_file()}
    prefix = "rps_core/node/agent/"
    assert {name[len(prefix) :] for name in held if name.startswith(prefix)} | {
        "__main__.py"
    } == here
    # A node's Python may have no zlib.
    assert {info.compress_type for info in held.values()} == {zipfile.ZIP_STORED}


def test_nothing_is_taken_from_elsewhere(tmp_path: Path) -> None:
    """The interpreter that runs it has an rps of its own, of another version by then."""
    packed = tmp_path / archive.NAME
    packed.write_bytes(archive.build())
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import rps_core.node.agent.life\n"
        "ours = [m for name, m in sys.modules.items() if name.split('.')[0] == 'rps_core']\n"
        "assert len(ours) > 15\n"
        "assert all(m.__file__.startswith(sys.argv[1]) for m in ours), ours\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code, packed], check=True)


def test_a_defect_is_told_with_its_lines(tmp_path: Path) -> None:
    """From within the archive too."""
    packed = tmp_path / archive.NAME
    packed.write_bytes(archive.build())
    code = (
        "import sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import traceback\n"
        "from rps_core.node.agent.files import read_file\n"
        "try:\n    read_file(None)\nexcept TypeError:\n    traceback.print_exc()\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, packed], check=True, capture_output=True, text=True
    )
    assert "agent.pyz/rps_core/node/agent/files.py" in done.stderr
    assert "descriptor = os.open(path" in done.stderr


def run_agent_sh(session: Path, path: str) -> subprocess.CompletedProcess[str]:
    source = CORE / "batch" / "run-agent.sh"
    shutil.copy(source, session)
    (session / archive.NAME).write_text("import sys\nprint([sys.executable, *sys.argv[1:]])\n")
    return subprocess.run(
        ["/bin/sh", str(session / "run-agent.sh"), "--app", "lab"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": path, "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere"},
    )


@pytest.fixture
def session(tmp_path: Path) -> Path:
    directory = tmp_path / "it's a $(session)"
    directory.mkdir()
    (directory / "interpreters").write_text("")
    return directory


def test_the_first_python_that_is_there_runs_the_agent(session: Path) -> None:
    old = session / "python2"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    candidates = ["/nowhere/python", str(session), str(old), "$(touch ran)", sys.executable]
    (session / "interpreters").write_text("\n".join(candidates))
    done = run_agent_sh(session, "/usr/bin:/bin")
    assert done.stdout == f"{[sys.executable, str(session), '--app', 'lab']}\n", done.stderr


@pytest.mark.parametrize(
    "head",
    [
        "#!{python}\n",
        "#! {python}\n",
        "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n",
        "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n",
    ],
)
def test_else_the_python_of_jupyter(session: Path, tmp_path: Path, head: str) -> None:
    python = tmp_path / "python3.99"
    python.symlink_to(sys.executable)
    jupyter = tmp_path / "jupyter"
    jupyter.write_text(head.format(python=python) + "import sys\n")
    jupyter.chmod(0o755)
    done = run_agent_sh(session, f"{tmp_path}:/usr/bin:/bin")
    assert done.stdout.startswith(f"['{python}'"), done.stderr


def test_else_python3(session: Path, tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    done = run_agent_sh(session, f"{tmp_path}:/usr/bin:/bin")
    assert done.stdout.startswith(f"['{tmp_path / 'python3'}'"), done.stderr


def test_else_it_says_so(session: Path, tmp_path: Path) -> None:
    for program in ("dirname", "sed", "sh"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    done = run_agent_sh(session, str(tmp_path))
    assert done.returncode == 1
    assert "no Python 3.6 or newer" in done.stderr


def test_the_batch_scripts_pass_shellcheck(need: Callable[[str], str]) -> None:
    scripts = [CORE / "batch" / "run-agent.sh"]
    scripts += (CORE / "batch" / "local").glob("*.sh")
    assert len(scripts) == 3
    subprocess.run([need("shellcheck"), *scripts], check=True)
