"""The dataclasses with shared methods behave as those of the standard library."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from rps_core import values


def _kinds(make: Callable[..., Any]) -> tuple[Any, Any, Any]:
    @make(frozen=True, slots=True)
    class Point:
        x: int
        y: int = 0
        note: str = dataclasses.field(default="", repr=False, compare=False)

    @make(frozen=True, slots=True, kw_only=True)
    class Checked:
        names: list[str] = dataclasses.field(default_factory=list)
        most: int

        def __post_init__(self) -> None:
            if self.most < 0:
                raise ValueError(self.most)

    @make
    class Open:
        value: int

        def __repr__(self) -> str:
            return "its own"

    return Point, Checked, Open


BOTH = pytest.mark.parametrize(
    "make", [dataclasses.dataclass, values.dataclass], ids=["standard", "shared"]
)


@BOTH
def test_values_are_built_shown_and_compared(make: Callable[..., Any]) -> None:
    point, checked, open_ = _kinds(make)
    assert repr(point(1)).endswith("Point(x=1, y=0)")
    assert point(1, note="a") == point(x=1, y=0, note="b") != point(1, 2)
    assert point(1) != (1, 0)
    assert {point(1): "found"}[point(1)] == "found"
    assert checked(most=1).names is not checked(most=1).names
    assert dataclasses.replace(point(1), y=5) == point(1, 5)
    assert dataclasses.asdict(checked(most=1)) == {"names": [], "most": 1}
    assert [field.name for field in dataclasses.fields(checked)] == ["names", "most"]
    assert point.__match_args__ == ("x", "y", "note")
    assert repr(open_(1)) == "its own"
    with pytest.raises(ValueError, match="-1"):
        checked(most=-1)


@BOTH
@pytest.mark.parametrize(
    "wrong",
    [
        lambda point, *_: point(),
        lambda point, *_: point(1, 2, "", 4),
        lambda point, *_: point(1, x=2),
        lambda point, *_: point(1, z=2),
        lambda _, checked, __: checked([], 1),
        lambda _, __, open_: {open_(1)},
    ],
    ids=["missing", "too many", "twice", "unknown", "by position", "unhashable"],
)
def test_wrong_arguments_are_type_errors(make: Callable[..., Any], wrong: Any) -> None:
    kinds = _kinds(make)
    with pytest.raises(TypeError):
        wrong(*kinds)


@BOTH
def test_a_frozen_value_stays_as_it_is(make: Callable[..., Any]) -> None:
    point, _, open_ = _kinds(make)
    value = point(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.x = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del value.x
    assert not hasattr(value, "__dict__")
    changed = open_(1)
    changed.value = 2
    assert changed.value == 2


@values.dataclass(frozen=True, slots=True)
class Sent:
    """A value that is copied and pickled."""

    x: int


def test_a_frozen_value_is_copied_and_pickled() -> None:
    assert copy.copy(Sent(1)) == copy.deepcopy(Sent(1)) == pickle.loads(pickle.dumps(Sent(1)))


@BOTH
def test_annotations_are_kept_and_what_is_no_field_is_none(make: Callable[..., Any]) -> None:
    @make(frozen=True, slots=True)
    class Kind:
        least: int | None = None
        _: dataclasses.KW_ONLY
        names: list[str]

    Limits: Any = Kind  # noqa: N806 - a class
    assert [(field.name, field.type) for field in dataclasses.fields(Limits)] == [
        ("least", "int | None"),
        ("names", "list[str]"),
    ]
    assert list(Limits.__annotations__) == ["least", "_", "names"]
    assert Limits(names=[]).least is None
    with pytest.raises(TypeError):
        Limits(1, [])
