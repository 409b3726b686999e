"""The audit log's cap, minute by minute."""

from __future__ import annotations

import json
from pathlib import Path

from rps_proxy.control.audit import Audit
from rps_proxy.control.counters import Counters


def test_a_minute_that_is_over_tells_what_it_left_out(tmp_path: Path) -> None:
    now = 0.0
    file = tmp_path / "audit.log"
    audit = Audit(file, 2, Counters(), clock=lambda: now)
    for _ in range(5):
        audit.note("refusal", source="192.0.2.1", cause="limit")
    now = 59.0
    audit.sweep()
    assert len(file.read_text().splitlines()) == 2
    now = 60.0
    audit.sweep()
    audit.note("refusal", source="192.0.2.1", cause="limit")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["refusal", "refusal", "dropped", "refusal"]
    assert (lines[2]["of"], lines[2]["number"]) == ("refusal", 3)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "audit.log").symlink_to(tmp_path / "elsewhere")
    counters = Counters()
    Audit(tmp_path / "audit.log", 2, counters).note("issue")
    assert not (tmp_path / "elsewhere").exists()
    assert counters.items() == [("audit-dropped", {"kind": "issue"}, 1)]
