"""Login links: made with the token alone, used up in order; shares that end by a clock that is never set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rps_core.node.agent.login_link import (
    Once,
    Share,
    link,
    number_in,
    share_in,
    without_links,
    word_of,
)

TOKEN = "0123456789abcdef" * 2


def test_a_link_is_made_with_the_token() -> None:
    text = link(TOKEN, "once-17")
    assert word_of(TOKEN, text) == "once-17"
    assert word_of(TOKEN[:-1] + "0", text) is None
    assert TOKEN not in text
    assert link(TOKEN, "once-18")[-32:] != text[-32:]


@pytest.mark.parametrize(
    "text",
    ["", TOKEN, "once-1", "once-1-", "once-0-" + "0" * 32, "once-1-" + "0" * 32, "share-../etc-" + "0" * 32,
     "once-1-" + "0" * 31 + "\u0660", "once-1234567890-" + "0" * 32],
)  # fmt: skip
def test_what_is_no_link(text: str) -> None:
    assert word_of(TOKEN, text) is None


@pytest.mark.parametrize(
    "word", ["once-0", "once-01", "once--1", "once-1234567890", "share-", "share-../../x", "x-1"]
)
def test_a_word_of_another_form_is_none_whatever_its_signature(word: str) -> None:
    assert word_of(TOKEN, link(TOKEN, word)) is None


def test_no_log_has_a_link() -> None:
    """Test a line of Jupyter Server 2.0.0, recorded."""
    for word in "once-2", "share-aaaaaaaa":
        line = b"[W 2026-11-30 00:40:29.763 ServerApp] 403 GET /login?token=%s (@127.0.0.1) 22.72ms"
        whole = line % link(TOKEN, word).encode()
        assert without_links(whole) == line % f"{word}-[secret]".encode()
        assert without_links(line % word.encode()) == line % word.encode()


def test_a_link_that_was_used_and_those_before_it_work_no_more(tmp_path: Path) -> None:
    directory = tmp_path / "links"
    once = Once(str(directory))
    assert once.is_good("once-1")  # no file of the launcher has reached the node yet
    once.use("once-2")
    once.note()
    for accepting in once, Once(str(directory)):  # and after Jupyter was started again
        assert [accepting.is_good(f"once-{number}") for number in (1, 2, 3)] == [False, False, True]
    (directory / "made").write_text("5\n")
    assert [once.is_good(f"once-{number}") for number in (3, 4, 5, 6)] == [False, False, True, True]
    assert (directory.stat().st_mode & 0o777, number_in(str(directory), "used")) == (0o700, 2)


@pytest.mark.parametrize("content", ["", "x", "1e400", "\udcff", "9" * 5000])
def test_a_file_without_a_number_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "made").write_text(content, errors="surrogateescape")
    assert number_in(str(tmp_path), "made") == 0


class Clocks:
    """A clock that can be set, and one that cannot."""

    def __init__(self) -> None:
        self.wall, self.monotonic = 1_000_000.0, 50.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def share(tmp_path: Path, clocks: Clocks) -> Callable[[float], Share]:
    """Return a share of so many seconds, which Jupyter has seen."""

    def made(seconds: float) -> Share:
        times = {"created": clocks.wall, "until": clocks.wall + seconds}
        (tmp_path / "share-aaaaaaaa.json").write_text(json.dumps(times))
        found = Share(
            str(tmp_path), "share-aaaaaaaa", lambda: clocks.wall, lambda: clocks.monotonic
        )
        assert found.is_good()
        return found

    return made


def test_a_share_ends_by_itself(share: Callable[[float], Share], clocks: Clocks) -> None:
    found = share(3600)
    clocks.pass_by(3599)
    assert found.is_good()
    clocks.pass_by(1.5)
    assert not found.is_good()


@pytest.mark.parametrize("jump", [-86400.0, -1800.0])
def test_a_clock_that_is_set_back_makes_no_share_longer(
    share: Callable[[float], Share], clocks: Clocks, jump: float
) -> None:
    found = share(3600)
    clocks.wall += jump
    clocks.pass_by(3599)
    assert found.is_good()
    clocks.pass_by(1.5)
    assert not found.is_good()


def test_a_clock_that_is_set_forward_ends_a_share(
    share: Callable[[float], Share], clocks: Clocks
) -> None:
    found = share(3600)
    clocks.wall += 7200
    clocks.pass_by(1.5)
    assert not found.is_good()
    clocks.wall -= 7200
    clocks.pass_by(1.5)
    assert not found.is_good()  # it does not come back


def test_a_node_whose_clock_is_behind_makes_no_share_longer(
    share: Callable[[float], Share], clocks: Clocks, tmp_path: Path
) -> None:
    share(3600)
    clocks.wall -= 86400
    late = Share(str(tmp_path), "share-aaaaaaaa", lambda: clocks.wall, lambda: clocks.monotonic)
    assert late.is_good()
    clocks.pass_by(3600.5)
    assert not late.is_good()


def test_a_share_that_was_taken_back_never_works_again(
    share: Callable[[float], Share], clocks: Clocks, tmp_path: Path
) -> None:
    found = share(3600)
    path = tmp_path / "share-aaaaaaaa.json"
    text = path.read_text()
    path.unlink()
    clocks.pass_by(1.5)
    assert not found.is_good()
    path.write_text(text)
    clocks.pass_by(1.5)
    assert not found.is_good()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"created": 1}', '{"created": "x", "until": 2}',
                '{"created": 1, "until": 1e300}', '{"created": 1, "until": NaN}', "[" * 5000]
)  # fmt: skip
def test_a_damaged_share_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "share-aaaaaaaa.json").write_text(content)
    assert share_in(str(tmp_path), "share-aaaaaaaa") is None
    assert not Share(str(tmp_path), "share-aaaaaaaa").is_good()


def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('{"created": 1, "until": 200000000000}')
    (tmp_path / "share-aaaaaaaa.json").symlink_to("elsewhere")
    assert share_in(str(tmp_path), "share-aaaaaaaa") is None
