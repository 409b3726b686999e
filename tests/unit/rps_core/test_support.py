"""The contact (`support` in the configuration) in every error and advice."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rps_core import support
from rps_core.cluster import find
from rps_core.config.settings import Overrides
from rps_core.diagnosis import causes
from rps_core.display.wording import error_text
from rps_core.doctor import page
from rps_core.doctor.checkup import Checkup, failed
from rps_core.doctor.page import Line
from rps_core.errors import SchedulerError, UsageError
from rps_core.jobs import JobPhase, Known
from rps_core.proxy_client.endpoint import configured_endpoint
from rps_core.sessions import status
from rps_core.sessions.explain import Explanation
from rps_core.sessions.session import SessionView
from rps_core.state.record import Secrets
from rps_core.state.store import Store
from rps_core.support import PHRASE, with_contact
from tests.stands.record import RECORD

ROOT = Path(__file__).parents[3]
GIVEN = {"support.name": "the HPC team", "support.url": "https://help.example.org",
         "support.email": "help@example.org"}  # fmt: skip
CONTACT = "the HPC team (https://help.example.org, help@example.org)"


@pytest.fixture(autouse=True)
def _unset() -> Iterator[None]:
    yield
    support.set_contact(None, None, None)


def configure(**given: str) -> None:
    find("comet", Overrides(options={**GIVEN, **given}))


@pytest.mark.parametrize(
    ("contact", "expected"),
    [
        ((None, None, None), PHRASE),
        (("the HPC team", None, None), "the HPC team"),
        ((None, "https://help.example.org", None), f"{PHRASE} (https://help.example.org)"),
        (("the HPC team", None, "help@example.org"), "the HPC team (help@example.org)"),
        (tuple(GIVEN.values()), CONTACT),
    ],
)
def test_the_contact_takes_the_phrases_place(
    contact: tuple[str | None, str | None, str | None], expected: str
) -> None:
    support.set_contact(*contact)
    assert with_contact(f"Ask {PHRASE} why.") == f"Ask {expected} why."


def test_a_configuration_without_a_contact_takes_the_last_ones_away() -> None:
    configure()
    assert with_contact(PHRASE) == CONTACT
    find("comet")
    assert with_contact(PHRASE) == PHRASE


def test_every_message_says_the_phrase_itself() -> None:
    """Test for one phrase in all messages: the contact replaces this phrase."""
    said = re.compile(
        r"(?:the|your|this)\s+(?:cluster|site)(?:'s|s)?\s+support\b|\bcontact support\b", re.I
    )
    found = [
        (path, match[0])
        for folder in ("rps_core", "sites")
        for path in (ROOT / folder).rglob("*.py")
        for match in said.finditer(path.read_text())
    ]
    assert len(found) > 20
    assert {text for _, text in found} == {PHRASE}


def test_an_error_names_the_contact() -> None:
    configure()
    error = SchedulerError("It failed", f"Ask {PHRASE}.")
    assert error_text(error) == f"rps: It failed\nAsk {CONTACT}."


def test_a_service_that_is_not_configured_is_reported_with_the_contact() -> None:
    here = find("generic", Overrides(options=GIVEN))
    with pytest.raises(UsageError) as refused:
        configured_endpoint(here.loaded)
    assert f"ask {CONTACT} for it." in error_text(refused.value)


def test_the_advice_of_each_cause_names_it() -> None:
    configure()
    advised = 0
    for word in (*causes.OVER, *causes.LIVING):
        over = word in causes.OVER
        if PHRASE in causes.advice_for(word, "x", over=over):
            advised += 1
            state = "ended" if over else "unknown"
            view = SessionView(record=RECORD, state=state, reason=None, cause=word, url=None)
            answer = Explanation(view, word, ())
            assert CONTACT in answer.advice
            assert CONTACT in json.dumps(answer.as_json())
            assert PHRASE not in answer.advice
    assert advised > 4


def test_the_advice_of_a_waiting_job_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure()
    waits = Known(phase=JobPhase.PENDING, cause="held", advice=f"Ask {PHRASE} why it is held.")
    store = Store(tmp_path / "sessions")
    store.directory.mkdir(mode=0o700)
    store.create(RECORD, Secrets("claim", "token"))
    monkeypatch.setattr(status, "_ask_service", lambda *_: (None, None))
    found = status.inspect(replace(RECORD, ended=None), waits, None, store)
    assert found.advice == f"Ask {CONTACT} why it is held."


def test_the_doctor_names_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure()
    monkeypatch.setenv("COLUMNS", "200")
    line = Line("scheduler", failed("it is down", f"Ask {PHRASE}."))
    page._print_line(line, first=True)
    assert f"-> Ask {CONTACT}." in capsys.readouterr().out
    case = Checkup(None, (), Store(Path("/nowhere")), fix=False, inside=False)
    assert f"Ask {CONTACT}." in json.dumps(page._as_json(case, [line]))


@pytest.mark.parametrize(
    ("key", "value"),
    [("support.name", "a\nb"), ("support.name", "x" * 101), ("support.url", "javascript:alert(1)"),
     ("support.url", "https://a b"), ("support.email", "not an address"), ("support.email", "a@b\n")],
)  # fmt: skip
def test_what_is_no_contact_is_refused(key: str, value: str) -> None:
    with pytest.raises(UsageError, match=f"`{key}` is "):
        configure(**{key: value})
