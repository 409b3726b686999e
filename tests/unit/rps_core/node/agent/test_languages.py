"""The choice of a page's language by Accept-Language, and what it never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rps_core.node.agent.languages import preferred

OURS = ("de", "en", "es", "fr", "pt-br")


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-CH, de;q=0.9, en;q=0.8", "de"),
        ("DE-at", "de"),
        ("en;q=0.5, fr;q=0.7", "fr"),
        ("fr;q=0.7, en;q=0.7", "fr"),  # the first of equals
        ("it, nl;q=0.9, es;q=0.1", "es"),
        ("it, nl", "en"),
        ("it, *;q=0.1", "en"),
        ("de;q=0, *", "en"),
        ("en;q=0, *;q=0.5", "de"),
        ("de;q=0, fr;q=0.001", "fr"),
        ("pt", "pt-br"),
        ("pt-BR;q=1.000", "pt-br"),
        ("pt-PT, fr;q=0.5", "fr"),
        ("zh-hant-tw", "en"),
        ("de;q=2, fr;q=0.3", "fr"),  # malformed ranges are left out
        ("de;level=1, fr", "fr"),
        ("<script>, es", "es"),
        ("fr" + ", x" * 100_000, "fr"),
    ],
)
def test_the_most_wanted_language(accepted: str, language: str) -> None:
    assert preferred(accepted, OURS) == language


@given(accepted=st.text() | st.text(alphabet="deens-*;q=0.19, "))
def test_any_field_gets_a_language_that_there_is(accepted: str) -> None:
    assert preferred(accepted, OURS) in OURS
