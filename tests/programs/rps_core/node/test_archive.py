"""The node agent's archive: the Python that runs it, and what it imports."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import rps_core
from rps_core.node import archive
from rps_core.node.agent.run_directory import FOR_JUPYTER

CORE = Path(rps_core.__file__).parent


def test_importing_it_is_cheap() -> None:
    code = "import sys, rps_core.node.agent.life; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not {"ssl", "http.client", "asyncio", "argparse", "ctypes", "email"} & set(loaded)


def test_it_runs_under_python_3_6() -> None:
    checker = Path(sys.executable).with_name("vermin")
    sources = sorted(
        path for package in ("agent", "builder") for path in (CORE / "node" / package).glob("*.py")
    )
    assert len(sources) > 20
    subprocess.run([checker, "-q", "--violations", "-t=3.6-", *sources], check=True)


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


def test_a_defect_is_reported_with_its_lines(tmp_path: Path) -> None:
    """Test a traceback from within the archive."""
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


def test_a_python_without_what_the_agent_imports_is_passed_over(
    session: Path, tmp_path: Path
) -> None:
    """A real one whose ssl cannot be imported, as after an upgrade of OpenSSL."""
    broken = tmp_path / "broken"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", broken], check=True)
    (site,) = broken.glob("lib/python3*/site-packages")
    (site / "broken.pth").write_text("import sys; sys.modules['ssl'] = None\n")
    python = str(broken / "bin" / "python")
    (session / "interpreters").write_text(f"{python}\n{sys.executable}\n")
    done = run_agent_sh(session, "/usr/bin:/bin")
    assert done.stdout.startswith(f"['{sys.executable}'"), done.stderr
    (session / "interpreters").write_text(f"{python}\n")
    for program in ("dirname", "sed", "sh"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    done = run_agent_sh(session, str(tmp_path))
    assert done.returncode == 1
    assert "rps: this node has no Python" in done.stderr
    assert f"\n    {python}: ModuleNotFoundError: import of ssl halted" in done.stderr


def test_a_python_that_reads_takes_none_off_the_list(session: Path) -> None:
    reader = session / "reader"
    reader.write_text("#!/bin/sh\nread -r line\nexit 1\n")
    reader.chmod(0o755)
    (session / "interpreters").write_text(f"{reader}\n{sys.executable}\n")
    assert run_agent_sh(session, "/nowhere:/usr/bin:/bin").stdout.startswith(f"['{sys.executable}'")


def test_every_module_that_the_agent_imports_is_tried() -> None:
    """Test modules that a Python can lack; without ctypes the agent works.

    The rest runs inside Jupyter.
    """
    imported = set()
    for source in (CORE / "node" / "agent").glob("*.py"):
        if source.name in FOR_JUPYTER:
            continue
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
    tried = re.findall(r"^import (.+?)'?$", (CORE / "batch" / "run-agent.sh").read_text(), re.M)
    pure = {"errno", "functools", "io", "itertools", "os", "pkgutil", "re", "shutil", "signal", "stat",
            "sys", "time", "traceback"}  # fmt: skip
    assert imported - pure - {"ctypes"} <= set(", ".join(tried).split(", "))


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
    scripts = [*(CORE / "batch").glob("*.sh"), *CORE.glob("schedulers/*/batch/*.sh")]
    assert len(scripts) == 8
    subprocess.run([need("shellcheck"), *scripts], check=True)
