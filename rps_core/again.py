"""Starting a session anew: the settings that a session's record keeps, and how they are taken again.

What the job and the notebook were is kept in full, wherever it came from, and of the rest what the command
said; so a session is the same after its user's configuration changed, while the service and the limits are
today's. No secret is among the settings.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rps_core import config, profiles
from rps_core.cluster import Here
from rps_core.errors import NotFoundError, UsageError
from rps_core.log import get_logger
from rps_core.planning import Plan, packaged_template
from rps_core.record import Record
from rps_core.settings import EARLIER, OPTIONS, Given, Loaded, Settings
from rps_core.store import Store, latest

log = get_logger(__name__)

_SECTIONS = ("job.", "notebook.")
_ABOUT_THE_SITE = "notebook.install_hint"
_PATHS = ("notebook.prologue", "notebook.template", "notebook.image")
_PATHS_WITH_A_SLASH = ("notebook.conda_env", "notebook.jupyter")


def settings_to_keep(loaded: Loaded, plan: Plan) -> dict[str, object]:
    """The settings of a session that is about to start, by dotted key; paths from the root."""
    values = asdict(loaded.settings)
    found: dict[str, object] = {}
    for key in config.keys(Settings):
        origin = loaded.origins.get(key)
        said = origin is not None and origin.layer in (OPTIONS, EARLIER)
        said = said or (origin is not None and profiles.made(origin.layer))
        if (key.startswith(_SECTIONS) or said) and key not in (_ABOUT_THE_SITE, "profiles"):
            found[key] = _from_the_root(key, config.value(values, key))
    found["notebook.directory"] = str(plan.directory)
    return found


def as_before(found: tuple[Here, Store], name: str | None, given: Given) -> tuple[Here, Store]:
    """The cluster with the settings of a session, below what was given now. Without a name: of the last one
    here. Keys that this version does not know are told, and left out.

    Raises:
        NotFoundError, UsageError: there is no such session, it was on another cluster, or it has no settings.
    """
    here, store = found
    cluster = here.site.cluster.name
    record = _last(store.records(), cluster) if name is None else store.find(name)
    if record.cluster != cluster:
        raise UsageError(
            f"{record.name} was a session on {record.cluster}, and this is {cluster}",
            f"Start it there; or say --cluster {record.cluster} if this host can submit to it.",
        )
    taken, unknown = recorded(record)
    for key in unknown:
        log.warning(
            "setting left out: this version does not know it", setting=key, session=record.name
        )
    given = replace(given, earlier=taken, session=record.name)
    return here.given(given), store


def recorded(record: Record) -> tuple[dict[str, object], list[str]]:
    """The settings that a record keeps, and those of its keys that this version does not know.

    Raises:
        UsageError: it keeps none.
    """
    if not record.settings:
        raise UsageError(
            f"{record.name} was started by an rps that did not keep a session's settings",
            "Start it once more with its options; from then on they are kept.",
        )
    known = set(config.keys(Settings))
    taken = {key: value for key, value in record.settings.items() if key in known}
    return taken, sorted(set(record.settings) - known)


def _last(records: Iterable[Record], cluster: str) -> Record:
    """The last session on this cluster whose job the scheduler took."""
    found = latest(records).get(cluster)
    if found is None:
        raise NotFoundError(
            f"No session that you started on {cluster} is remembered",
            "Start one with its options; the next time they need not be given.",
        )
    return found


def _from_the_root(key: str, value: Any) -> object:
    """A path as it is the same from any directory; the next start may be in another."""
    if not isinstance(value, str) or not value or "://" in value:
        return value
    if key == "notebook.template" and packaged_template(value):
        return value
    if key in _PATHS or (key in _PATHS_WITH_A_SLASH and "/" in value):
        return str(Path(value).expanduser().absolute())
    return value
