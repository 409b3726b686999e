"""The applications of a session that runs."""

from __future__ import annotations

from rps_core.errors import NotFoundError
from rps_core.node.agent.protocol import is_app_name, is_path
from rps_core.state.record import SessionRecord
from rps_core.state.session_dir import SessionFiles
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
        NotFoundError: the session has no such application, or its Jupyter cannot serve it.
    """
    known = files.applications()
    names = [*OF_JUPYTER, *known]
    if app not in names:
        from rps_core.config.packaged_apps import PACKAGED

        usage = PACKAGED.get(app, {}).get("usage")  # such an application is in no other session
        near = f"That one needs {usage}. " if usage else did_you_mean(app, names)
        raise NotFoundError(
            f"{record.name} has no application `{app}`", f"{near}It has: {', '.join(names)}."
        )
    if app not in OF_JUPYTER and any(
        event.get("event") == "applications" and event.get("served") is False
        for event in files.events()
    ):
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
