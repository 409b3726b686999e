"""What is shown of a session that waits: why, in whose words, until when, and how old that is."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from rps_core import interface, listing, sessions
from rps_core.cli import _run, rps
from rps_core.client import ServiceState
from rps_core.errors import SchedulerError
from rps_core.follow import Sight
from rps_core.models import JobPhase, JobStatus, Known
from rps_core.record import Endpoint, Record, Secrets
from rps_core.screen import Area
from rps_core.session import Session
from rps_core.store import Store
from rps_core.wording import age_of_estimate, reason_in_full, state_in_words

NOW = datetime.now(UTC)
RECORD = Record(
    name="one-two-three", tag="rps:one-two-three:0", cluster="comet", site="comet", scheduler="slurm",
    url="https://one-two-three.example.org/", endpoint=Endpoint(host="manage.example.org", port=443),
    own_service=False, app="lab", directory="/home/alice", walltime=1800, created=NOW.timestamp(),
    job_id="7",
)  # fmt: skip


@pytest.fixture(autouse=True)
def in_california(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def session(**more: Any) -> Session:
    told = {"reason": "it is next, as soon as nodes are free", "raw_reason": "Resources", **more}
    return Session(record=RECORD, state="pending", url=None, **told)


def test_the_raw_code_is_kept_beside_the_plain_words() -> None:
    assert state_in_words(session()) == (
        "waiting in the queue: it is next, as soon as nodes are free (Resources)"
    )
    assert reason_in_full(session(reason="NewCode", raw_reason="NewCode")) == "NewCode"
    assert reason_in_full(session(reason=None, raw_reason=None)) == ""
    assert state_in_words(session(reason=None, raw_reason=None)) == "waiting in the queue"


def test_an_estimate_is_told_in_local_time_with_its_date_where_it_is_not_today() -> None:
    far = datetime(2031, 5, 7, 21, 5, tzinfo=UTC)
    assert reason_in_full(session(estimated_start=far)).endswith(
        "(Resources); estimated start Wed 07 May 14:05"
    )
    soon = NOW + timedelta(minutes=1)
    local = soon.astimezone()
    if local.date() == datetime.now(UTC).astimezone().date():  # not across midnight
        assert f"estimated start {local:%H:%M}" in reason_in_full(session(estimated_start=soon))
    past = datetime(2021, 5, 7, 21, 5, tzinfo=UTC)
    assert reason_in_full(session(estimated_start=past)).endswith("14:05, which has passed")
    alone = session(estimated_start=far, reason=None, raw_reason=None)
    assert reason_in_full(alone) == "estimated start Wed 07 May 14:05"


@pytest.mark.parametrize(
    ("seconds", "told"), [(20, "s ago)"), (130, " (as of 2 min ago)"), (-5, " (as of 0 s ago)")]
)
def test_an_estimate_has_an_age(seconds: int, told: str) -> None:
    given = datetime.now(UTC) - timedelta(seconds=seconds)
    shown = age_of_estimate(session(estimated_start=NOW, estimated_at=given))
    assert shown.endswith(told)
    assert age_of_estimate(session()) == ""


def test_lists_and_the_page_of_one_session_tell_it(capsys: pytest.CaptureFixture[str]) -> None:
    far = session(
        estimated_start=datetime(2031, 5, 7, 21, 5, tzinfo=UTC), node="n1", node_name="n1.local"
    )
    told = "it is next, as soon as nodes are free (Resources); estimated start Wed 07 May 14:05"
    listing.print_table([far])
    assert told in capsys.readouterr().out
    interface.print_session(far)
    shown = capsys.readouterr().out
    assert f"reason:    {told}\n" in shown
    assert "node:      n1.local\n" in shown


def test_plain_lines_do_not_repeat_themselves_as_an_estimate_ages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = interface.Screen(quiet=False)
    for age in (0, 20, 90):
        given = datetime.now(UTC) - timedelta(seconds=age)
        seen = session(estimated_start=datetime(2031, 5, 7, tzinfo=UTC), estimated_at=given)
        screen.show(Sight.after(None, seen))
    assert len(capsys.readouterr().err.splitlines()) == 1


class Service:
    """Answers as the service does while a job waits, or once its notebook answers."""

    def __init__(self, *, live: bool) -> None:
        self.live = live

    def state(self, _name: str, _claim: str) -> ServiceState:
        return ServiceState("ready" if self.live else "linked", self.live, None)


@pytest.mark.parametrize("live", [False, True])
def test_what_the_scheduler_says_of_a_waiting_job_reaches_json(
    live: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "client_of", lambda *_: Service(live=live))
    store = Store(tmp_path)
    store.create(RECORD, Secrets("claim", "token"))
    start = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)
    status: JobStatus = Known(
        phase=JobPhase.PENDING, reason="it is next", raw_reason="Resources", estimated_start=start
    )
    shown = sessions.inspect(RECORD, status, None, store, start - timedelta(hours=1)).as_json()
    told = [
        shown[key] for key in ("state", "reason", "raw_reason", "estimated_start", "estimated_at")
    ]
    assert told == (
        ["ready", None, None, None, None]  # it runs by now: the queue is behind it
        if live
        else ["pending", "it is next", "Resources", "2026-11-24T14:05:00+00:00",
              "2026-11-24T13:05:00+00:00"]
    )  # fmt: skip


def test_a_node_has_the_name_that_other_hosts_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rps_core.cluster import find

    monkeypatch.setattr(sessions, "client_of", lambda *_: Service(live=True))
    store = Store(tmp_path)
    store.create(RECORD, Secrets("claim", "token"))
    for site in ("comet", "stratus", "tscc"):
        here = find(site)
        for spelled in ("comet-14-01", "comet-14-01.sdsc.edu", "comet-14-01.local"):
            status = Known(phase=JobPhase.RUNNING, node=spelled)
            shown = sessions.inspect(RECORD, status, here, store)
            assert (shown.node, shown.node_name) == (spelled, "comet-14-01.local")
    status = Known(phase=JobPhase.RUNNING, node="n1")
    assert sessions.inspect(RECORD, status, find("generic"), store).node_name is None


def test_a_site_is_a_file_and_wants_an_allocation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expanse, as docs/plugins.md has it."""
    from rps_core.cli import rps

    page = (Path(__file__).parents[2] / "docs/plugins.md").read_text()
    (tmp_path / "config.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(tmp_path / "config.yaml"))
    words = ["start", "--dry-run", "--cluster", "generic", "-p", "gpu-shared", "-g", "2"]
    refused = CliRunner().invoke(rps, words)
    assert "An allocation must be named on generic" in str(refused.exception)
    script = CliRunner().invoke(rps, [*words, "-A", "abc123"], catch_exceptions=False).output
    for line in ("--gpus=2", "--account=abc123", "--partition=gpu-shared"):
        assert f"#SBATCH {line}\n" in script
    too_many = CliRunner().invoke(rps, [*words[:-1], "4", "-A", "abc123"])
    assert "4 GPUs on a node is more than the 3" in str(too_many.exception)


def test_a_narrow_terminal_gets_the_columns_that_matter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = Session(record=RECORD, state="ended", cause="time-limit", reason="over", url=None)
    monkeypatch.setattr(Area, "columns", 40)
    listing.print_table([session(cause="priority"), ended])
    shown = capsys.readouterr().out.splitlines()
    assert [line.split() for line in shown] == [
        ["NAME", "STATE", "CAUSE", "JOB"],
        ["one-two-three", "pending", "priority", "7"],
        ["one-two-three", "ended", "time-limit", "7"],
    ]
    told = replace(ended, reason="it was ended after its walltime was over")
    # Twenty letters of a reason can be read; of fewer there are none, for they tell nothing.
    for columns, last in ((68, "comet    7    it was ended after i"), (67, "comet    7")):
        monkeypatch.setattr(Area, "columns", columns)
        listing.print_table([told])
        assert capsys.readouterr().out.splitlines()[1].endswith(last)
    monkeypatch.setattr(Area, "columns", 30)
    listing.print_table([ended])
    assert capsys.readouterr().out.splitlines()[1] == "one-two-thre  ended  time-limi"
    monkeypatch.setattr(Area, "columns", None)
    listing.print_table([ended])
    assert capsys.readouterr().out.splitlines()[1] == (
        "one-two-three  ended  time-limit  comet    7    over"
    )


def test_an_error_moves_no_terminals_cursor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It quotes what others said: schedulers, services, the job's log."""

    @click.command()
    def failing() -> None:
        raise SchedulerError("refused: \x1b]0;x\x07\x1b[2J", "its log:\n    \x9b1A gone\n    \rend")

    monkeypatch.setattr("sys.argv", ["rps"])
    with pytest.raises(SystemExit):
        _run(failing)
    told = capsys.readouterr().err
    assert told.split("\n") == [
        "rps: refused:  ]0;x  [2J",
        "its log:",
        "     1A gone",
        "     end",
        "",
    ]


def test_an_option_before_its_command_is_told_where_it_stands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for line, told in (
        ("rps --cluster comet start", r"It stands behind the command: `.*rps COMMAND --cluster`\."),
        ("rps proxy --reason x revoke", r"behind the command: `.*rps proxy COMMAND --reason`\."),
        ("rps --bogus", r"No such option '--bogus'\.\n"),
        ("rps list --gpus", r"No such option '--gpus'\.\n"),
    ):
        monkeypatch.setattr("sys.argv", line.split())
        with pytest.raises(SystemExit):
            _run(rps)
        assert re.search(told, capsys.readouterr().err)


def test_a_log_on_a_terminal_prints_and_colours_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Jupyter logs the Referer of whoever asks, and a stranger's may hold \\x9b, which terminals obey."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = Store(tmp_path / "rps" / "sessions")
    store.directory.mkdir(parents=True)
    store.create(replace(RECORD, ended=1.0), Secrets("claim", "token"))
    said = "\x1b[31m404\x1b[0m\tGET /a\x9b2J referer=\x9d0;x\x9c\x1b]0;y\x07 50%\r100%\n"
    store.files(RECORD.name).log_file.write_text(said, newline="")

    def nobody() -> Any:
        raise AssertionError

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    interface.print_log(nobody, RECORD.name, follow=False)
    shown = "\x1b[31m404\x1b[0m\tGET /a 2J referer= 0;x  ]0;y  50%\r100%\n"
    assert capsys.readouterr().out == shown
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    interface.print_log(nobody, RECORD.name, follow=False)
    assert "\x9b2J" in capsys.readouterr().out, "a file gets what was logged"
