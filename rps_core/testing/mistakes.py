"""Mistakes that rps finds in a plugin, as failed tests."""

from __future__ import annotations

from rps_core.hooks.faults import Broken


def fail(broken: Broken) -> None:
    """Fail the test that asked the plugin: a command would go on without its answer.

    Raises:
        AssertionError: always.
    """
    raise AssertionError(str(broken))
