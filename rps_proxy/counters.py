"""Plain counters of what happened, for who watches the service."""

from __future__ import annotations

from collections import Counter


class Counters:
    """How often each event happened since the service started. Labels must be few: none from outside."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def count(self, event: str, **labels: str) -> None:
        """One more."""
        self._counts[event, tuple(sorted(labels.items()))] += 1

    def items(self) -> list[tuple[str, dict[str, str], int]]:
        """Each event, its labels, and how often."""
        return [(event, dict(labels), n) for (event, labels), n in sorted(self._counts.items())]
