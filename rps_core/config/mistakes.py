"""Mistakes in a configuration, collected so that one run reports all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rps_core.errors import UsageError

MOST_MISTAKES = 100  # more of them say that it is the wrong file


class ConfigurationError(UsageError):
    """A configuration with mistakes: an error for each, with file and line."""

    def __init__(self, mistakes: Sequence[UsageError]) -> None:
        self.mistakes = tuple(mistakes)
        *others, last = self.mistakes
        super().__init__("\n".join([*map(str, others), last.message]), last.hint)


class Mistakes:
    """The mistakes found so far, each once, in the order of their discovery."""

    def __init__(self) -> None:
        self._found: dict[str, UsageError] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, message: str, hint: str = "") -> None:
        """Add a mistake.

        Raises:
            ConfigurationError: there are too many to go on.
        """
        self.extend(UsageError(message, hint))

    def extend(self, error: UsageError) -> None:
        """Add an error, or all that a `ConfigurationError` holds.

        Raises:
            ConfigurationError: there are too many to go on.
        """
        for each in error.mistakes if isinstance(error, ConfigurationError) else (error,):
            self._found.setdefault(each.message, each)
        if len(self._found) >= MOST_MISTAKES:
            self.check()

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Collect the `UsageError` that the block raises, and go on behind the block."""
        try:
            yield
        except UsageError as error:
            self.extend(error)

    def check(self) -> None:
        """Raise what was found.

        Raises:
            ConfigurationError: something was.
        """
        if self._found:
            raise ConfigurationError(list(self._found.values())) from None
