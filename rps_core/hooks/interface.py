"""Check a plugin's version of the interface, its hooks and arguments."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any

from rps_core import hookspecs
from rps_core.text import did_you_mean

DECLARATION = "RPS_INTERFACE"
_HOOKS = {
    name: frozenset(spec.__code__.co_varnames[: spec.__code__.co_argcount])
    for name, spec in vars(hookspecs).items()
    if hasattr(spec, "rps_spec")
}
_NEAR = 0.88  # of an unmarked function's name to that of a hook: below, it is taken for a helper
_NOT_CALLED = {
    inspect.iscoroutinefunction: "an async function",
    inspect.isasyncgenfunction: "an async generator",
    inspect.isgeneratorfunction: "a generator",
}


class MistakeError(Exception):
    """A mistake in a plugin; the text is the reason, `where` file and line."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason)
        self.where = where


def check(plugin: Any, distribution: Callable[[], str]) -> None:
    """Look at a plugin that was loaded.

    Raises:
        MistakeError: it is for another version of the interface, or has a hook that cannot be called.
    """
    declared = getattr(plugin, DECLARATION, None)
    if declared is not None:
        _check_version(declared, distribution, getattr(plugin, "__file__", None) or "")
    for name in dir(plugin):
        value = getattr(plugin, name, None)
        options = getattr(value, "rps_impl", None)
        if isinstance(options, dict):
            _check_marked(name, value, options)
        elif name.startswith("rps_") and not isinstance(value, ModuleType):
            _check_unmarked(name, value)


def arguments(function: Any) -> tuple[str, ...]:
    """Return the names of the arguments that a hook's implementation takes."""
    if type(function) is FunctionType and not hasattr(function, "__wrapped__"):
        code = function.__code__
        return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(function).parameters.values()
    return tuple(one.name for one in found if one.kind not in kinds)


def where_defined(function: Any) -> str:
    """Return file and line of a function; empty if it is not written in Python."""
    code = getattr(getattr(function, "__wrapped__", function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def needs_newer(module: str, distribution: Callable[[], str]) -> MistakeError | None:
    """Return the error of a plugin whose source declares a newer interface.

    A plugin for a newer rps imports names that this one does not have, so the declaration is read as text.
    """
    for path in _sources(module):
        try:
            with open(path, encoding="utf-8") as stream:  # noqa: PTH123 - as entry_points has it
                text = stream.read()
        except (OSError, ValueError):
            continue
        found = re.search(
            rf"^{DECLARATION}\s*(?::[^=\n]*)?=\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)", text, re.MULTILINE
        )
        if found:
            line = text.count("\n", 0, found.start()) + 1
            try:
                _check_version((int(found[1]), int(found[2])), distribution, f"{path}:{line}")
            except MistakeError as error:
                return error
    return None


def _sources(module: str) -> Iterator[str]:
    """Yield the files that a module may be in, without an import."""
    relative = module.replace(".", "/")
    for directory in sys.path:
        for name in (f"{relative}.py", f"{relative}/__init__.py"):
            path = os.path.join(directory or ".", name)  # noqa: PTH118 - as entry_points has it
            if os.path.isfile(path):  # noqa: PTH113
                yield path


def _check_version(declared: Any, distribution: Callable[[], str], where: str) -> None:
    if not _is_version(declared):
        raise MistakeError(
            f"{DECLARATION} is {declared!r:.60}, and must be two numbers: ({hookspecs.INTERFACE[0]}, "
            f"{hookspecs.INTERFACE[1]})",
            where,
        )
    ours = hookspecs.INTERFACE
    theirs, has = (".".join(map(str, version)) for version in (declared, ours))
    if declared[0] < ours[0]:
        raise MistakeError(
            f"{distribution()} was written for plugin interface {theirs}; this rps has {has}. "
            "Upgrade the plugin.",
            where,
        )
    if declared > ours:
        raise MistakeError(
            f"{distribution()} needs plugin interface {theirs}; this rps has {has}. Upgrade rps.",
            where,
        )


def _is_version(declared: Any) -> bool:
    return (
        isinstance(declared, tuple)
        and len(declared) == 2
        and all(type(number) is int and number >= 0 for number in declared)
    )


def _check_marked(name: str, value: Any, options: dict[str, Any]) -> None:
    hook = options.get("specname") or name
    where = where_defined(value)
    if not inspect.isroutine(value):
        raise MistakeError(f"{name} is {_kind(value)}, and a hook is a function", where)
    if hook not in _HOOKS:
        if options.get("optionalhook"):  # a hook that a later minor version of the interface has
            return
        near = did_you_mean(str(hook), _HOOKS)
        raise MistakeError(f"{hook} is no hook of rps. {near}".rstrip(), where)
    if options.get("wrapper") or options.get("hookwrapper"):
        raise MistakeError(
            f"{name} is a wrapper: rps takes the answer of one plugin, and runs no wrappers", where
        )
    for matches, kind in _NOT_CALLED.items():
        if matches(inspect.unwrap(value)):
            raise MistakeError(f"{name} is {kind}, and a hook is a function that returns", where)
    known = _HOOKS[hook]
    for argument in arguments(value):
        if argument not in known:
            near = did_you_mean(argument, known)
            passed = ", ".join(sorted(known))
            raise MistakeError(
                f"{name} takes `{argument}`, which rps does not pass. {near}It passes: {passed}.",
                where,
            )
    code = getattr(value, "__code__", None)
    if code is not None and code.co_posonlyargcount:
        raise MistakeError(
            f"{name} takes arguments by position, and rps passes them by name", where
        )


def _check_unmarked(name: str, value: Any) -> None:
    """Reject a function that looks like a hook and has no @hookimpl."""
    if name in _HOOKS:
        kind = "" if callable(value) else f" is {_kind(value)}, and"
        raise MistakeError(
            f"{name}{kind} is not marked with @hookimpl"
            if not kind
            else f"{name}{kind} a hook is a function",
            where_defined(value),
        )
    if inspect.isfunction(value):
        import difflib

        near = difflib.get_close_matches(name, _HOOKS, n=1, cutoff=_NEAR)
        if near:
            raise MistakeError(
                f"{name} is no hook of rps. Did you mean `{near[0]}`? (It has no @hookimpl either.)",
                where_defined(value),
            )


def _kind(value: Any) -> str:
    return "a class" if inspect.isclass(value) else f"of type {type(value).__name__}"
