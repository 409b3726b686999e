"""Counters of events, for the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product


class Counters:
    """How often each event happened since the service started.

    Labels must be few, and none may come from a request.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def expect(self, event: str, **labels: Iterable[str]) -> None:
        """Start at 0 for each combination of these labels' values.

        A series that begins with its first event shows no increase in Prometheus.
        """
        names = sorted(labels)
        for values in product(*(labels[name] for name in names)):
            self._counts[event, tuple(zip(names, values, strict=True))] += 0

    def count(self, event: str, **labels: str) -> None:
        """Count one event."""
        self._counts[event, tuple(sorted(labels.items()))] += 1

    def items(self) -> list[tuple[str, dict[str, str], int]]:
        """Return each event with its labels and its number."""
        return [(event, dict(labels), n) for (event, labels), n in sorted(self._counts.items())]
