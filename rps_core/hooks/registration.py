"""Register plugins and ask their hooks, one plugin at a time.

A mistake of a plugin costs only its own answer.

The only module that imports pluggy's manager. Every answer that rps gets from a plugin comes through
`Registrations`: the code runs in `isolation`, `answers` checks what it returns, `faults` has what was wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pluggy

from rps_core import hookspecs
from rps_core.errors import PluginError, RpsError
from rps_core.hooks import answers, interface
from rps_core.hooks.entry_points import Found
from rps_core.hooks.interface import MistakeError, where_defined
from rps_core.hooks.isolation import CodeFailedError, Isolation, NoAnswerError, Outcome

if TYPE_CHECKING:
    from rps_core.hooks.faults import Broken

# Seconds, without the commands that a hook runs through its shell.
LOAD_TIME = 30.0  # to import a plugin: its files may be on a slow network file system
ANSWER_TIME = 20.0  # for a hook without whose answer the command goes on
NEEDED_TIME = 60.0  # for one that the command depends on
_REPORT = "This is a defect of the plugin: report it to its authors."


class Registrations:
    """The loaded plugins. `report` is called with each mistake when it is found."""

    def __init__(self, report: Callable[[Broken], None] | None = None) -> None:
        self._manager = pluggy.PluginManager("rps")
        self._manager.add_hookspecs(hookspecs)
        self._points: dict[str, Found] = {}
        self._report = report
        self.broken: list[Broken] = []  # each mistake that was found: one for a plugin and hook

    def add(self, points: Sequence[Found]) -> None:
        """Load plugins; one that cannot be used is noted."""
        isolation = Isolation(LOAD_TIME)
        outcomes = isolation.run_each([partial(_load, point) for point in points])
        for point, outcome in zip(points, outcomes, strict=True):
            try:
                self._register(point, _loaded(point, outcome))
            except MistakeError as mistake:
                self._note(point, str(mistake), mistake.where)

    def _register(self, point: Found, plugin: Any) -> None:
        """Register a plugin that was loaded.

        Raises:
            MistakeError: it, or its name, is registered already.
        """
        if point.name in self._points:
            raise MistakeError(f"the name `{point.name}` is taken by {self.origin(point.name)}")
        other = self._manager.get_name(plugin)
        if other is not None:
            raise MistakeError(
                f"its module is the plugin `{other}` already: a site and a scheduler need a module each"
            )
        try:
            self._manager.register(plugin, point.name)
            self._manager.check_pending()
        except (pluggy.PluginValidationError, ValueError, TypeError) as error:
            if self._manager.get_plugin(point.name) is not None:
                self._manager.unregister(name=point.name)
            raise MistakeError(f"{type(error).__name__}: {error}") from None
        self._points[point.name] = point

    def note(self, name: str, hook: str, reason: str) -> None:
        """Note a mistake in the answer of a plugin."""
        where = next(
            (
                where_defined(one.function)
                for one in self._in_order(hook)
                if one.plugin_name == name
            ),
            "",
        )
        self._note(self._points[name], f"{hook}: {reason}", where, hook)

    def names(self) -> list[str]:
        """Return the names of the loaded plugins, in the order of loading."""
        return [name for name, _ in self._manager.list_name_plugin()]

    def origin(self, name: str) -> str:
        """Return the distribution and version of a plugin."""
        return _origin(self._points[name])

    def declares_interface(self, name: str) -> bool:
        """Return whether a plugin declares its version of the interface."""
        return hasattr(self._manager.get_plugin(name), interface.DECLARATION)

    def implementing(self, hook: str, *, last: bool = False) -> set[str]:
        """Return the plugins that implement a hook; `last`: marked `trylast`."""
        return {one.plugin_name for one in self._in_order(hook) if one.trylast or not last}

    def ask(self, hook: str, names: Sequence[str], **arguments: object) -> Any:
        """Return the first answer of these plugins to a hook; None where none has one.

        A plugin that fails is noted, and the next is asked.

        Raises:
            RpsError: raised by the plugin: the scheduler refused, say.
        """
        return self._first(hook, names, arguments, or_next=True)

    def ask_strictly(self, hook: str, names: Sequence[str], **arguments: object) -> Any:
        """Return the answer as `ask` does; if a plugin fails, ask no other."""
        return self._first(hook, names, arguments, or_next=False)

    def _first(
        self, hook: str, names: Sequence[str], arguments: Mapping[str, object], *, or_next: bool
    ) -> Any:
        for one in self._in_order(hook):
            if one.plugin_name in names:
                try:
                    (answer,) = self._answers([one], hook, arguments, ANSWER_TIME)
                    found = answer()
                except MistakeError as mistake:
                    self._note(self._points[one.plugin_name], str(mistake), mistake.where, hook)
                    if or_next:
                        continue
                    return None
                if found is not None:
                    return found
        return None

    def ask_each(
        self, hook: str, names: Collection[str], **arguments: object
    ) -> list[tuple[str, Any]]:
        """Return the answers of these plugins with their names, in that order.

        What fails is noted, a scheduler that did not answer too.
        """
        asked = sorted(
            (one for one in self._in_order(hook) if one.plugin_name in names),
            key=lambda one: one.plugin_name,
        )
        found = []
        for one, answer in zip(
            asked, self._answers(asked, hook, arguments, ANSWER_TIME), strict=True
        ):
            try:
                value = answer()
            except MistakeError as mistake:
                self._note(self._points[one.plugin_name], str(mistake), mistake.where, hook)
            except RpsError as error:
                self.note(one.plugin_name, hook, error.message)
            else:
                if value is not None:
                    found.append((one.plugin_name, value))
        return found

    def need(self, hook: str, names: Sequence[str], **arguments: object) -> Any:
        """Return the first answer of these plugins to a hook that the command depends on.

        Raises:
            PluginError: a plugin failed, or none has an answer.
            RpsError: as for `ask`.
        """
        for one in self._in_order(hook):
            if one.plugin_name in names:
                try:
                    (answer,) = self._answers([one], hook, arguments, NEEDED_TIME)
                    found = answer()
                except MistakeError as mistake:
                    point = self._points[one.plugin_name]
                    broken = _broken(point, str(mistake), mistake.where, hook)
                    raise PluginError(f"Cannot go on without {broken}", _REPORT) from None
                if found is not None:
                    return found
        raise PluginError(f"Neither {' nor '.join(names)} answers {hook}", _REPORT)

    def _answers(
        self,
        asked: Sequence[pluggy.HookImpl],
        hook: str,
        arguments: Mapping[str, object],
        seconds: float,
    ) -> list[Callable[[], Any]]:
        """Ask each implementation; return a function for each checked answer.

        Raises:
            MistakeError: by such a function: the hook failed or did not end, or its answer is wrong.
        """
        isolation = Isolation(seconds)
        calls = []
        for number, one in enumerate(asked):
            given = {
                name: isolation.shell(value, number) if name == "shell" else _read_only(value)  # type: ignore[arg-type]
                for name, value in arguments.items()
            }
            calls.append(partial(_call, hook, one.function, given))
        outcomes = isolation.run_each(calls)
        return [
            partial(_answer, hook, one.function, seconds, outcome)
            for one, outcome in zip(asked, outcomes, strict=True)
        ]

    def _in_order(self, hook: str) -> Iterator[pluggy.HookImpl]:
        """Yield implementations: marked `tryfirst`, unmarked, marked `trylast`."""
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        return reversed(caller.get_hookimpls())

    def _note(self, point: Found, reason: str, where: str = "", hook: str = "") -> None:
        broken = _broken(point, reason, where, hook)
        known = {(one.plugin, one.origin, one.hook) for one in self.broken}
        if (broken.plugin, broken.origin, broken.hook) not in known:
            self.broken.append(broken)
            if self._report is not None:
                self._report(broken)


def _load(point: Found) -> Any:
    plugin = point.load()
    interface.check(plugin, lambda: _origin(point))
    return plugin


def _loaded(point: Found, outcome: Outcome) -> Any:
    """Return the plugin.

    Raises:
        MistakeError: it cannot be imported, or does not fit this rps.
    """
    module = point.value.partition(":")[0].partition("[")[0].strip()
    try:
        return outcome.get()
    except NoAnswerError as silent:
        raise MistakeError(
            f"its import did not end within {LOAD_TIME:.0f} s", silent.where(_package(module))
        ) from None
    except CodeFailedError as failed:
        if isinstance(failed.error, MistakeError):
            raise failed.error from None
        newer = interface.needs_newer(module, lambda: _origin(point))
        if newer is not None:
            raise newer from None
        from rps_core.hooks.faults import in_words, where_raised

        where = where_raised(failed.error, _package(module)) or getattr(point, "file", "")
        raise MistakeError(in_words(failed.error), where) from None


def _call(hook: str, function: Callable[..., Any], given: Mapping[str, object]) -> Any:
    taken = {name: given[name] for name in interface.arguments(function) if name in given}
    return answers.checked(hook, function(**taken))


def _answer(hook: str, function: Callable[..., Any], seconds: float, outcome: Outcome) -> Any:
    """Return the answer; raises as `Registrations._answers` documents."""
    package = _package(getattr(function, "__module__", "") or "")
    try:
        return outcome.get()
    except NoAnswerError as silent:
        where = silent.where(package) or where_defined(function)
        raise MistakeError(f"{hook}: no answer within {seconds:.0f} s", where) from None
    except CodeFailedError as failed:
        error = failed.error
        if isinstance(error, answers.WrongAnswerError):
            raise MistakeError(f"{hook}: {error}", where_defined(function)) from None
        if _is_expected(error):
            raise error from None
        from rps_core.hooks.faults import in_words, where_raised

        where = where_raised(error, package) or where_defined(function)
        raise MistakeError(f"{hook}: {in_words(error)}", where) from None


def _broken(point: Found, reason: str, where: str, hook: str) -> Broken:
    from rps_core.hooks.faults import Broken

    return Broken(point.name, _origin(point), reason, where, hook)


def _origin(point: Found) -> str:
    from rps_core.hooks.faults import origin

    return origin(point)


def _is_expected(error: BaseException) -> bool:
    """Return whether a hook may raise this error, and its texts are valid."""
    return (
        isinstance(error, RpsError)
        and isinstance(error.message, str)
        and isinstance(error.hint, str)
        and type(error.exit_code) is int
        and 0 < error.exit_code < 128
    )


def _read_only(value: Any) -> Any:
    """Return a value that a plugin cannot change for others."""
    if isinstance(value, MutableMapping):
        return MappingProxyType(dict(value))
    return tuple(value) if isinstance(value, list) else value


def _package(module: str) -> str:
    return module.rpartition(".")[0] or module
