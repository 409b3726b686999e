"""Build an environment once, however many sessions ask for it at a time."""

import os
import re
import subprocess
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional

from rps_core.node.agent.words import how, printable
from rps_core.node.builder import tools
from rps_core.node.builder.cache import Cache, is_usable, work_of
from rps_core.node.builder.failure import BuildError
from rps_core.node.builder.lock import Lock
from rps_core.node.builder.recipe import Recipe

LAST_LINES = 20  # of a tool, in the error
_LONGEST = 1000  # characters of a line
_FULL = 1 << 20  # bytes; with less, nothing can be installed
_FREE_SPACE = "Free some space there (rps env remove), or set notebook.cache to another directory."
_LOOK_EVERY = 1.0  # seconds between two looks at another builder
_PASSWORD = re.compile(r"://[^/@\s]+@")


class Runner:
    """How a build runs programs and waits; the launcher and the agent each have their own."""

    def start(self, command: List[str], **options: Any) -> Any:
        """Start a program with options of Popen; return the Popen (OSError: it cannot be started)."""
        raise NotImplementedError

    def exit_code(self, process: Any) -> Optional[int]:
        """Return how it ended; None while it runs."""
        raise NotImplementedError

    def end(self, process: Any) -> None:
        """End it and what it has started."""
        raise NotImplementedError

    def pause(self, seconds: float) -> None:
        """Wait, at most so long; raise what ends the build."""
        raise NotImplementedError


def build(
    recipe: Recipe,
    cache: Cache,
    runner: Runner,
    say: Callable[[str], None],
    again: bool = False,
) -> Dict[str, Any]:
    """Return the published environment of a recipe; build it first where there is none.

    Args:
        recipe: what it is built from.
        cache: where it is.
        runner: runs the commands.
        say: is called with each line of progress.
        again: build it also where there is one, which sessions under way go on to use.

    Raises:
        BuildError: it cannot be built; nothing of it is left.
    """
    name = recipe.name
    said = None
    while True:
        found = None if again else cache.published(name)
        if found is not None:
            cache.use(name)
            return found
        try:
            lock = cache.try_lock(name)
        except OSError as error:
            raise _unwritable(cache, error) from None
        if lock is not None:
            break
        builder = cache.builder(name)
        if builder is not None and builder != said:
            say("waiting for %s, which builds the same environment" % builder)
            said = builder
        if builder is not None:
            runner.pause(_LOOK_EVERY)
    try:
        found = None if again else cache.published(name)  # since the look before the lock
        return found or _Build(recipe, cache, lock, runner, say).made(again)
    except OSError as error:
        raise _unwritable(cache, error) from None
    finally:
        lock.release()


class _Build:
    """One build, in a tree of its own."""

    def __init__(
        self,
        recipe: Recipe,
        cache: Cache,
        lock: Lock,
        runner: Runner,
        say: Callable[[str], None],
    ) -> None:
        self._recipe = recipe
        self._cache = cache
        self._lock = lock
        self._runner = runner
        self._say = say
        self._lines: Deque[str] = deque(maxlen=LAST_LINES)
        self._new: Deque[str] = deque()  # lines of the tool that were not said yet

    def made(self, again: bool) -> Dict[str, Any]:
        """Build and publish it; a failure leaves nothing."""
        tree = self._lock.tree
        try:
            os.mkdir(work_of(tree), 0o700)
            facts = self._install(tree)
            other = None if again else self._cache.published(self._recipe.name)
            if other is not None:  # whose builder could not see that we live
                self._cache.remove_tree(tree)
                return other
            old = self._cache.entry(self._recipe.name)
            self._cache.publish(self._recipe.name, tree, tools.below(self._recipe), **facts)
            self._cache.remove_tree(work_of(tree))
            if old is not None and not is_usable(old["prefix"]):
                self._cache.remove_tree(old["tree"])
        except BaseException:
            self._cache.remove_tree(tree)
            raise
        found = self._cache.published(self._recipe.name)
        if found is None:
            raise BuildError("the environment that was built has no Python", self._lines)
        return found

    def _install(self, tree: str) -> Dict[str, Any]:
        recipe = self._recipe
        recipe.check_unchanged()
        tool = tools.program(recipe)
        began = time.monotonic()
        for step in tools.steps(recipe, tool, tree):
            self._run(step, tree)
        for step in tools.kernel_steps(recipe, tool, tree):
            self._run(step, tree)
        recipe.check_unchanged()
        check = tools.check_step(tools.prefix_in(recipe, tree))
        version = None
        if check is not None:
            self._run(check, tree)
            version = self._lines[-1] if self._lines else None
        return {
            "label": recipe.label,
            "file": recipe.file,
            "packages": [_PASSWORD.sub("://…@", package) for package in recipe.packages],
            "kind": recipe.kind,
            "made_by": recipe.family,
            "python": version if version and re.match(r"3\.[0-9.]+$", version) else None,
            "seconds": round(time.monotonic() - began, 1),
            "size": _size(tree),
        }

    def _run(self, step: tools.Step, tree: str) -> None:
        """Run a command (BuildError: it failed)."""
        self._say(step.words)
        self._lines.clear()
        try:
            process = self._runner.start(
                step.command,
                cwd=step.directory or self._cache.root,
                env=tools.environment(tree, dict(os.environ)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        except OSError as error:
            raise BuildError(
                "`%s` cannot be started: %s" % (step.command[0], error.strerror)
            ) from None
        reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        reader.start()
        try:
            while self._runner.exit_code(process) is None:
                self._runner.pause(0.1)
                self._pass_on()
                self._lock.beat()
        except BaseException:
            self._runner.end(process)
            raise
        reader.join(5.0)  # a process that it left may hold the pipe open
        self._pass_on()
        code = self._runner.exit_code(process)
        if code:
            name = os.path.basename(step.command[0])
            reason = "%s could not %s: %s" % (name, step.words, how(code))
            raise BuildError(reason, list(self._lines), self._advice())

    def _advice(self) -> str:
        """Return what to do where a tool may not name the cause itself; empty: it does."""
        try:
            state = os.statvfs(self._cache.root)
        except OSError:
            return ""
        if state.f_bavail * state.f_frsize >= _FULL:
            return ""
        return "The disk of %s is full. %s" % (self._cache.root, _FREE_SPACE)

    def _read(self, output: Any) -> None:
        with output:
            for line in iter(lambda: output.readline(1 << 16), b""):
                # A progress bar writes its line again after a carriage return.
                text = line.decode("utf-8", "replace").rstrip().rpartition("\r")[2]
                text = printable(_PASSWORD.sub("://…@", text), " ")[:_LONGEST]
                if text.strip():
                    self._lines.append(text)
                    self._new.append(text)

    def _pass_on(self) -> None:
        while self._new:
            self._say(self._new.popleft().strip())


def _unwritable(cache: Cache, error: OSError) -> BuildError:
    where = error.filename or cache.root
    return BuildError(
        "%s: %s" % (where, error.strerror or error),
        advice=_FREE_SPACE,
    )


def _size(tree: str) -> int:
    """Return how much of the disk a tree takes, in bytes."""
    total = 0
    for directory, _, names in os.walk(tree):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
            except OSError:
                pass
    return total
