"""The environment that is made to order for a session: found in the cache, or built."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rps_core.config.settings import LoadedSettings
from rps_core.environment import prefix
from rps_core.environment.environment import Environment, Kind
from rps_core.environment.made import order as orders
from rps_core.environment.made import place
from rps_core.environment.prefix import Prefix
from rps_core.errors import UsageError
from rps_core.launch.choice import Choice, Order
from rps_core.node.builder.cache import Cache
from rps_core.state.store import Store
from rps_core.system.signals import DeferredSignals
from rps_core.units import parse_memory

_MIB = 1 << 20


def order(loaded: LoadedSettings, keys: Sequence[str], where: str) -> Order:
    """Return the order of an environment.

    Args:
        loaded: the settings.
        keys: those of `env` and `packages` that count.
        where: who names them, for an error.

    Raises:
        UsageError: it cannot be built, as can be seen now.
    """
    notebook = loaded.settings.notebook
    in_the_job = notebook.build_on == "job"
    recipe = orders.recipe(
        notebook.env if "env" in keys else None,
        notebook.packages if "packages" in keys else (),
        where=where,
        on_the_node=in_the_job and bool(notebook.modules or notebook.prologue),
    )
    return Order(recipe=recipe, cache=cache_of(loaded).root, in_the_job=in_the_job)


def cache_of(loaded: LoadedSettings) -> Cache:
    """Return the cache of environments (UsageError: its directory cannot be used)."""
    return place.cache(loaded.settings.notebook.cache, loaded.where("notebook.cache"))


def found(wanted: Order) -> Prefix | None:
    """Return the environment, if it was built and is whole; note that it is used."""
    cache = Cache(wanted.cache)
    entry = cache.published(wanted.recipe.name)
    if entry is None:
        return None
    try:
        there = prefix.read(Path(entry["prefix"]), wanted.recipe.label)
    except UsageError:  # half deleted
        return None
    cache.use(wanted.recipe.name)
    return replace(there, name=wanted.recipe.label, made_by=wanted.recipe.family)


def described(wanted: Order, there: Prefix | None, where: str) -> Environment:
    """Return the environment, as it is recorded and shown; `there` is None until it is built."""
    when = "built in the job" if wanted.in_the_job else "to be built"
    return Environment(
        kind=Kind.MADE,
        name=wanted.recipe.label,
        chosen_by=where,
        prefix=None if there is None else there.path,
        python_version=None if there is None else there.python_version,
        made_by=wanted.recipe.family,
        place=when if there is None else "",
    )


def build(
    wanted: Order,
    loaded: LoadedSettings,
    store: Store,
    say: Callable[[str], None],
    *,
    again: bool = False,
) -> tuple[dict[str, Any], list[place.Pruned]]:
    """Build an environment on this host, and prune the cache.

    Args:
        wanted: what to build.
        loaded: the settings.
        store: the sessions; the environments of those that have not ended stay.
        say: is called with each line of progress.
        again: build it also where there is one.

    Returns:
        The environment, as `listed` returns it, and what was pruned.

    Raises:
        EnvironmentBuildError: it cannot be built.
        KeyboardInterrupt: Ctrl-C; nothing of it is left.
    """
    from rps_core.environment.made import here

    cache = Cache(wanted.cache)
    broken = cache.published(wanted.recipe.name) is not None and found(wanted) is None
    with DeferredSignals() as held:
        entry = here.built(wanted.recipe, cache, held, say, again=again or broken)
    running = in_use(store)
    notebook = loaded.settings.notebook
    most = parse_memory(notebook.cache_size) * _MIB if notebook.cache_size else None
    gone = place.prune(cache, days=notebook.cache_days, most=most, in_use=running)
    return _with_use(cache, entry, running), gone


def listed(cache: Cache, store: Store) -> list[dict[str, Any]]:
    """Return the environments of the cache, the last used first.

    Beside the entry's own fields: `used` (Unix seconds), `in_use` (by a session), `usable`.
    """
    running = in_use(store)
    entries = [entry for name in cache.names() if (entry := cache.entry(name)) is not None]
    found = [_with_use(cache, entry, running) for entry in entries]
    return sorted(found, key=lambda entry: float(entry["used"]), reverse=True)


def _with_use(cache: Cache, entry: dict[str, Any], running: Collection[str]) -> dict[str, Any]:
    return entry | {
        "used": cache.used(entry["name"]),
        "in_use": place.is_in_use(entry["tree"], running),
        "usable": cache.published(entry["name"]) is not None,
    }


def check_resolvable(wanted: Order) -> None:
    """Check before a job is submitted that it can build an environment, as far as this host can see.

    Raises:
        EnvironmentBuildError: it cannot.
    """
    if Cache(wanted.cache).published(wanted.recipe.name) is None:
        from rps_core.environment.made import here

        here.check_resolvable(wanted.recipe)


def in_use(store: Store) -> set[str]:
    """Return the prefixes of sessions that have not ended."""
    found: set[str] = set()
    for record in store.records():
        if record.ended is None:
            found.add(str(record.environment.get("prefix") or ""))
            events = store.files(record.name).events()
            found |= {str(one.get("prefix")) for one in events if one.get("event") == "built"}
    return found - {""}


def for_the_agent(choice: Choice, loaded: LoadedSettings) -> dict[str, object]:
    """Return the entries of launch.json that build and copy the environment (docs/sessions.md)."""
    entries: dict[str, object] = {}
    if choice.order is not None:
        entries["build"] = {"recipe": choice.order.recipe.values(), "cache": choice.order.cache}
    to = loaded.settings.notebook.node_copy
    if to and choice.environment.kind == Kind.MADE:
        entries["copy_to"] = os.path.expanduser(to)  # noqa: PTH111 - variables are the node's
    return entries
