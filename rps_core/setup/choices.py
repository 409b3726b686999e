"""The user's choices: partitions, allocations, profiles and applications."""

from __future__ import annotations

from collections.abc import Callable

from rps_core.cluster import ClusterContext
from rps_core.config.packaged_apps import PACKAGED
from rps_core.errors import SchedulerError
from rps_core.log import get_logger
from rps_core.values import dataclass

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The user's choices, default partition first; empty where unknown."""

    partitions: tuple[str, ...]
    allocations: tuple[str, ...]
    profiles: tuple[str, ...]
    applications: tuple[str, ...] = ()  # beside the packaged ones


def ask(here: ClusterContext) -> Choices:
    """Query the scheduler; without partitions of its own, use those of `limits`."""
    partitions = _asked("partitions", lambda: here.site.partitions(here.shell))
    known = here.loaded.settings.limits.partitions
    return Choices(
        partitions=tuple(partitions or known),
        allocations=tuple(_asked("allocations", lambda: here.site.allocations(here.shell))),
        profiles=tuple(here.loaded.settings.profiles),
        applications=_applications(here),
    )


def configured(here: ClusterContext) -> Choices:
    """Return the configured values, defaults first, without querying the scheduler."""
    settings = here.loaded.settings
    default = [settings.job.partition] if settings.job.partition else []
    return Choices(
        partitions=tuple(dict.fromkeys([*default, *settings.limits.partitions])),
        allocations=(settings.job.account,) if settings.job.account else (),
        profiles=tuple(settings.profiles),
        applications=_applications(here),
    )


def _applications(here: ClusterContext) -> tuple[str, ...]:
    return tuple(app for app in here.loaded.settings.apps if app not in PACKAGED)


def _asked(what: str, ask_site: Callable[[], list[str]]) -> list[str]:
    try:
        return ask_site()
    except SchedulerError as error:
        log.warning(f"{what} unknown", reason=error.message)
        return []
