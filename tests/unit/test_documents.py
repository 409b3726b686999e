"""The documents name existing tests, files and link targets."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
# keepachangelog.com/en/1.1.0, here in the order of the alphabet.
HEADINGS = {"Added", "Changed", "Deprecated", "Fixed", "Removed", "Security"}
FOLDERS = r"tests|docs|benchmarks|conf|locks|sites|rps_core|rps_proxy|\.ci"


def document(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def tests() -> set[str]:
    """The names of all test files and functions."""
    names = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        names |= {file.stem, *re.findall(r"\bdef (test_\w+)", file.read_text("utf-8"))}
    return names


@pytest.mark.parametrize("path", DOCUMENTS, ids=document)
def test_each_test_that_is_named_is_there(path: Path, tests: set[str]) -> None:
    named = set(re.findall(r"\btest_\w+", path.read_text("utf-8")))
    assert sorted(named - tests) == []
    assert named or path.name.lower() != "security.md"


@pytest.mark.parametrize("path", DOCUMENTS, ids=document)
def test_each_file_of_the_project_that_is_named_is_there(path: Path) -> None:
    named = set(re.findall(rf"`((?:{FOLDERS})/[\w./-]*)`", path.read_text("utf-8")))
    assert sorted(name for name in named if not (ROOT / name).exists()) == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=document)
def test_each_link_leads_somewhere(path: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub and GitLab make them."""
    found = set()
    for heading in re.findall(r"^#+ (.*)$", prose(path), re.MULTILINE):
        found.add(re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-"))
    return found


def test_the_changelog_has_each_heading_and_entry_once() -> None:
    for release in re.split(
        r"^## ", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE
    ):
        headings = re.findall(r"^### (.*)$", release, re.MULTILINE)
        assert headings == sorted(set(headings) & HEADINGS)
        entries = re.split(r"^- ", release, flags=re.MULTILINE)[1:]
        assert len(entries) == len(set(entries))


def prose(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_the_picture_of_the_packages_is_current() -> None:
    """`make docs` draws it again."""
    spec = importlib.util.spec_from_file_location("draw_packages", ROOT / "docs/draw_packages.py")
    assert spec is not None
    assert spec.loader is not None
    drawing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawing)
    assert drawing.page() == drawing.PAGE.read_text("utf-8")
