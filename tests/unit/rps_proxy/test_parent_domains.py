"""The domains above the service's for which a session can set cookies."""

from __future__ import annotations

from pathlib import Path

import pytest

from rps_proxy import parent_domains as parents
from rps_proxy.parent_domains import shared_parents

# Some lines in the list's format, of which these are examples: github.com/publicsuffix/list/wiki/Format
LIST = """
// ===BEGIN ICANN DOMAINS===
org
uk
co.uk
*.ck
!www.ck

// ===BEGIN PRIVATE DOMAINS===
content.example.org   and what stands behind a space
"""


@pytest.mark.parametrize(
    ("domain", "shared"),
    [
        ("rps-example.org", []),
        ("rps.example.org", ["example.org"]),
        ("rps.hpc.example.org", ["hpc.example.org", "example.org"]),
        ("content.example.org", []),
        ("rps.content.example.org", []),
        ("a.rps.content.example.org", ["rps.content.example.org"]),
        ("example.co.uk", []),
        ("rps.example.co.uk", ["example.co.uk"]),
        ("rps.any.ck", []),
        ("a.rps.any.ck", ["rps.any.ck"]),
        ("rps.www.ck", ["www.ck"]),
        ("rps.localhost", []),
        ("rps.unknown", []),
        ("a.rps.unknown", ["rps.unknown"]),
    ],
)
def test_with_a_list(domain: str, shared: list[str], tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_text(LIST)
    assert shared_parents(domain, file) == shared


@pytest.mark.parametrize(
    ("domain", "shared"),
    [
        ("rps-example.org", []),
        ("rps.localhost", []),
        ("rps.example.org", ["example.org"]),
        ("example.co.uk", ["co.uk"]),  # for nothing, and said so
        ("rps.hpc.example.org", ["hpc.example.org", "example.org"]),
    ],
)
def test_without_one(domain: str, shared: list[str], tmp_path: Path) -> None:
    assert shared_parents(domain, tmp_path / "none") == shared


def test_the_warning_names_the_way_out() -> None:
    assert parents.warning("rps.localhost") is None
    said = parents.warning("rps.example.org") or ""
    assert "cookies for example.org too" in said
    assert "registrable domain of its own" in said
