"""The texts of the login page: whole in each language, and chosen by the browser."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from rps_core.node.agent import languages

sys.modules.setdefault("rps_languages", languages)  # as jupyter_config.py does
from rps_core.node.agent import login_page  # noqa: E402

FILE = Path(login_page.__file__).with_name("login_page.json")
TEXTS: dict[str, dict[str, str]] = json.loads(FILE.read_text("utf-8"))
HOST = "tame-blue-owl.comet.example.org"


def form(page: Any, **values: str | None) -> str:
    usual = {"until": None, "action": "/login", "link": "once-1", "leads_on": "/", "xsrf": ""}
    return str(page.form(**{**usual, **values}))


def test_each_language_has_all_texts_and_their_values() -> None:
    assert set(TEXTS) == {"en", "de", "es", "fr"}
    english = TEXTS["en"]
    for tag, ours in TEXTS.items():
        assert ours.keys() == english.keys(), tag
        for key, text in ours.items():
            for mark in r"{\w+}", "`[^`]+`":
                assert re.findall(mark, text) == re.findall(mark, english[key]), (tag, key)
            assert tag == "en" or text != english[key], (tag, key)


@pytest.mark.parametrize(
    ("accepted", "tag"), [("", "en"), ("de-AT, en;q=0.5", "de"), ("nl", "en"), ("fr", "fr")]
)
def test_the_browser_chooses_the_language(accepted: str, tag: str) -> None:
    page = login_page.Texts(str(FILE)).page(accepted, HOST)
    assert page.tag == tag
    for text in form(page), form(page, until="now"), *map(page.refusal, ("", "once-1", "share-a")):
        assert f'<html lang="{tag}">' in text
        assert "· tame-blue-owl</title>" in text
        assert not re.search("[{`]", text.replace(login_page.STYLE, ""))
    assert f"<button autofocus>{TEXTS[tag]['open']}</button>" in form(page)
    assert "<code>rps url tame-blue-owl</code>" in page.refusal("")


def test_what_a_link_brings_is_no_html() -> None:
    page = login_page.Texts(str(FILE)).page("", '"><script>.x')
    for text in page.refusal(""), form(page, link='"><script>', leads_on='"><script>'):
        assert "<script" not in text
