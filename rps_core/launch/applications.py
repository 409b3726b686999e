"""Plan the application that a session opens, from the table `apps` of the configuration."""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rps_core.config.apps import AppRow, rows
from rps_core.config.settings import LoadedSettings
from rps_core.errors import UsageError
from rps_core.sessions.applications import OF_JUPYTER, path_of

if TYPE_CHECKING:
    from rps_core.launch.choice import Choice
    from rps_core.launch.plan import Plan

_ARGUMENTS = "{arguments}"
_OLDEST = 4  # of jupyter-server-proxy, as the agent has it (node/agent/application.py)


def known(loaded: LoadedSettings) -> str:
    """Return the name of the application to start.

    Raises:
        UsageError: there is no application of this name.
    """
    app = loaded.settings.notebook.app
    names = [*OF_JUPYTER, *rows(loaded)]
    if app in names:
        return app
    from rps_core.text import did_you_mean

    raise UsageError(
        f"{loaded.where('notebook.app')}: there is no application `{app}`",
        f"{did_you_mean(app, names)}There are: {', '.join(names)}. `apps` in ~/.config/rps/config.yaml "
        "adds others (docs/applications.md).",
    )


def opens(loaded: LoadedSettings, app: str) -> str:
    """Return the path below the session's URL at which an application opens; empty: Jupyter's own."""
    return "" if app in OF_JUPYTER else path_of(app, rows(loaded)[app].path)


def for_the_agent(loaded: LoadedSettings, plan: Plan, host: str) -> dict[str, object]:
    """Return the section `apps` of launch.json: what can run in this session, by name."""
    return {
        name: _row(name, row, plan, host)
        for name, row in rows(loaded).items()
        if name == plan.app or not row.usage
    }


def _row(name: str, row: AppRow, plan: Plan, host: str) -> dict[str, object]:
    values: dict[str, Any] = asdict(row)
    for key in ("packages", "install", "usage"):
        del values[key]
    return values | {
        "command": list(row.command),
        "programs": list(row.programs),
        "title": row.title or name,
        "arguments": list(plan.arguments) if name == plan.app else [],
        "bin": list(plan.bin),
        "directory": str(plan.directory),
        "host": host,
    }


def other_jupyter(jupyter: str) -> str | None:
    """Return the Jupyter installed with rps, if the session has another one."""
    ours = Path(sys.executable).with_name("jupyter")
    return str(ours) if ours.exists() and str(ours) != jupyter else None


def check(loaded: LoadedSettings, app: str, chosen: Choice, *, dry_run: bool) -> tuple[str, ...]:
    """Check that an application can be started; return the directories of programs.

    Args:
        loaded: the configuration.
        app: its name.
        chosen: the session's environment.
        dry_run: check only what is not of this host.

    Raises:
        UsageError: it needs arguments or takes none, or what it needs is not there.
    """
    arguments = loaded.settings.notebook.arguments
    if app in OF_JUPYTER:
        if arguments:
            raise UsageError(
                f"{app} takes no arguments: {' '.join(arguments)}",
                "Name the application: rps start -s command -- streamlit run app.py",
            )
        return _places(chosen)
    row = rows(loaded)[app]
    if row.usage and not arguments:
        raise UsageError(f"The application {app} needs arguments", f"Give {row.usage}")
    if arguments and _ARGUMENTS not in row.command:
        raise UsageError(
            f"The application {app} takes no arguments: {' '.join(arguments)}",
            f"Its `command` has no {_ARGUMENTS} (apps.{app}).",
        )
    # What modules, a prologue or a container bring can be found only in the job, what is to be built later.
    made = chosen.modules or chosen.conda_env or chosen.image or loaded.settings.notebook.prologue
    if dry_run or made or chosen.order is not None:
        return _places(chosen)
    return _programs(row, app, chosen, arguments)


def _places(chosen: Choice) -> tuple[str, ...]:
    """Return the directories of the environment's programs, and of its Jupyter's."""
    own = [str(chosen.prefix / "bin")] if chosen.prefix else []
    if not (chosen.conda_env or chosen.image) and "/" in chosen.jupyter:
        own.append(str(Path(chosen.jupyter).parent))
    return tuple(dict.fromkeys(own))


def _programs(row: AppRow, app: str, chosen: Choice, arguments: tuple[str, ...]) -> tuple[str, ...]:
    jupyter, own = chosen.jupyter, _places(chosen)
    path = [*own, *os.get_exec_path()]
    command = row.command[0] if row.command[0] != _ARGUMENTS else arguments[0]
    wanted = [*row.programs, *([] if "{" in command else [command])]
    places: list[str] = []
    advice = f"Install it: {row.install}" if row.install else ""
    for program in dict.fromkeys(wanted):
        found = [Path(one) for one in (shutil.which(program, path=place) for place in path) if one]
        if not found:
            raise UsageError(
                f"Cannot start {app}: there is no program `{program}`, neither in {own[0]} nor on the "
                "PATH",
                advice,
            )
        # Of several Pythons the first that has the packages.
        fit = [one for one in found if all(_has_package(one, name) for name in row.packages)]
        if not fit:
            raise UsageError(
                f"Cannot start {app}: {found[0]} has no Python package {' and '.join(row.packages)}",
                advice,
            )
        places.append(str(fit[0].absolute().parent))
    if not any(map(_has_server_proxy, filter(None, (jupyter, other_jupyter(jupyter))))):
        raise UsageError(
            f"Cannot start {app}: the Python of {jupyter} has no jupyter-server-proxy, version {_OLDEST} or "
            "newer, which serves applications",
            f"Install it there: {_python(jupyter)} -m pip install jupyter-server-proxy",
        )
    # The Python with the packages goes before the environment's; other places do not hide its programs.
    return tuple(dict.fromkeys([*(places if row.packages else ()), *own, *places]))


def _python(program: str) -> str:
    """Return the interpreter of a script; its own path for another program."""
    from rps_core.node.agent.files import interpreters

    return (interpreters(program) or [program])[-1]


def _has_package(program: Path, package: str) -> bool:
    """Return whether the prefix of a program has a Python package, by name."""
    return any(
        (place / name).exists()
        for place in _packages(program.parent.parent)
        for name in (package, f"{package}.py")
    )


def _has_server_proxy(jupyter: str) -> bool:
    """Return whether the Python of a Jupyter has jupyter-server-proxy.

    No program is run, so that this finds it where pip and conda install packages; the agent asks that Python.
    """
    found = [
        re.match(r"(?i)jupyter[_-]server[_-]proxy-(\d+)\.", entry.name)
        for place in _packages(Path(_python(jupyter)).parent.parent)
        for entry in (place.iterdir() if place.is_dir() else ())
    ]
    return any(match and int(match[1]) >= _OLDEST for match in found)


def _packages(prefix: Path) -> list[Path]:
    """Return the directories with the packages of a prefix's Python, the user's own included."""
    bases = [prefix / "lib", Path("~/.local/lib").expanduser()]
    found = [place for base in bases for place in base.glob("python3*/site-packages")]
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [*found, prefix / "lib/python3/dist-packages", *(Path(one) for one in others if one)]
