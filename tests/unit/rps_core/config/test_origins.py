"""The origins that a session may allow beside its own."""

from __future__ import annotations

from typing import Any

import pytest

from rps_core.config.origins import are_origins


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["https://dashboard.example.org"],
        ["https://a.example:8443", "http://localhost:3000", "http://127.0.0.1", "https://x"],
    ],
)
def test_what_may_be_named(given: list[str]) -> None:
    assert are_origins(given)
    assert are_origins(tuple(given))


@pytest.mark.parametrize(
    "given",
    [
        None,
        "https://a.example",
        {"https://a.example": 1},
        [1],
        ["*"],
        ["null"],
        [""],
        ["https://*.example"],
        ["http://a.example"],
        ["http://localhost.evil.example"],
        ["https://A.example"],
        ["https://a.example/"],
        ["https://a.example:443"],
        ["https://a.example:0"],
        ["https://user@a.example"],
        ["https://a.example|https://b.example"],
        ["https://a.example https://b.example"],
        ["https://a.example\n"],
        ["https://" + "a" * 300],
        ["vscode-file://vscode-app"],
        [f"https://{letter}.example" for letter in "abcde"],
    ],
)
def test_what_may_not(given: Any) -> None:
    assert not are_origins(given)
