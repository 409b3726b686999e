"""A session's label: its form, and the sessions that NAME finds by it."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from rps_core.cli import completion
from rps_core.cli.main import rps
from rps_core.display.screen import Screen
from rps_core.errors import NotFoundError, UsageError
from rps_core.state import lookup
from rps_core.state.label import check_new
from rps_core.state.record import Secrets, SessionRecord
from rps_core.state.store import Store
from rps_core.system import paths
from tests.stands.record import NOW, RECORD

AN_HOUR_AGO = NOW.timestamp() - 3600


def made(name: str, label: str | None = None, *, ended: float | None = None) -> SessionRecord:
    """Store a session that has this label; `ended`: hours ago."""
    over = None if ended is None else NOW.timestamp() - 3600 * ended
    record = replace(
        RECORD,
        name=name,
        url=f"https://{name}.example.org/",
        label=label,
        ended=over,
        outcome=None if over is None else "ended",
    )
    store = Store(paths.sessions_dir())
    store.directory.mkdir(parents=True, exist_ok=True)
    store.create(record, Secrets("c" * 43, "token"))
    if over is not None:
        store.files(name).remove_secrets()
    return record


def found(wanted: str) -> str:
    return lookup.find(Store(paths.sessions_dir()), wanted).name


@pytest.mark.parametrize(
    "label",
    ["", "-rf", ".hidden", "a b", "a\nb", "caf\u00e9", "a/b", "x" * 41, "\x1b[31m", "$HOME"],
)
def test_what_cannot_be_a_label(label: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_new(label, [])
    assert "cannot be a session's label" in str(refused.value)
    assert str(refused.value).isprintable() or "\n" in str(refused.value)
    assert "\x1b" not in str(refused.value)


def test_a_label_that_a_running_session_has_is_refused_and_an_ended_ones_is_not() -> None:
    living, ended = made("one-two-three", "Fit"), made("four-five-six", "plot", ended=1)
    for label in ("fit", "FIT", "one-two-three"):
        with pytest.raises(UsageError, match="one-two-three"):
            check_new(label, [living, ended])
    check_new("plot", [living, ended])
    check_new("four-five-six", [living, ended])


def test_a_session_is_found_by_its_label() -> None:
    made("able-two-three", "fit")
    made("four-five-six", "plot", ended=2)
    made("nine-two-three", "plot", ended=1)
    assert [found(word) for word in ("fit", "FIT", "fi", "able")] == ["able-two-three"] * 4
    assert found("plot") == "nine-two-three"  # the last that had it
    with pytest.raises(UsageError, match=r"four-five-six \(plot\), nine-two-three \(plot\)"):
        found("plo")
    with pytest.raises(NotFoundError, match="Did you mean `fit`"):
        found("fut")


def test_a_name_comes_before_a_label_and_the_living_before_the_ended() -> None:
    made("able-two-three", "nine-two-three", ended=1)
    made("nine-two-three", ended=2)
    assert found("nine-two-three") == "nine-two-three"
    made("four-five-six", "fit", ended=1)
    made("five-six-seven", "fit")
    assert found("fit") == "five-six-seven"
    made("six-seven-eight", "fit")  # two starts at the same moment
    with pytest.raises(UsageError, match=r"ambiguous: .*five-six-seven \(fit\), six-seven-eight"):
        found("fit")


def test_a_record_of_an_earlier_version_has_no_label() -> None:
    made("one-two-three", "fit")
    store = Store(paths.sessions_dir())
    path = store.files("one-two-three").record_file
    values = json.loads(path.read_text())
    del values["label"]
    path.write_text(json.dumps(values))
    assert store.load("one-two-three").label is None
    path.write_text(json.dumps({**values, "label": "a\x1b[2Jb"}))
    assert "is not a session record" in CliRunner().invoke(rps, ["list"]).stderr


def test_labels_are_completed() -> None:
    made("one-two-three", "fit")
    made("four-five-six", "fit-2", ended=1)
    assert completion.sessions("fi", "living") == ["fit"]
    assert completion.sessions("fi", "any") == ["fit", "fit-2"]
    assert completion.sessions("", "ended") == ["four-five-six", "fit-2"]


def test_a_start_names_what_has_not_ended_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", NOW.timestamp)
    records = [
        made("four-five-six", ended=1),
        replace(made("one-two-three", "fit"), created=AN_HOUR_AGO),
    ]
    Screen(quiet=False).others(records)
    line = "You have another session: one-two-three (fit), 60 min old (`rps list`).\n"
    assert capsys.readouterr().err == line
    many = [replace(RECORD, name=f"able-{number}") for number in range(5)]
    Screen(quiet=False).others(many)
    shown = capsys.readouterr().err
    assert shown.startswith("You have other sessions: able-2, ")
    assert shown.endswith("; 2 more (`rps list`).\n")
    assert shown.count("\n") == 1
    Screen(quiet=True).others(records)
    Screen(quiet=False).others([records[0]])
    assert capsys.readouterr().err == ""


def forget(*names: str) -> tuple[int, str]:
    done = CliRunner().invoke(rps, ["forget", *names])
    error = str(done.exception or "")
    return getattr(done.exception, "exit_code", done.exit_code), done.output + error


def test_ended_sessions_are_forgotten_and_running_ones_are_not(tmp_path: Path) -> None:
    for number, name in enumerate(("one-two-three", "four-five-six", "seven-eight-nine")):
        made(name, f"fit{number}", ended=1)
    made("able-two-three", "plot")
    store = Store(paths.sessions_dir())
    code, text = forget("fit1", "plot")
    assert (code, "Cannot forget able-two-three (plot): it has not ended" in text) == (2, True)
    assert len(store.names()) == 4  # all or none
    code, text = forget("fit1", "no-such")
    assert (code, len(store.names())) == (7, 4)
    outside = tmp_path / "outside"
    outside.mkdir()
    (store.directory / "four-five-six" / "link").symlink_to(outside)
    assert forget("fit1") == (0, "four-five-six (fit1): forgotten\n")
    assert outside.is_dir()
    done = CliRunner().invoke(rps, ["forget", "--json"], catch_exceptions=False)
    assert sorted(json.loads(done.stdout)) == ["one-two-three", "seven-eight-nine"]
    assert store.names() == ["able-two-three"]
    assert forget() == (0, "No ended sessions to forget.\n")
