"""Plan the application that a session opens, from the table `apps` of the configuration."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rps_core.config.apps import AppRow, rows
from rps_core.config.settings import LoadedSettings
from rps_core.environment.distributions import newest, package_places, python_of
from rps_core.errors import UsageError
from rps_core.sessions.applications import OF_JUPYTER, path_of
from rps_core.system.programs import which

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
    for key in ("packages", "usage"):
        del values[key]
    return values | {
        "command": list(row.command),
        "programs": list(row.programs),
        "title": row.title or name,
        "arguments": list(plan.arguments) if name == plan.app else [],
        "bin": list(plan.bin) if name == plan.app else [*_with_packages(row, plan.bin), *plan.bin],
        "directory": str(plan.directory),
        "host": host,
    }


def _with_packages(row: AppRow, own: tuple[str, ...]) -> list[str]:
    """Return the directory of the Python that has a row's packages, if the session's own lacks them."""
    for place in [*own, *os.get_exec_path()] if row.packages else ():
        python = Path(place, "python3")
        if all(_has_package(python, name) for name in row.packages) and python.exists():
            return [place]
    return []


def other_jupyter(jupyter: str) -> str | None:
    """Return the Jupyter installed with rps, if the session has another one."""
    ours = Path(sys.executable).with_name("jupyter")
    return str(ours) if ours.exists() and str(ours) != jupyter else None


def server_of(app: str) -> str:
    """Return the application of Jupyter that serves an application."""
    return app if app in OF_JUPYTER else "lab"


def check_arguments(loaded: LoadedSettings, app: str) -> None:
    """Check that an application got its arguments, or none if it takes none (UsageError)."""
    arguments = loaded.settings.notebook.arguments
    if app in OF_JUPYTER:
        if arguments:
            raise UsageError(
                f"{app} takes no arguments: {' '.join(arguments)}",
                "Name the application: rps start -s command -- streamlit run app.py",
            )
        return
    row = rows(loaded)[app]
    if row.usage and not arguments:
        raise UsageError(f"The application {app} needs arguments", f"Give {row.usage}")
    if arguments and _ARGUMENTS not in row.command:
        raise UsageError(
            f"The application {app} takes no arguments: {' '.join(arguments)}",
            f"Its `command` has no {_ARGUMENTS} (apps.{app}).",
        )


def programs(loaded: LoadedSettings, app: str, chosen: Choice) -> tuple[str, ...]:
    """Check that this host has what an application needs; return the directories of programs.

    Raises:
        UsageError: a program or a package is not there.
    """
    if app in OF_JUPYTER:
        return places(chosen)
    # What modules, a prologue or a container bring can be found only in the job, what is to be built later.
    if not (chosen.modules or chosen.image or chosen.order or loaded.settings.notebook.prologue):
        if not chosen.conda_env:
            return _programs(rows(loaded)[app], app, chosen, loaded.settings.notebook.arguments)
        if "/" in chosen.jupyter:  # of an environment that is on this host
            _check_served(app, chosen.jupyter)
    return places(chosen)


def places(chosen: Choice) -> tuple[str, ...]:
    """Return the directories of the environment's programs, and of its Jupyter's."""
    own = [str(chosen.prefix / "bin")] if chosen.prefix else []
    if not (chosen.conda_env or chosen.image) and "/" in chosen.jupyter:
        own.append(str(Path(chosen.jupyter).parent))
    return tuple(dict.fromkeys(own))


def _programs(row: AppRow, app: str, chosen: Choice, arguments: tuple[str, ...]) -> tuple[str, ...]:
    own = places(chosen)
    path = [*own, *os.get_exec_path()]
    command = row.command[0] if row.command[0] != _ARGUMENTS else arguments[0]
    wanted = [*row.programs, *([] if "{" in command else [command])]
    of_programs: list[str] = []
    advice = f"Install it: {row.install}" if row.install else ""
    for program in dict.fromkeys(wanted):
        found = [Path(one) for one in (which(program, path=place) for place in path) if one]
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
        of_programs.append(str(fit[0].absolute().parent))
    _check_served(app, chosen.jupyter)
    # The Python with the packages goes before the environment's; other places do not hide its programs.
    return tuple(dict.fromkeys([*(of_programs if row.packages else ()), *own, *of_programs]))


def _check_served(app: str, jupyter: str) -> None:
    """Check that the session's Jupyter, or rps's own, has jupyter-server-proxy (UsageError)."""
    if not any(map(has_server_proxy, filter(None, (jupyter, other_jupyter(jupyter))))):
        raise UsageError(
            f"Cannot start {app}: the Python of {jupyter} has no jupyter-server-proxy, version {_OLDEST} or "
            "newer, which serves applications",
            f"Install it there: {python_of(jupyter)} -m pip install jupyter-server-proxy",
        )


def has_server_proxy(jupyter: str) -> bool:
    """Return whether the Python of a Jupyter has jupyter-server-proxy; the agent asks that Python."""
    return (newest(jupyter, "jupyter_server_proxy") or (0,))[0] >= _OLDEST


def _has_package(program: Path, package: str) -> bool:
    """Return whether the prefix of a program has a Python package, by name."""
    return any(
        (place / name).exists()
        for place in package_places(program.parent.parent)
        for name in (package, f"{package}.py")
    )
