"""The site's policy for requests: the hook `rps_check_request`, and what it changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rps_core.cluster import ClusterContext
from rps_core.models import Allocation, JobRequest
from rps_core.system.user import login_name
from rps_core.units import format_walltime
from rps_core.values import dataclass


@dataclass(frozen=True, slots=True)
class Changed:
    """A value of the job that a plugin changed, by its dotted key, with the reason.

    Args:
        key: the dotted key, such as `job.reservation`.
        value: the new value, as the configuration writes it; None: the scheduler's default.
        before: the value before.
        plugin: the name of the plugin.
        reason: the plugin's words.
    """

    key: str
    value: object
    before: object
    plugin: str
    reason: str

    def __str__(self) -> str:
        before = "not set" if self.before is None else self.before
        value = "not set" if self.value is None else self.value
        return f"Changed by {self.plugin}: {self.key} is {value} (was {before}): {self.reason}"


def checked(
    here: ClusterContext, allocation: Allocation, app: str
) -> tuple[Allocation, tuple[Changed, ...]]:
    """Return the allocation as the site's policy changes it, and the changes.

    Raises:
        RequestRefusedError: the site refuses the request.
    """
    request = JobRequest(allocation=allocation, app=app, user=login_name())
    changes: list[Changed] = []
    for plugin, change in here.site.check_request(request, here.shell):
        changes += _differences(allocation, change.allocation, plugin, change.reason)
        allocation = change.allocation
    return allocation, tuple(changes)


def _differences(
    before: Allocation, after: Allocation, plugin: str, reason: str
) -> Iterator[Changed]:
    old, new = _values(before), _values(after)
    for key, value in new.items():
        if value != old[key]:
            yield Changed(f"job.{key}", value, old[key], plugin, reason)


def _values(allocation: Allocation) -> Mapping[str, object]:
    """Return the values of the job's keys, as the configuration writes them."""
    gpus: object = allocation.gpus
    if allocation.gpus and allocation.gpu_type is not None:
        gpus = f"{allocation.gpu_type}:{allocation.gpus}"
    memory = allocation.memory_mb
    return {
        "account": allocation.account,
        "partition": allocation.partition,
        "qos": allocation.qos,
        "reservation": allocation.reservation,
        "constraint": allocation.constraint,
        "nodes": allocation.nodes,
        "tasks": allocation.tasks,
        "cpus": allocation.cpus,
        "gpus": None if gpus is None else str(gpus),
        "memory": None if memory is None else f"{memory}M",
        "walltime": format_walltime(allocation.walltime),
        "directives": list(allocation.directives),
    }
