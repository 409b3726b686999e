"""Check whether a session's Jupyter accepts login links, as far as this host shows its version.

What is unknown here, such as a Jupyter that a module brings, is checked on the node.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from rps_core.config.settings import LoadedSettings
from rps_core.config.site_decisions import LINK
from rps_core.environment import distributions, prefix
from rps_core.environment.environment import Kind
from rps_core.errors import UsageError
from rps_core.launch.applications import has_server_proxy, server_of
from rps_core.launch.choice import Choice
from rps_core.launch.jupyters import OWN, Jupyters
from rps_core.sessions.applications import OF_JUPYTER

# Whose login pages rps replaces: the first version of Jupyter Server with an identity provider, and the first
# of each application that runs on Jupyter Server.
_SERVER, _APPS = ("jupyter_server", 2), {"lab": ("jupyterlab", 3), "notebook": ("notebook", 7)}
_WHOLE = {"lab": "jupyterlab>=4", "notebook": "notebook>=7"}  # what brings such a server along


def check(loaded: LoadedSettings, app: str, chosen: Choice) -> None:
    """Check that links that work once are accepted, where the settings want them.

    Raises:
        UsageError: the session's Jupyter is too old for them; with what to do.
    """
    old = too_old(loaded, app, chosen)
    if loaded.settings.notebook.link == "once" and old:
        raise UsageError(
            f"Login links that work once ({loaded.where(LINK)}) need Jupyter Server 2, and "
            f"{chosen.jupyter} has {old}",
            advice(loaded, app, chosen),
        )


def unshareable(loaded: LoadedSettings, app: str, chosen: Choice) -> str:
    """Return why a session cannot be shared though the site allows that; empty: as far as known it can."""
    old = too_old(loaded, app, chosen) if loaded.settings.limits.share is not None else ""
    if not old:
        return ""
    return f"`rps share` will not work: it needs Jupyter Server 2, and {chosen.jupyter} has {old}."


def too_old(loaded: LoadedSettings, app: str, chosen: Choice) -> str:
    """Return the part of the Jupyter that is too old for login links; empty: none, or unknown."""
    # The job may run another one, or one with other packages (PYTHONPATH).
    made = chosen.modules or chosen.image or chosen.order or loaded.settings.notebook.prologue
    program, served_by = Path(chosen.jupyter), server_of(app)
    if made or not program.is_absolute() or not program.with_name(f"jupyter-{served_by}").exists():
        return ""
    if app not in OF_JUPYTER and not has_server_proxy(chosen.jupyter):
        return ""  # served by rps's own
    for name, least in (_SERVER, _APPS[served_by]):
        version = distributions.newest(chosen.jupyter, name)
        if version is not None and version[0] < least:
            return f"{name} {'.'.join(map(str, version))}"
    return ""


def advice(loaded: LoadedSettings, app: str, chosen: Choice) -> str:
    """Return how the user gets a newer one, or another one to serve the session."""
    from rps_core.environment.tools import commands_that_add
    from rps_core.launch.survey import option

    wanted = _WHOLE[server_of(app)]
    there = prefix.of_program(chosen.jupyter)
    steps = []
    if there is not None and there.kind != Kind.PATH:
        command = " && ".join(map(shlex.join, commands_that_add(there, wanted)))
        steps.append(f"Upgrade it: {command}")
    else:
        steps.append(f"Use an environment with {wanted} (--venv)")
    own = Jupyters(loaded, server_of(app), {}).found((Kind.OWN,))
    if any(program != chosen.jupyter for _, program in own):
        taken = option(chosen.environment)  # served by another one, if it has a kernel
        kept = f"{taken} " if taken.startswith("--venv") else ""
        steps.append(f"let rps's own Jupyter serve the session: rps start {kept}--jupyter {OWN}")
    return ". Or ".join(steps)
