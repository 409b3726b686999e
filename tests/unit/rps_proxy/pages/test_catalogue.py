"""The pages' texts: whole in each language, and what a site's files may change."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rps_core.errors import UsageError
from rps_proxy.cli.check import check
from rps_proxy.pages import catalogue
from rps_proxy.pages.appearance import LARGEST_LOGO, Appearance, appearance, read_logo
from rps_proxy.pages.catalogue import Catalogue, site_texts
from rps_proxy.pages.render import PAGES, Pages
from rps_proxy.pages.state import CAUSES, PageState
from rps_proxy.settings.loading import load

PACKAGED = ("de", "en", "es", "fr")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def texts_of(tag: str) -> dict[str, str]:
    return dict(catalogue._packaged(tag))


@pytest.mark.parametrize("tag", PACKAGED)
def test_each_language_has_all_texts_and_their_values(tag: str) -> None:
    ours, english = texts_of(tag), texts_of("en")
    assert ours.keys() | {"direction"} == english.keys()
    for key, text in ours.items():
        assert catalogue._fault(key, text) is None, key
        assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", english[key])), key
        assert re.findall(r"`[^`]+`", text) == re.findall(r"`[^`]+`", english[key]), key


def test_each_cause_has_words_and_no_other() -> None:
    named = {key.removeprefix("causes.") for key in texts_of("en") if key.startswith("causes.")}
    assert named == set(CAUSES)


@pytest.mark.parametrize("tag", PACKAGED)
@pytest.mark.parametrize("state", PAGES)
def test_each_page_is_in_its_language(state: str, tag: str) -> None:
    language = Catalogue().language(tag)
    page = Pages().html(PageState(state, "held", name="a-b-c"), language)
    assert f'<html lang="{tag}" dir="ltr"' in page
    assert language.html(f"headings.{state}") in page
    without_script = re.sub("<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search("[${`]", without_script)


def test_a_site_replaces_texts_and_adds_a_language(tmp_path: Path) -> None:
    (tmp_path / "en.yaml").write_text("headings: {queued: In line}\ntitle: Comet\n")
    (tmp_path / "de.yaml").write_text("message: Wartung am Montag\n")
    (tmp_path / "AR.yaml").write_text("direction: rtl\nheadings:\n  queued: في الطابور\n")
    (tmp_path / "README").write_text("not a language")
    texts, faults = site_texts(tmp_path)
    assert [fault.partition(": ")[0] for fault in faults] == [str(tmp_path / "AR.yaml")]
    assert "it lacks" in faults[0]
    look = Appearance(title="San Diego", message="Maintenance on Monday", texts=texts)
    pages = Pages(look)
    queued = PageState("queued")

    def page(accepted: str) -> str:
        return pages.html(queued, pages.catalogue.preferred(accepted))

    assert '<h1 id="title">In line</h1>' in page("en")
    assert "Maintenance on Monday" in page("en")
    assert "Wartung am Montag" in page("de")
    assert '<h1 id="title">In der Warteschlange</h1>' in page("de-CH")
    arabic = page("ar-EG")
    assert '<html lang="ar" dir="rtl"' in arabic
    assert "في الطابور" in arabic
    assert "Your job is waiting in the queue." in arabic  # what the file lacks


@pytest.mark.parametrize(
    ("text", "line", "fault"),
    [
        ("\nheadings:\n  quoted: x\n", 3, "no such key"),
        ("nothing: x\n", 1, "no such key"),
        ("headings: [a, b]\n", 1, "no such key"),
        ("headings:\n  queued: [a, b]\n", 2, "it must be text"),
        ("headings:\n  queued:\n", 2, "it must be text"),
        ("texts:\n  queued-why: '{because}'\n", 2, "no {because}"),
        ("headings:\n  queued: '{why}'\n", 2, "no {why}"),
        ('headings:\n  queued: "a\\u202eb"\n', 2, "one printable line"),
        ("headings:\n  queued: " + "x" * 1001 + "\n", 2, "one printable line"),
        ("direction: up\n", 1, "ltr or rtl"),
        ("headings:\n\tqueued: x\n", 2, "not valid YAML"),
        ("a: 1\na: 2\n", 2, "given twice"),
    ],
)
def test_a_mistake_is_said_with_file_and_line(
    tmp_path: Path, text: str, line: int, fault: str
) -> None:
    file = tmp_path / "de.yaml"
    file.write_text(text)
    texts, faults = site_texts(tmp_path)
    assert len(faults) == 1
    assert faults[0].startswith(f"{file}:{line}: ")
    assert fault in faults[0]
    shown = Catalogue(texts).language("de").plain("headings.queued")
    assert shown == "In der Warteschlange"


def test_files_that_cannot_be_used_cost_no_other(tmp_path: Path) -> None:
    (tmp_path / "es.yaml").write_bytes(b"\xff\xfe")
    (tmp_path / "fr.yaml").write_text("a" * (catalogue.LARGEST_FILE + 1))
    (tmp_path / "deutsch.yaml").write_text("a: b")
    (tmp_path / "de.yaml").write_text("headings: {queued: Warten}")
    texts, faults = site_texts(tmp_path)
    assert set(texts) == {"de"}
    assert {fault.partition(":")[0] for fault in faults} == {
        str(tmp_path / name) for name in ("es.yaml", "fr.yaml", "deutsch.yaml")
    }
    with pytest.raises(UsageError, match="could not read"):
        site_texts(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"<?xml version='1.0'?>\n<!-- by hand -->\n<!DOCTYPE svg>\n<svg>", "image/svg+xml"),
        (b"<html><svg></svg></html>", None),
        (b"GIF89a", None),
        (b"", None),
        (PNG + b"\0" * LARGEST_LOGO, None),
    ],
)
def test_a_logo_is_an_image_of_a_known_type_and_size(
    tmp_path: Path, content: bytes, kind: str | None
) -> None:
    file = tmp_path / "logo.png"
    file.write_bytes(content)
    if kind is None:
        with pytest.raises(UsageError, match="PNG, JPEG, WebP or SVG"):
            read_logo(file)
    else:
        assert read_logo(file).type == kind


def test_what_is_not_usable_keeps_no_service_from_starting(tmp_path: Path) -> None:
    own = [f"directory={tmp_path}/service", "engine=embedded"]
    settings = load(None, [*own, f"pages.logo={tmp_path}/none", f"pages.texts={tmp_path}/none"])
    look, logo, faults = appearance(settings)
    assert (look.has_logo, logo, look.texts) == (False, None, None)
    assert len(faults) == 2
    assert set(faults) <= set(check(settings))  # `rps proxy check`


def test_site_texts_are_no_html() -> None:
    look = Appearance(title="<b>A</b>", message="<script>alert(1)</script> & more", has_logo=True)
    page = Pages(look).html(PageState("queued"), Catalogue().language("en"))
    assert "<span>&lt;b&gt;A&lt;/b&gt;</span>" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert '<img src="/.rps/logo" alt="">' in page
