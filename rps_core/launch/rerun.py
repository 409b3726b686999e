"""`rps again`, `rps start --last`: reuse the recorded settings of a session.

A record keeps all settings of the job and the notebook, and of the others those given on the command line.
A session therefore stays the same after a change of the configuration, with the current service and limits.
The settings contain no secret.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rps_core.cluster import ClusterContext
from rps_core.config import layers as config
from rps_core.config import profiles
from rps_core.config.schema import keys, keys_of
from rps_core.config.settings import EARLIER, OPTIONS, Overrides, Settings
from rps_core.errors import NotFoundError, UsageError
from rps_core.hooks.site import Site
from rps_core.launch.plan import Plan, packaged_template
from rps_core.log import get_logger
from rps_core.state.record import SessionRecord
from rps_core.state.store import Store, latest

log = get_logger(__name__)

_SECTIONS = ("job.", "notebook.")
_ABOUT_THE_SITE = "notebook.install_hint"
_PATHS = (
    "notebook.prologue",
    "notebook.template",
    "notebook.image",
    "notebook.venv",
    "notebook.env",
)
_PATHS_WITH_A_SLASH = ("notebook.conda_env", "notebook.jupyter")


def settings_to_keep(here: ClusterContext, plan: Plan) -> dict[str, object]:
    """Return a new session's settings by dotted key, with absolute paths."""
    loaded = here.loaded
    values = asdict(loaded.settings)
    found: dict[str, object] = {}
    for key in keys_of(loaded.settings):
        origin = loaded.origins.get(key)
        said = origin is not None and origin.layer in (OPTIONS, EARLIER)
        said = said or (origin is not None and profiles.made(origin.layer))
        if (key.startswith(_SECTIONS) or said) and key not in (_ABOUT_THE_SITE, "profiles"):
            found[key] = _from_the_root(key, config.value(values, key), here.site)
    found["notebook.directory"] = str(plan.directory)
    found |= plan.environment.to_keep()
    return found


def as_before(
    here: ClusterContext, store: Store, name: str | None, given: Overrides
) -> ClusterContext:
    """Return the cluster's context with an earlier session's settings below `given`.

    Settings that this version does not know are logged and left out.

    Raises:
        NotFoundError: there is no such session.
        UsageError: it was on another cluster, or its record has no settings.
    """
    cluster = here.site.cluster.name
    record = _earlier(here, store, name)
    if record.cluster != cluster:
        raise UsageError(
            f"{record.name} was a session on {record.cluster}, but this is {cluster}",
            f"Start it there, or use --cluster {record.cluster} if this host can submit to it.",
        )
    taken, unknown = recorded(record)
    for key in unknown:
        log.warning("setting ignored: unknown in this version", setting=key, session=record.name)
    given = replace(given, earlier=taken, session=record.name)
    return here.given(given)


def label(here: ClusterContext, store: Store, name: str | None) -> str | None:
    """Return an earlier session's label for the next one; None: it has none, or a living session has it.

    Raises:
        NotFoundError: there is no such session.
    """
    from rps_core.state.label import check_new

    found = _earlier(here, store, name).label
    if found is None:
        return None
    try:
        check_new(found, store.records())
    except UsageError:
        return None
    return found


def _earlier(here: ClusterContext, store: Store, name: str | None) -> SessionRecord:
    from rps_core.state import lookup

    if name is None:
        return _last(store.records(), here.site.cluster.name)
    return lookup.find(store, name)


def recorded(record: SessionRecord) -> tuple[dict[str, object], list[str]]:
    """Return a record's settings, and the keys that this version does not know.

    Raises:
        UsageError: the record has no settings.
    """
    if not record.settings:
        raise UsageError(
            f"{record.name} was started by a version of rps that did not record settings",
            "Start a session with its options; rps records them from now on.",
        )
    known = set(keys(Settings))
    taken = {key: value for key, value in record.settings.items() if key in known}
    return taken, sorted(set(record.settings) - known)


def _last(records: Iterable[SessionRecord], cluster: str) -> SessionRecord:
    """Return the last session on this cluster whose job was submitted."""
    found = latest(records).get(cluster)
    if found is None:
        raise NotFoundError(
            f"No earlier session on {cluster} is recorded",
            "Start one with `rps start`; rps records its settings.",
        )
    return found


def _from_the_root(key: str, value: Any, site: Site) -> object:
    """Return a path as an absolute one: the next start may be in another directory."""
    if not isinstance(value, str) or not value or "://" in value:
        return value
    if key == "notebook.template" and packaged_template(value, site):
        return value
    if key in _PATHS or (key in _PATHS_WITH_A_SLASH and "/" in value):
        return str(Path(value).expanduser().absolute())
    return value
