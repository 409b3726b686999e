"""What one may choose from: the scheduler's partitions and allocations, the configuration's profiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rps_core.cluster import Here
from rps_core.errors import SchedulerError
from rps_core.log import get_logger
from rps_core.shell import Shell

log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Each may be empty: nobody knows, or the scheduler did not answer. The default partition is first."""

    partitions: tuple[str, ...]
    allocations: tuple[str, ...]
    profiles: tuple[str, ...]


def ask(here: Here, shell: Shell) -> Choices:
    """Ask the scheduler; where it names no partition, the configuration may (`limits`)."""
    partitions = _asked("partitions", lambda: here.site.partitions(shell))
    known = here.loaded.settings.limits.partitions
    return Choices(
        partitions=tuple(partitions or known),
        allocations=tuple(_asked("allocations", lambda: here.site.allocations(shell))),
        profiles=tuple(here.loaded.settings.profiles),
    )


def configured(here: Here) -> Choices:
    """What the configuration names, its defaults first, without a question."""
    settings = here.loaded.settings
    default = [settings.job.partition] if settings.job.partition else []
    return Choices(
        partitions=tuple(dict.fromkeys([*default, *settings.limits.partitions])),
        allocations=(settings.job.account,) if settings.job.account else (),
        profiles=tuple(settings.profiles),
    )


def _asked(what: str, ask_site: Callable[[], list[str]]) -> list[str]:
    try:
        return ask_site()
    except SchedulerError as error:
        log.warning(f"{what} not known", reason=error.message)
        return []
