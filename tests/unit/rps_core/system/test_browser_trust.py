"""The answer to the question whether browsers are to trust a CA."""

from __future__ import annotations

from pathlib import Path

import pytest

from rps_core.system import paths
from rps_core.system.browser_trust import remember, remembered


@pytest.mark.parametrize("wanted", [True, False])
def test_yes_is_for_one_ca_and_no_for_all(tmp_path: Path, wanted: bool) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("one")
    assert remembered(ca) is None
    remember(ca, wanted=wanted)
    assert remembered(ca) is wanted
    ca.write_text("another")
    assert remembered(ca) is (None if wanted else False)


@pytest.mark.parametrize("text", ["", "[]", '{"wanted": "yes"}', '{"wanted": true}', "{"])
def test_another_content_is_no_answer(tmp_path: Path, text: str) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("one")
    remember(ca, wanted=True)
    file = paths.sessions_dir().with_name("browser-trust.json")
    file.write_text(text)
    file.chmod(0o600)
    assert remembered(ca) is None
