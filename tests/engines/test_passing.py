"""The table of docs/operators.md on what engines pass, compared and written here.

`RPS_WRITE_TABLE=1 pytest tests/engines/test_passing.py` writes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines.passing import ROWS, passes
from tests.engines.stand import Carried

DOCUMENT = Path(__file__).parents[2] / "docs" / "operators.md"
WRITE = os.environ.get("RPS_WRITE_TABLE") == "1"
BEFORE, AFTER = "<!-- Written by tests/engines/test_passing.py -->\n", "<!-- End of it -->\n"
HEADINGS = ["", "embedded", "haproxy", "apache", "why they differ"]
REASONS = {
    "request head of 400 KB": "HAProxy's buffer and nghttp2's (Apache's library) hold some 128 KB of a head. "
    "What does not fit cannot be decoded, nor what follows on the connection",
    "answer with a field of 100 KB": "nghttp2 sends heads of 64 KB at most",
    "window of an upload over HTTP/2, at first": "Apache keeps in memory what it was sent, up to a window "
    "for each stream, and makes that larger as it is used, up to 2 MiB",
    "path `/../a`": "Apache looks at paths itself",
    "path `/a%00b`": "Apache looks at paths itself",
}


def read() -> dict[str, list[str]]:
    """Return the rows as they are in the document."""
    text = DOCUMENT.read_text()
    lines = text[text.index(BEFORE) + len(BEFORE) : text.index(AFTER)].strip().splitlines()[2:]
    rows = {title: ["", "", "", ""] for title in ROWS}
    for line in lines:
        title, *found = [cell.strip() for cell in line.strip()[1:-1].split(" | ")]
        rows[title] = (found + [""] * 4)[:4]
    return rows


def write(rows: dict[str, list[str]]) -> None:
    table = [
        HEADINGS,
        ["---"] * 5,
        *([title, *found] for title, found in rows.items() if title in ROWS),
    ]
    lines = "".join(f"| {' | '.join(line)} |\n" for line in table)
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEFORE)
    DOCUMENT.write_text(before + BEFORE + lines + AFTER + rest.partition(AFTER)[2])


@pytest.mark.parametrize("row", ROWS)
def test_the_table_says_what_is_passed(
    carried: Carried, row: str, need: Callable[[str], str]
) -> None:
    """A row that differs between engines says why."""
    found = passes(carried, row, need("curl")).replace("|", "\\|")
    rows = read()
    column = HEADINGS.index(carried.stand.kind) - 1
    if WRITE:
        rows[row][column] = found
        rows[row][3] = REASONS.get(row, "")
        write(rows)
    assert rows[row][column] == found
    assert row in REASONS or len(set(filter(None, rows[row][:3]))) <= 1
