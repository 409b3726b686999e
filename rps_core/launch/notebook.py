"""Plan the notebook: its directory, container, prologue and idle timeout.

Each function raises UsageError for an invalid setting, with the key's file and line.
"""

from __future__ import annotations

import os
from pathlib import Path

from rps_core.config.settings import EARLIER, OPTIONS, LoadedSettings
from rps_core.errors import UsageError
from rps_core.log import get_logger
from rps_core.system import paths
from rps_core.units import format_walltime, parse_walltime

_COMMANDS = (
    OPTIONS,
    EARLIER,
)  # layers that say what this session, or the one before, was started with

log = get_logger(__name__)


def idle_timeout(loaded: LoadedSettings) -> int | None:
    """Return `notebook.idle_timeout` in seconds, checked against the site's limit."""
    text, most = loaded.settings.notebook.idle_timeout, loaded.settings.limits.idle_timeout
    key = "notebook.idle_timeout"
    wanted = parse_walltime(text) if text else None
    if most is not None:
        allowed = parse_walltime(most)
        if wanted is None or wanted > allowed:
            asked = "no idle timeout" if wanted is None else format_walltime(wanted)
            raise UsageError(
                f"{loaded.where(key)}: {asked} requested, but this cluster requires an idle timeout "
                f"of at most {format_walltime(allowed)}",
                f"Use --idle {most}.",
            )
    return None if wanted is None else int(wanted.total_seconds())


def directory(loaded: LoadedSettings) -> Path:
    """Return the notebook's top directory, which must exist and be readable.

    It may be read-only: `/`, to reach every file system, or the material of a course.
    """
    text = loaded.settings.notebook.directory
    where = loaded.where("notebook.directory")
    origin = loaded.origins.get("notebook.directory")
    if loaded.settings.notebook.arguments and (origin is None or origin.layer not in _COMMANDS):
        text, where = ".", "The working directory"  # in which the shell has completed the arguments
    try:
        found = (Path(text).expanduser() if text else paths.home()).absolute()
        str(found).encode()
    except UnicodeError:
        raise UsageError(
            f"{where}: {text!a} is not UTF-8, which Jupyter requires",
            "Use another directory with -d.",
        ) from None
    except (RuntimeError, OSError) as error:  # ~no-such-user; the working directory was removed
        raise UsageError(f"{where}: {text}: {error}", "Use an absolute path.") from None
    if not found.is_dir():
        raise UsageError(
            f"{where}: directory not found: {found}", "Create it, or use another with -d."
        )
    if not os.access(found, os.R_OK | os.X_OK):
        raise UsageError(
            f"{where}: no permission to read {found}", "Use another directory with -d."
        )
    if not os.access(found, os.W_OK):
        log.warning("notebook directory is read-only", directory=str(found), why="save elsewhere")
    return found


def container(loaded: LoadedSettings, image: str | None) -> tuple[str, ...]:
    """Return the options and the image for `apptainer exec`.

    Args:
        loaded: the settings.
        image: the one that was chosen; an option may override a configured one (`launch.environment`).
    """
    notebook = loaded.settings.notebook
    if not image:
        for key, given in (("notebook.bind", notebook.bind), ("notebook.nv", notebook.nv)):
            # What is configured for a configured image has no effect where that has none.
            if not given or (notebook.image and not loaded.is_option(key)):
                continue
            raise UsageError(
                f"{loaded.where(key)}: `{key}` requires a container image",
                f"Give the image too: --image FILE. Or {loaded.removal(key)}.",
            )
        return ()
    if "://" not in image:  # apptainer itself fetches docker://… and the like
        path = Path(image).expanduser().absolute()
        if not path.exists():
            raise UsageError(
                f"{loaded.where('notebook.image')}: container image not found: {path}",
                "Use the path of an image, or a URL such as docker://….",
            )
        image = str(path)
    options = ["--nv"] if notebook.nv else []
    for place in notebook.bind:
        options += ["--bind", place]
    return (*options, image)


def prologue(loaded: LoadedSettings) -> str | None:
    """Return the text of the prologue; None: there is none."""
    text = loaded.settings.notebook.prologue
    if not text:
        return None
    path = Path(text).expanduser()
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
        raise UsageError(
            f"{loaded.where('notebook.prologue')}: cannot read the prologue {path}: {reason}",
            "Use a shell file that you can read.",
        ) from None
