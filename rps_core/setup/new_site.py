"""`rps site new NAME`: write a site file, or a project with a site, and for `own` a scheduler."""

from __future__ import annotations

import re
import shutil
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from rps_core.config import site_file
from rps_core.errors import UsageError
from rps_core.hooks.entry_points import entry_points
from rps_core.hooks.manager import GROUP
from rps_core.plugin import INTERFACE
from rps_core.system.files import replace_file, write_new

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

OWN = "own"  # a scheduler that rps does not bring: the project has its plugin
_COMMANDS = {"slurm": "sbatch", "torque": "qsub", "pbs": "qsub"}
SCHEDULERS = (*_COMMANDS, OWN)
_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "plugin.py": "{package}/__init__.py",
    "site.yaml": "{package}/site.yaml",
    "tests/test_site.py": "tests/test_site.py",
}
_FILES_OF_A_SCHEDULER = {
    "README.own.md": "README.md",
    "scheduler.py": "{package}/scheduler.py",
    "scheduler.yaml": "{package}/scheduler.yaml",
    "batch/notebook.sh": "{package}/batch/notebook.sh",
    "batch/jupyterlab.sh": "{package}/batch/jupyterlab.sh",
    "tests/test_scheduler.py": "tests/test_scheduler.py",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_LONGEST_NAME = 40


def new_site(name: str, scheduler: str, parent: Path) -> Path:
    """Write the project into a new directory.

    Args:
        name: the name of the cluster and of its site.
        scheduler: one of `SCHEDULERS`.
        parent: the directory to make it in.

    Returns:
        The new directory.

    Raises:
        UsageError: an invalid name, one of an installed site, or the directory exists.
        OSError: it cannot be written.
    """
    installed = _checked_name(name)
    own = scheduler == OWN
    if own and f"scheduler.{name}" in installed:
        raise UsageError(f"The scheduler `{name}` is installed already", "Choose another name.")
    package = f"rps_{name.replace('-', '_')}"
    project = parent / f"rps-site-{name}"
    try:
        project.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(f"{project} exists", "Remove it or choose another name.") from None
    word = name.replace("-", "")
    values = {
        "name": name,
        "package": package,
        "scheduler": name if own else scheduler,
        "entry_points": f'\n"scheduler.{name}" = "{package}.scheduler"' if own else "",
        "word": word,
        "variable": word.upper(),
        "command": f"{word}sub" if own else _COMMANDS[scheduler],
        "interface": repr(INTERFACE),
    }
    try:
        for template, place in (_FILES | (_FILES_OF_A_SCHEDULER if own else {})).items():
            path = project / place.format(package=package)
            path.parent.mkdir(exist_ok=True)
            replace_file(
                path, _template(template).substitute(values).encode(), 0o666, durable=False
            )
    except BaseException:
        shutil.rmtree(project, ignore_errors=True)
        raise
    return project


def new_site_file(name: str, scheduler: str, parent: Path) -> Path:
    """Write a site file, NAME.yaml, into a directory.

    Raises:
        UsageError: an invalid or reserved name, one of an installed site, the scheduler is `own`, or the file
            exists.
        OSError: it cannot be written.
    """
    _checked_name(name)
    if scheduler == OWN:
        raise UsageError(
            "A site file describes no scheduler",
            "Leave --yaml out: the project has a plugin for it.",
        )
    path = parent / f"{name}.yaml"
    site_file.check_name(path)
    values = {"name": name, "scheduler": scheduler, "command": _COMMANDS[scheduler]}
    try:
        text = _template("site_file.yaml").substitute(values)
        write_new(path, text.encode(), 0o666, durable=False)
    except FileExistsError:
        raise UsageError(f"{path} exists", "Remove it or choose another name.") from None
    return path


def _checked_name(name: str) -> set[str]:
    """Return the names of the installed plugins.

    Raises:
        UsageError: the name is not valid, or one of them.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise UsageError(
            f"`{name}` is not a valid name for a site",
            f"Use lower-case letters, digits and hyphens, at most {_LONGEST_NAME}.",
        )
    installed = {point.name for point in entry_points(GROUP)}
    if name in installed:
        raise UsageError(f"The site `{name}` is installed already", "Choose another name.")
    return installed


def _template(name: str) -> Template:
    file: Traversable = files("rps_core.setup") / "site_project" / f"{name}.txt"
    return Template(file.read_text("utf-8"))
