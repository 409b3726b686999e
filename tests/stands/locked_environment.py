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
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


_UNUSED_FOR = 7 * 24 * 3600  # seconds until one of another content is removed


def locked_environment(lock: str) -> Path:
    """Return the prefix of a venv with what `locks/<lock>.txt` pins; make it where it is missing.

    Every user of the machine can run what root has installed there; else it is below the user's own
    ~/.cache, whatever home the test has. uv installs it: pip takes ten times as long. A working tree with
    another lock has another one, so that none takes away what another's tests run.
    """
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    place = home / ".cache" / "rps-tests" if os.getuid() else Path("/usr/local/lib/rps-tests")
    place.mkdir(parents=True, exist_ok=True)
    requirements = PROJECT / "locks" / f"{lock}.txt"
    content = hashlib.sha256(requirements.read_bytes()).hexdigest()
    prefix = place / f"{lock}-{content[:12]}"
    installed = prefix / "installed"
    with (place / f"{lock}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for former in place.glob(f"{lock}-*/installed"):
            if former != installed and time.time() - former.stat().st_mtime > _UNUSED_FOR:
                shutil.rmtree(former.parent)
        if not installed.exists():
            _install(prefix, requirements)
        installed.touch()
    return prefix


def _install(prefix: Path, requirements: Path) -> None:
    shutil.rmtree(prefix, ignore_errors=True)
    # Another user may not reach the Python of the tests.
    python = next(p for p in ("/usr/bin/python3", sys.executable) if Path(p).exists())
    uv = str(Path(sys.executable).with_name("uv"))
    install = [uv, "pip", "install", "--quiet", "--python", str(prefix), "--require-hashes"]
    for command in (
        [uv, "venv", "--quiet", "--python", python, str(prefix)],
        [*install, "--requirement", str(requirements)],
        ["chmod", "--recursive", "go+rX", str(prefix)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
