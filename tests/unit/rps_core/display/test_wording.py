"""The display of a waiting session: reason, estimated start, and their age."""

from __future__ import annotations

import io
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import click
import pytest
from click.testing import CliRunner

from rps_core.cli.main import _run, rps
from rps_core.display import session as fields
from rps_core.display import table
from rps_core.display.colour import Colours
from rps_core.display.live import LiveRegion
from rps_core.display.log import print_log
from rps_core.display.screen import Screen
from rps_core.display.wording import age_of_estimate, reason_in_full, state_and_reason
from rps_core.errors import SchedulerError
from rps_core.jobs import JobPhase, JobStatus, Known
from rps_core.proxy_client.models import ServiceState
from rps_core.sessions import status as sessions
from rps_core.sessions.application import Application
from rps_core.sessions.follow import Progress
from rps_core.sessions.session import SessionView
from rps_core.state.record import Secrets
from rps_core.state.store import Store
from rps_core.system import paths
from rps_core.system.terminal import TerminalStream
from tests.stands.record import NOW, RECORD


@pytest.fixture(autouse=True)
def in_california(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/Los_Angeles")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def session(**more: Any) -> SessionView:
    message = {"reason": "it is next, as soon as nodes are free", "raw_reason": "Resources", **more}
    return SessionView(record=RECORD, state="pending", url=None, **message)


def test_the_raw_code_is_kept_beside_the_plain_words() -> None:
    assert state_and_reason(session()) == (
        "waiting in the queue: it is next, as soon as nodes are free (Resources)"
    )
    assert reason_in_full(session(reason="NewCode", raw_reason="NewCode")) == "NewCode"
    assert reason_in_full(session(reason=None, raw_reason=None)) == ""
    assert state_and_reason(session(reason=None, raw_reason=None)) == "waiting in the queue"


def test_an_estimate_is_in_local_time_with_its_date_unless_today() -> None:
    far = datetime(2031, 5, 7, 21, 5, tzinfo=UTC)
    assert reason_in_full(session(estimated_start=far)).endswith(
        "(Resources); estimated start Wed 07 May 2031 14:05"
    )
    soon = NOW + timedelta(minutes=1)
    local = soon.astimezone()
    if local.date() == datetime.now(UTC).astimezone().date():  # not across midnight
        assert f"estimated start {local:%H:%M}" in reason_in_full(session(estimated_start=soon))
    past = datetime(2021, 5, 7, 21, 5, tzinfo=UTC)
    assert reason_in_full(session(estimated_start=past)).endswith("14:05, which has passed")
    alone = session(estimated_start=far, reason=None, raw_reason=None)
    assert reason_in_full(alone) == "estimated start Wed 07 May 2031 14:05"


@pytest.mark.parametrize(
    ("seconds", "message"), [(20, "s ago)"), (130, " (as of 2 min ago)"), (-5, " (as of 0 s ago)")]
)
def test_an_estimate_has_an_age(seconds: int, message: str) -> None:
    given = datetime.now(UTC) - timedelta(seconds=seconds)
    shown = age_of_estimate(session(estimated_start=NOW, estimated_at=given))
    assert shown.endswith(message)
    assert age_of_estimate(session()) == ""


def test_lists_and_the_page_of_one_session_tell_it(capsys: pytest.CaptureFixture[str]) -> None:
    far = session(
        estimated_start=datetime(2031, 5, 7, 21, 5, tzinfo=UTC), node="n1", node_name="n1.local"
    )
    message = (
        "it is next, as soon as nodes are free (Resources); estimated start Wed 07 May 2031 14:05"
    )
    table.print_table([far])
    assert message in capsys.readouterr().out
    fields.print_session(far)
    shown = capsys.readouterr().out
    assert f"reason:      {message}\n" in shown
    assert "node:        n1.local\n" in shown


def test_the_values_of_a_session_stand_in_one_column(capsys: pytest.CaptureFixture[str]) -> None:
    line = "proj (.venv, Python 3.12.3, made by uv), the project in ~/proj"
    record = replace(RECORD, environment={"line": line})
    fields.print_session(replace(session(), record=record))
    shown = capsys.readouterr().out.splitlines()
    assert f"environment: {line}" in shown
    begins = {len(one) - len(one.partition(":")[2].lstrip()) for one in shown}
    assert begins == {len("environment: ")}


def test_plain_lines_do_not_repeat_themselves_as_an_estimate_ages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen(quiet=False)
    for age in (0, 20, 90):
        given = datetime.now(UTC) - timedelta(seconds=age)
        seen = session(estimated_start=datetime(2031, 5, 7, tzinfo=UTC), estimated_at=given)
        screen.show(Progress.after(None, seen))
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
    message = [
        shown[key] for key in ("state", "reason", "raw_reason", "estimated_start", "estimated_at")
    ]
    assert message == (
        ["ready", None, None, None, None]  # it runs by now
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
    """Expanse, as docs/sites.md has it."""
    from rps_core.cli.main import rps

    page = (Path(__file__).parents[4] / "docs/sites.md").read_text()
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "expanse.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    (tmp_path / "config.yaml").touch()
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(tmp_path / "config.yaml"))
    words = ["start", "--dry-run", "--cluster", "expanse", "-p", "gpu-shared", "-g", "2"]
    refused = CliRunner().invoke(rps, words)
    assert "expanse requires an allocation to charge" in str(refused.exception)
    script = CliRunner().invoke(rps, [*words, "-A", "abc123"], catch_exceptions=False).output
    for line in ("--gpus=2", "--account=abc123", "--partition=gpu-shared"):
        assert f"#SBATCH {line}\n" in script
    too_many = CliRunner().invoke(rps, [*words[:-1], "4", "-A", "abc123"])
    assert "4 GPUs per node requested, but a node of" in str(too_many.exception)


def test_a_narrow_terminal_gets_the_columns_that_matter(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = SessionView(record=RECORD, state="ended", cause="time-limit", reason="over", url=None)
    monkeypatch.setattr(LiveRegion, "columns", 40)
    monkeypatch.setattr(time, "time", lambda: RECORD.created + 30)
    table.print_table([session(cause="priority"), ended])
    shown = capsys.readouterr().out.splitlines()
    assert [line.split() for line in shown] == [
        ["NAME", "STATE", "CAUSE", "AGE"],
        ["one-two-three", "pending", "priority", "30", "s"],
        ["one-two-three", "ended", "time-limit", "30", "s"],
    ]
    message = replace(ended, reason="it was ended after its walltime was over")
    # Twenty letters of a reason are readable; with less room it is left out, and other columns are not.
    monkeypatch.setattr(LiveRegion, "columns", 60)
    table.print_table([message])
    assert capsys.readouterr().out.splitlines()[1] == (
        "one-two-three  ended  time-limit  30 s  it was ended after i"
    )
    monkeypatch.setattr(LiveRegion, "columns", 59)
    table.print_table([message])
    assert capsys.readouterr().out.splitlines()[1] == (
        "one-two-three  ended  time-limit  comet    7    lab  30 s"
    )
    monkeypatch.setattr(LiveRegion, "columns", 30)
    table.print_table([ended])
    assert capsys.readouterr().out.splitlines()[1] == "one-two-thre  ended  time-limi"
    monkeypatch.setattr(LiveRegion, "columns", None)
    table.print_table([ended])
    assert capsys.readouterr().out.splitlines()[1] == (
        "one-two-three  ended  time-limit  comet    7    lab  /home/alice  30 s  over"
    )


def test_the_living_come_first_and_colours_say_the_state(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = replace(session(), state="failed", raw_reason=None, reason="over", cause="killed")
    living = replace(
        session(), state="ready", reason=None, raw_reason=None, record=replace(RECORD, label="fit")
    )
    monkeypatch.setattr("rps_core.display.table.Colours", _in_colour)
    table.print_table([ended, living])
    title, first, second = capsys.readouterr().out.splitlines()
    assert title.startswith("\033[1mNAME")
    assert first.startswith("one-two-three  fit    \033[32mready\033[0m")
    assert second.startswith(
        "\033[2mone-two-three         \033[0m\033[31mfailed\033[0m\033[2m  killed"
    )


def _in_colour(stream: TextIO) -> Colours:
    colours = Colours(stream)
    colours.on = True
    return colours


@pytest.mark.parametrize(
    ("terminal", "environment", "on"),
    [
        (True, {"TERM": "xterm"}, True),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, True),
        (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"TERM": ""}, False),
        (False, {"TERM": "xterm"}, False),
    ],
)
def test_colours_are_for_terminals_that_have_them(
    terminal: bool, environment: dict[str, str], on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (Colours(stream).paint("a", 31) == "\033[31ma\033[0m") is on


def test_only_the_last_ended_sessions_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(paths.sessions_dir())
    store.directory.mkdir(parents=True)
    for number in range(14):
        record = replace(
            RECORD, name=f"able-{number:02}", url=f"https://able-{number:02}.example.org/",
            ended=NOW.timestamp() - 3600 * (number + 1), outcome="ended",
        )  # fmt: skip
        store.create(record, Secrets("c" * 43, "token"))
    table.print_list(Application(), everything=False)
    shown = capsys.readouterr()
    names = [line.split()[0] for line in shown.out.splitlines()[1:]]
    assert names == [f"able-{number:02}" for number in range(10)]
    assert shown.err == "4 ended sessions are not listed: `rps list --all`.\n"
    table.print_list(Application(), everything=True)
    shown = capsys.readouterr()
    assert (shown.out.count("able-"), shown.err) == (14, "")


def test_an_error_moves_no_terminals_cursor(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test quotations of schedulers, services and job logs."""

    @click.command()
    def failing() -> None:
        raise SchedulerError("refused: \x1b]0;x\x07\x1b[2J", "its log:\n    \x9b1A gone\n    \rend")

    monkeypatch.setattr("sys.argv", ["rps"])
    with pytest.raises(SystemExit):
        _run(failing)
    message = capsys.readouterr().err
    assert message.split("\n") == [
        "rps: refused:  ]0;x  [2J",
        "its log:",
        "     1A gone",
        "     end",
        "",
    ]


def test_an_option_before_its_command_is_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for line, message in (
        ("rps --cluster comet start", r"Put it after the command: `.*rps COMMAND --cluster`\."),
        (
            "rps proxy --reason x revoke",
            r"Put it after the command: `.*rps proxy COMMAND --reason`\.",
        ),
        ("rps --bogus", r"No such option '--bogus'\.\n"),
        ("rps list --gpus", r"No such option '--gpus'\.\n"),
    ):
        monkeypatch.setattr("sys.argv", line.split())
        with pytest.raises(SystemExit):
            _run(rps)
        assert re.search(message, capsys.readouterr().err)


def test_a_log_on_a_terminal_prints_and_colours_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Test \\x9b, a terminal's control character, in a Referer that Jupyter logged."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = Store(tmp_path / "rps" / "sessions")
    store.directory.mkdir(parents=True)
    store.create(replace(RECORD, ended=1.0), Secrets("claim", "token"))
    said = "\x1b[31m404\x1b[0m\tGET /a\x9b2J referer=\x9d0;x\x9c\x1b]0;y\x07 50%\r100%\n"
    store.files(RECORD.name).log_file.write_text(said, newline="")

    app: Any = SimpleNamespace(store=store)  # the cluster is not asked for
    with monkeypatch.context() as terminal:
        terminal.setattr(sys.stdout, "isatty", lambda: True)
        terminal.setattr(sys, "stdout", TerminalStream(sys.stdout))
        print_log(app, RECORD.name, follow=False)
    shown = "\x1b[31m404\x1b[0m\tGET /a 2J referer= 0;x  ]0;y  50% 100%\n"
    assert capsys.readouterr().out == shown
    print_log(app, RECORD.name, follow=False)
    assert "\x9b2J" in capsys.readouterr().out, "a file gets what was logged"


def test_a_log_that_is_followed_and_shortened_is_followed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent leaves out the middle of one that is too long."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = Store(tmp_path / "rps" / "sessions")
    store.directory.mkdir(parents=True)
    store.create(RECORD, Secrets("claim", "token"))
    log = store.files(RECORD.name).log_file
    log.write_text("first\n" + "middle\n" * 1000)
    here = SimpleNamespace(loaded=SimpleNamespace(settings=SimpleNamespace(
        scheduler=SimpleNamespace(poll_interval=0.0))))  # fmt: skip
    rounds = iter((False, False, True))
    monkeypatch.setattr(sessions, "survey", lambda *_: [SimpleNamespace(over=next(rounds))])
    contents = iter(("first\nlast\n", "first\nlast\nand on\n"))
    # The module's own clock: other threads of this process may sleep, too.
    clock = SimpleNamespace(
        monotonic=time.monotonic, sleep=lambda _: log.write_text(next(contents))
    )
    monkeypatch.setattr("rps_core.display.log.time", clock)
    app: Any = SimpleNamespace(here=here, store=store)
    print_log(app, RECORD.name, follow=True)
    assert capsys.readouterr().out.endswith("middle\nand on\n")
