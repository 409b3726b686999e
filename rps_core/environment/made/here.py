"""Build an environment on this host, and read one that was built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rps_core.environment.made import place
from rps_core.environment.made.runner import LauncherRunner
from rps_core.errors import EnvironmentBuildError, SchedulerError
from rps_core.node.builder.build import LAST_LINES, build
from rps_core.node.builder.cache import Cache
from rps_core.node.builder.failure import BuildError
from rps_core.node.builder.recipe import Recipe
from rps_core.system import shell
from rps_core.system.signals import DeferredSignals
from rps_core.text import plain_lines

_LOOK_TIME = 30.0  # seconds for uv to resolve
# How uv says that it has understood, and that there is no such environment.
_REFUSALS = ("No solution found", "needs to be updated")


def built(
    recipe: Recipe,
    cache: Cache,
    held: DeferredSignals,
    say: Callable[[str], None],
    *,
    again: bool = False,
) -> dict[str, Any]:
    """Return the cache's entry for a recipe; build the environment first where there is none.

    Args:
        recipe: what it is built from.
        cache: where it is.
        held: defers Ctrl-C.
        say: is called with each line of progress.
        again: build it also where there is one.

    Raises:
        EnvironmentBuildError: it cannot be built; with the last lines of the tool.
        UsageError: the disk is full.
        KeyboardInterrupt: Ctrl-C; nothing of the build is left.
    """
    if again or cache.published(recipe.name) is None:
        place.check_space(cache.root)
    try:
        return build(recipe, cache, LauncherRunner(held), say, again)
    except BuildError as error:
        raise failure(recipe.label, error) from None


def failure(label: str, error: BuildError) -> EnvironmentBuildError:
    """Return the error of a build, with the tool's lines."""
    lines = "".join(f"\n  {line}" for line in error.lines)
    return EnvironmentBuildError(
        f"Cannot build the environment {label}: {error.reason}{lines}",
        error.advice
        or "Correct what the lines name, and start again. Nothing was left in the cache.",
    )


def check_resolvable(recipe: Recipe) -> None:
    """Have uv look, before a job is submitted, whether the job can build an environment.

    Without an answer, as without a network or with another tool, nothing is concluded.

    Raises:
        EnvironmentBuildError: the packages cannot be had together, or a lock does not fit its project.
    """
    command, stdin = _look(recipe)
    if not command:
        return
    try:
        done = shell.run(*command, stdin=stdin, timeout=_LOOK_TIME)
    except SchedulerError:  # it takes too long: a slow network
        return
    if done.code and any(words in done.stderr for words in _REFUSALS):
        lines = [line for line in plain_lines(done.stderr).splitlines() if line.strip()]
        raise failure(recipe.label, BuildError("uv cannot resolve it", lines[-LAST_LINES:]))


def _look(recipe: Recipe) -> tuple[list[str], str]:
    """Return uv's command, and its input; no command: uv does not build it, or is not on this host."""
    if recipe.family != "uv" or "/" not in recipe.tool:
        return [], ""
    if recipe.kind == "uv-lock":
        return [recipe.tool, "lock", "--check", "--project", str(recipe.directory)], ""
    if recipe.kind == "pylock":
        return [], ""
    files = [] if recipe.file is None else [recipe.file]
    named = ["-"] if recipe.packages else []  # a package may have a URL with a password
    version = ["--python-version", recipe.version] if recipe.version else []
    look = [recipe.tool, "pip", "compile", "--quiet", "--no-header", *version, *files, *named]
    return look, "".join(f"{package}\n" for package in recipe.packages)
