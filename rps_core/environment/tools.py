"""Add a package to an environment, with the tool that made it."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from collections import deque
from pathlib import Path

from rps_core.environment import pixi
from rps_core.environment.environment import Kind
from rps_core.environment.prefix import Prefix
from rps_core.errors import SchedulerError, UsageError
from rps_core.system import shell
from rps_core.text import plain

_LAST_LINES = 12  # of a tool that failed
_CONDAS = ("conda", "mamba", "micromamba")


def commands_that_add(prefix: Prefix, package: str) -> list[list[str]]:
    """Return the commands that add a package to an environment: one, or two of pixi."""
    if prefix.kind == Kind.PIXI and (workspace := pixi.workspace(prefix.path)) is not None:
        return workspace.adds(package)
    return [_command(prefix, package)]


def _command(prefix: Prefix, package: str) -> list[str]:
    if prefix.kind == Kind.CONDA:
        conda = next((name for name in _CONDAS if shutil.which(name)), "")
        conda = conda or os.environ.get("CONDA_EXE") or os.environ.get("MAMBA_EXE") or "conda"
        there = ["--prefix", str(prefix.path)]
        return [conda, "install", "--yes", *there, "-c", "conda-forge", package]
    python = str(prefix.python or prefix.path / "bin" / "python")
    project_of_uv = prefix.path.name == ".venv" and (prefix.path.parent / "uv.lock").is_file()
    if prefix.made_by == "uv" and project_of_uv and shutil.which("uv"):
        return ["uv", "add", "--project", str(prefix.path.parent), "--dev", package]
    if prefix.made_by != "uv" and prefix.has_module("pip"):
        return [python, "-m", "pip", "install", package]
    if shutil.which("uv") or importlib.util.find_spec("pip") is None:
        return ["uv", "pip", "install", "--python", python, package]
    return [sys.executable, "-m", "pip", "--python", python, "install", package]  # from pip 22.3 on


def add(prefix: Prefix, package: str) -> None:
    """Add a package; the tool's output goes to stderr as it comes.

    Raises:
        UsageError: the tool is not there, or fails; with its last lines.
    """
    for command in commands_that_add(prefix, package):
        _run(command, prefix, package)


def _run(command: list[str], prefix: Prefix, package: str) -> None:
    from rps_core.node.builder.tools import OF_ANOTHER

    shown = shlex.join(command)
    sys.stderr.write(f"{shown}\n")
    last: deque[str] = deque(maxlen=_LAST_LINES)
    # Another environment that is active would be taken by uv, pip, conda and pixi for theirs.
    environment = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER}
    environment |= {"VIRTUAL_ENV": str(prefix.path)} if prefix.kind == Kind.VENV else {}

    def show(line: str) -> None:
        text = plain(line.rstrip())
        sys.stderr.write(f"{text}\n")
        if text.strip():
            last.append(text)

    try:
        code = shell.stream(*command, environment=environment, each_line=show)
    except SchedulerError as error:
        raise UsageError(
            f"{package} was not added to {prefix.path}: {error.message}",
            f"Add it yourself, where the tool is: {shown}",
        ) from None
    if code:
        lines = "".join(f"\n    {line}" for line in last)
        raise UsageError(
            f"{package} was not added to {prefix.path}: `{Path(command[0]).name}` ended with exit code "
            f"{code}:{lines}",
            f"Correct that, or add it yourself: {shown}",
        )
