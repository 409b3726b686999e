"""Dataclasses whose methods are shared, not compiled for each class.

`dataclasses.dataclass` compiles six functions from source text for each frozen class. With the 60 classes
of a start, that was 27 % of its instructions (callgrind, Python 3.11). Here the standard library makes the
class and its fields, so `fields`, `replace`, `asdict`, `is_dataclass` and patterns hold; the methods are
the ones below.
"""

from __future__ import annotations

import dataclasses
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass as dataclass
else:

    def dataclass(
        cls: type | None = None,
        /,
        *,
        frozen: bool = False,
        slots: bool = False,
        kw_only: bool = False,
    ) -> Callable[[type], type] | type:
        """Make a class a dataclass, as `dataclasses.dataclass` does with these arguments."""

        def decorated(cls: type) -> type:
            made = _with_fields(cls, slots=slots, kw_only=kw_only)
            for name, method in (_SHARED_BY_FROZEN if frozen else _SHARED).items():
                if name not in cls.__dict__:
                    setattr(made, name, method)
            if not frozen:
                made.__hash__ = None
            return made

        return decorated if cls is None else decorated(cls)


# Annotations as texts that `dataclasses` does not take for a field's.
_NO_FIELDS = ("ClassVar", "InitVar", "KW_ONLY")


def _with_fields(cls: type, *, slots: bool, kw_only: bool) -> Any:
    """Return the class as a dataclass without methods.

    In the text of an annotation `dataclasses` searches for those of `_NO_FIELDS`, three times by a pattern,
    which is a third of its work. The other texts are kept from it.
    """
    texts = cls.__annotations__
    cls.__annotations__ = {
        name: text if any(word in str(text) for word in _NO_FIELDS) else object
        for name, text in texts.items()
    }
    made: Any = dataclasses.dataclass(
        init=False, repr=False, eq=False, slots=slots, kw_only=kw_only
    )(cls)
    made.__annotations__ = texts
    for name, field in made.__dataclass_fields__.items():
        if name in texts:
            field.type = texts[name]
    return made


class _Methods:
    """The methods of each class; `self` has the fields of the standard library's dataclasses."""

    __dataclass_fields__: dict[str, dataclasses.Field[Any]]

    def __init__(self, *args: Any, **given: Any) -> None:
        kind, fields = type(self), self.__dataclass_fields__
        if args:
            names = [name for name, field in fields.items() if not field.kw_only]
            if len(args) > len(names):
                raise TypeError(f"{kind.__name__}() takes {len(names)} positional arguments")
            for name, value in zip(names, args, strict=False):
                if name in given:
                    raise TypeError(f"{kind.__name__}() got two values for {name!r}")
                given[name] = value
        for name, field in fields.items():
            if name in given:
                value = given.pop(name)
            elif field.default is not dataclasses.MISSING:
                value = field.default
            elif field.default_factory is not dataclasses.MISSING:
                value = field.default_factory()
            else:
                raise TypeError(f"{kind.__name__}() misses the argument {name!r}")
            object.__setattr__(self, name, value)
        if given:
            raise TypeError(f"{kind.__name__}() got the unexpected argument {min(given)!r}")
        check = getattr(kind, "__post_init__", None)
        if check is not None:
            check(self)

    def __repr__(self) -> str:
        fields = self.__dataclass_fields__.items()
        shown = (f"{name}={getattr(self, name)!r}" for name, field in fields if field.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _compared(self) == _compared(other)


class _FrozenMethods:
    """The further methods of a frozen class."""

    __dataclass_fields__: dict[str, dataclasses.Field[Any]]

    def __hash__(self) -> int:
        return hash(_compared(self))

    def __setattr__(self, name: str, _value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __getstate__(self) -> list[Any]:  # for copy and pickle, which would assign to the slots
        return [getattr(self, name) for name in self.__dataclass_fields__]

    def __setstate__(self, state: list[Any]) -> None:
        for name, value in zip(self.__dataclass_fields__, state, strict=True):
            object.__setattr__(self, name, value)


def _compared(value: Any) -> tuple[Any, ...]:
    fields = value.__dataclass_fields__.items()
    return tuple(getattr(value, name) for name, field in fields if field.compare)


def _functions(*kinds: type) -> dict[str, Any]:
    return {
        name: value
        for kind in kinds
        for name, value in vars(kind).items()
        if isinstance(value, FunctionType)
    }


_SHARED = _functions(_Methods)
_SHARED_BY_FROZEN = _functions(_Methods, _FrozenMethods)
