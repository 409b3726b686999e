"""Environments of programs that only some tests run: each installed once on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CODE_SERVER = "4.139.1"  # the Node that it needs is in locks/applications.txt
_UNUSED_FOR = 7 * 24 * 3600  # seconds until one of another content is removed


def locked_environment(lock: str) -> Path:
    """Return the prefix of a venv with what `locks/<lock>.txt` pins; make it where it is missing."""
    requirements = PROJECT / "locks" / f"{lock}.txt"

    def install(prefix: Path) -> None:
        make_venv(prefix, "--require-hashes", "--requirement", str(requirements))

    return _made(lock, hashlib.sha256(requirements.read_bytes()).hexdigest()[:12], install)


def notebook_6_environment() -> Path:
    """Return the prefix of a venv with a Notebook 6; make it where it is missing."""
    # It still imports pkg_resources, which newer setuptools have left out. The Jupyter Server is for a
    # session of its own; Notebook 6 does not run on it.
    wanted = ("notebook<7", "setuptools<81", "jupyter_server==2.0.*")

    def install(prefix: Path) -> None:
        make_venv(prefix, "--compile-bytecode", *wanted, python="/usr/bin/python3.11")

    return _made("notebook-6", hashlib.sha256(repr(wanted).encode()).hexdigest()[:12], install)


def make_venv(
    prefix: Path, *install: str, python: str = "/usr/bin/python3", relocatable: bool = False
) -> None:
    """Make a venv by uv, with what the arguments of `pip install` name: pip takes ten times as long.

    Args:
        python: the interpreter, if it is there: another user may not reach that of the tests.
        relocatable: its scripts do not name the prefix, which has another path where it is used.
    """
    uv = str(Path(sys.executable).with_name("uv"))
    base = python if Path(python).exists() else sys.executable
    options = ["--quiet", "--allow-existing", *(["--relocatable"] if relocatable else [])]
    _run(uv, "venv", *options, "--python", base, str(prefix))
    _run(uv, "pip", "install", "--quiet", "--python", str(prefix), *install)


def code_server(node: Path) -> Path:
    """Return the directory of the program code-server; install it from npm where it is missing.

    Its own installation downloads a ripgrep from GitHub, for the search in files. Without it npm installs the
    same packages in the same two steps (postinstall.sh), and compiles nothing: the packages bring binaries.

    Args:
        node: the directory of Node's programs.
    """

    def install(prefix: Path) -> None:
        prefix.mkdir()
        options = "install --ignore-scripts --omit=dev --no-audit --no-fund"
        npm = [str(node / "npm"), *options.split()]
        path = f"{node}:{os.environ['PATH']}"
        _run(*npm, f"code-server@{CODE_SERVER}", cwd=prefix, path=path)
        vscode = prefix / "node_modules/code-server/lib/vscode"
        _run(*npm, cwd=vscode, path=path)
        (vscode / "node_modules.asar").symlink_to("node_modules")

    return _made("code-server", CODE_SERVER, install) / "node_modules/.bin"


def _made(name: str, content: str, install: Callable[[Path], None]) -> Path:
    """Return the prefix of a content; install it where it is missing.

    Every user of the machine can run what root has installed; else it is below the user's own ~/.cache,
    whatever home the test has. A working tree with another lock has another one, so that none takes away what
    another's tests run.
    """
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    place = home / ".cache" / "rps-tests" if os.getuid() else Path("/usr/local/lib/rps-tests")
    place.mkdir(parents=True, exist_ok=True)
    prefix = place / f"{name}-{content}"
    installed = prefix / "installed"
    with (place / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for former in place.glob(f"{name}-*/installed"):
            if former != installed and time.time() - former.stat().st_mtime > _UNUSED_FOR:
                shutil.rmtree(former.parent)
        if not installed.exists():
            shutil.rmtree(prefix, ignore_errors=True)
            install(prefix)
            _run("chmod", "--recursive", "go+rX", str(prefix))
            _keep_compiled_modules(prefix)
        installed.touch()
    return prefix


def _keep_compiled_modules(prefix: Path) -> None:
    """Let every user who imports a module leave it compiled for the next: uv compiles none."""
    for package in {module.parent for module in prefix.glob("lib/**/*.py")}:
        compiled = package / "__pycache__"
        compiled.mkdir(exist_ok=True)
        compiled.chmod(0o777)


def _run(*command: str, cwd: Path | None = None, path: str | None = None) -> None:
    environment = os.environ | ({"PATH": path} if path else {})
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
