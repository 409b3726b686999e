"""Environments of programs that only some tests run: each installed once on this machine."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def locked_environment(lock: str) -> Path:
    """Return the prefix of a venv with what `locks/<lock>.txt` pins; make it where it is missing.

    Every user of the machine can run what root has installed there; else it is below the user's own
    ~/.cache, whatever home the test has. uv installs it: pip takes ten times as long.
    """
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    place = home / ".cache" / "rps-tests" if os.getuid() else Path("/usr/local/lib/rps-tests")
    place.mkdir(parents=True, exist_ok=True)
    prefix, requirements = place / lock, PROJECT / "locks" / f"{lock}.txt"
    installed = prefix / "installed.txt"
    with (place / f"{lock}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if installed.exists() and installed.read_bytes() == requirements.read_bytes():
            return prefix
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
        shutil.copyfile(requirements, installed)
    return prefix
