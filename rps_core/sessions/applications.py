"""The applications of a session that runs."""

from __future__ import annotations

import os
from typing import Any

from rps_core.errors import NotFoundError
from rps_core.node.agent.protocol import is_app_name, is_path
from rps_core.state.record import SessionRecord
from rps_core.state.session_dir import SessionFiles
from rps_core.system.programs import which
from rps_core.text import did_you_mean

# Those that Jupyter itself serves, each with the path that it opens at.
OF_JUPYTER = {"lab": "lab", "notebook": "tree"}
PREFIX = "app/"


def path_of(app: str, path: str) -> str:
    """Return where an application opens, below the session's URL.

    Args:
        app: its name.
        path: what it opens at, below its own path.
    """
    return OF_JUPYTER.get(app) or f"{PREFIX}{app}/{path}"


def path_in(record: SessionRecord, files: SessionFiles, app: str) -> str:
    """Return where an application of a session opens, below the session's URL.

    Raises:
        NotFoundError: the session has no such application, its node cannot run it, or its Jupyter cannot
            serve it.
    """
    known = files.applications()
    seen: dict[str, Any] = {}
    for event in files.events():  # a requeued job has another one
        if event.get("event") == "applications":
            seen = event
    lacking = {
        name: lacks
        for name, lacks in (seen.get("missing") or {}).items()
        if not _came_since(lacks, known.get(name, {}), seen)
    }
    names = [name for name in (*OF_JUPYTER, *known) if name not in lacking]
    if app in lacking:
        what = "Jupyter has no Python package" if app in OF_JUPYTER else "node has no program"
        install = known.get(app, {}).get("install")
        raise NotFoundError(
            f"{record.name} cannot open {app}: its {what} `{lacking[app]}`",
            f"{_installing(install)}It has: {', '.join(names)}.",
        )
    if app not in names:
        from rps_core.config.packaged_apps import PACKAGED

        usage = PACKAGED.get(app, {}).get("usage")  # such an application is in no other session
        near = f"That one needs {usage}. " if usage else did_you_mean(app, names)
        raise NotFoundError(
            f"{record.name} has no application `{app}`", f"{near}It has: {', '.join(names)}."
        )
    if app not in OF_JUPYTER and seen.get("served") is False:
        raise NotFoundError(
            f"{record.name} can serve no applications: its Jupyter has no jupyter-server-proxy",
            f"Start another session: rps start -s {app}",
        )
    path = known.get(app, {}).get("path", "")
    if not (app in OF_JUPYTER or (is_app_name(app) and is_path(path))):
        raise NotFoundError(
            f"launch.json of {record.name} is damaged",
            f"Start another session: rps again {record.name}",
        )
    return path_of(app, path)


def _installing(install: str | None) -> str:
    if install is None:
        return ""
    # Of the session's environment: another pip would install where the session does not look.
    where = "In a terminal of the session" if install.startswith("pip ") else "Install it"
    return f"{where}: {install}. "


def _came_since(program: str, row: dict[str, Any], seen: dict[str, Any]) -> bool:
    """Return whether a program that the node lacked when the session started was installed since.

    A program of this host that is older than that is not the node's: their directories are not the same ones.
    """
    found = which(program, path=os.pathsep.join([*row.get("bin", ()), str(seen.get("path") or "")]))
    return found is not None and os.lstat(found).st_ctime > float(seen.get("time", 0))
