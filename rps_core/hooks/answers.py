"""Check a hook's answer by its declared type, down to dataclass fields.

`hookspecs` declares the types.

Annotations are evaluated when an answer is first checked, not when modules are imported. An answer is
returned as plain values: tuples and dicts in place of whatever sequence or mapping a plugin made.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Union, cast, get_args, get_origin

from rps_core import hookspecs, jobs, models, traits

_LONGEST = 80  # characters of a value in a message


class _Traversable:
    """A stand-in for `importlib.resources.abc.Traversable`, slow to import."""


class WrongAnswerError(Exception):
    """An answer of another type than declared, or an invalid value."""

    def __init__(self, place: str, reason: str, *, of_its_type: bool = False) -> None:
        super().__init__(f"its {place} {reason}")
        self.depth = len(place)
        self.of_its_type = of_its_type


def checked(hook: str, answer: Any) -> Any:
    """Return the answer of a hook, which must be what `hookspecs` declares.

    Raises:
        WrongAnswerError: it is not.
    """
    return _checked(answer, declared(hook), "answer")


@functools.cache
def declared(hook: str) -> Any:
    """Return the type that `hookspecs` declares for the answers to a hook."""
    annotation = getattr(hookspecs, hook).__annotations__["return"]
    names = {
        **vars(models),
        **vars(jobs),
        **vars(traits),
        "Mapping": Mapping,
        "Path": Path,
        "Sequence": Sequence,
        "Traversable": _Traversable,
    }
    return eval(annotation, names)  # noqa: S307 - an annotation of ours


def _checked(value: Any, kind: Any, place: str) -> Any:
    origin = get_origin(kind)
    if origin is Annotated:
        base, *rules = get_args(kind)
        value = _checked(value, base, place)
        for rule in rules:
            if not rule.holds(value):
                reason = f"is {_shown(value)}, and must be {rule.must_be}"
                raise WrongAnswerError(place, reason, of_its_type=True)
        return value
    if origin in (Union, types.UnionType):
        return _of_one(value, get_args(kind), kind, place)
    if origin is not None:
        return _CONTAINERS[origin](value, kind, place)
    if kind is None or kind is type(None):
        fits = value is None
    elif kind is _Traversable:
        return _file(value, place)
    elif kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = number and math.isfinite(value)
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    else:
        fits = isinstance(value, kind)
    if not fits:
        raise WrongAnswerError(place, f"is {_shown(value)}, not {_named(kind)}")
    if isinstance(value, datetime) and not _is_point_in_time(value):
        reason = f"is {value!r}, and must be a time with its time zone"
        raise WrongAnswerError(place, reason, of_its_type=True)
    if dataclasses.is_dataclass(kind):
        for name, field in _fields(cast("Any", kind)).items():
            _checked(getattr(value, name), field, f"{place}.{name}")
    return value


def _of_one(value: Any, kinds: tuple[Any, ...], kind: Any, place: str) -> Any:
    """Check a value of one of several types; the closest type's error counts."""
    closest: WrongAnswerError | None = None
    for one in kinds:
        try:
            return _checked(value, one, place)
        except WrongAnswerError as error:
            deepest = closest.depth if closest else len(place)
            if error.of_its_type or error.depth > deepest:
                closest = error
    raise closest or WrongAnswerError(place, f"is {_shown(value)}, not {_named(kind)}")


def _sequence(value: Any, kind: Any, place: str) -> tuple[Any, ...]:
    (item,) = get_args(kind)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes | bytearray):
        raise WrongAnswerError(place, f"is {_shown(value)}, not {_named(kind)}")
    return tuple(_checked(one, item, f"{place}[{number}]") for number, one in enumerate(value))


def _tuple(value: Any, kind: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise WrongAnswerError(place, f"is {_shown(value)}, not {_named(kind)}")
    return tuple(
        _checked(one, get_args(kind)[0], f"{place}[{number}]") for number, one in enumerate(value)
    )


def _set(value: Any, kind: Any, place: str) -> frozenset[Any]:
    if not isinstance(value, frozenset):
        raise WrongAnswerError(place, f"is {_shown(value)}, not {_named(kind)}")
    return frozenset(_checked(one, get_args(kind)[0], f"{place} (an item)") for one in value)


def _mapping(value: Any, kind: Any, place: str) -> dict[Any, Any]:
    key_kind, item_kind = get_args(kind)
    if not isinstance(value, Mapping):
        raise WrongAnswerError(place, f"is {_shown(value)}, not {_named(kind)}")
    return {
        _checked(key, key_kind, f"{place} (a key)"): _checked(
            item, item_kind, f"{place}[{_shown(key)}]"
        )
        for key, item in value.items()
    }


_CONTAINERS: dict[Any, Callable[[Any, Any, str], Any]] = {
    Sequence: _sequence,
    Mapping: _mapping,
    dict: _mapping,
    tuple: _tuple,
    frozenset: _set,
}


def _file(value: Any, place: str) -> Any:
    """Check a readable file: a path, or a file inside an archive."""
    if not isinstance(value, Path) and not all(
        callable(getattr(value, name, None)) for name in ("is_file", "read_text", "joinpath")
    ):
        raise WrongAnswerError(place, f"is {_shown(value)}, not the path of a file")
    if not value.is_file():
        reason = f"is {_shown(value)}, which is not a file"
        raise WrongAnswerError(place, reason, of_its_type=True)
    return value


@functools.cache
def _fields(kind: type[Any]) -> dict[str, Any]:
    scope = vars(sys.modules[kind.__module__])
    return {
        field.name: eval(field.type, scope) if isinstance(field.type, str) else field.type  # noqa: S307 - ours
        for field in dataclasses.fields(kind)
    }


def _is_point_in_time(value: datetime) -> bool:
    try:
        return value.utcoffset() is not None and bool(value.astimezone())
    except (OverflowError, ValueError, OSError):
        return False


def _named(kind: Any) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_named(one) for one in get_args(kind))
    if get_origin(kind) is Annotated:
        return _named(get_args(kind)[0])
    if get_origin(kind) is not None:
        inner = ", ".join("..." if one is ... else _named(one) for one in get_args(kind))
        return f"{get_origin(kind).__name__}[{inner}]"
    if kind is None or kind is type(None):
        return "None"
    return "the path of a file" if kind is _Traversable else str(kind.__name__)


def _shown(value: Any) -> str:
    """Return a value and its type as text; `repr` may be the plugin's code."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - as above
        return f"a {type(value).__name__}"
    text = " ".join(text.split())
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}…"
    return f"{text} ({type(value).__name__})"
