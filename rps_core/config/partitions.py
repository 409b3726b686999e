"""Defaults of a partition: `partitions: {gpu: {gpus: 1, cpus: 10}}`, values of `job` for jobs in it.

Those of a layer count directly above the `job` of the same layer: a site's defaults for a partition override
the site's general ones, and a user's `job` overrides both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rps_core.config.layers import Layer

SECTION = "partitions"


def with_defaults(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers, lowest first, with the defaults of the job's partition."""
    partition = _partition(layers)
    found: list[Layer] = []
    for layer in layers:
        found.append(layer)
        defaults = _of(layer, partition)
        if defaults is not None:
            found.append(defaults)
    return found


def _partition(layers: Sequence[Layer]) -> str | None:
    """Return the partition that the layers set: the highest one counts, also null."""
    for layer in reversed(layers):
        job = layer.values.get("job")
        if isinstance(job, dict) and "partition" in job:
            name = job["partition"]
            return name if isinstance(name, str) and name else None
    return None


def _of(layer: Layer, partition: str | None) -> Layer | None:
    """Return a layer's defaults for a partition, as a layer with a section `job`.

    `merge` reports what is wrong with the section, and with the defaults of every partition.
    """
    section: Any = layer.values.get(SECTION)
    defaults = section.get(partition) if isinstance(section, dict) else None
    if not isinstance(defaults, dict) or not defaults:
        return None
    prefix = f"{SECTION}.{partition}"  # a name may hold dots
    lines = {
        f"job{key.removeprefix(prefix)}": line
        for key, line in layer.lines.items()
        if key == prefix or key.startswith(f"{prefix}.")
    }
    return Layer(f"{layer.name}, {prefix}", layer.source, {"job": defaults}, lines)
