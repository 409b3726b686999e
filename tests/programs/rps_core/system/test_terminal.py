"""Only text and colours reach a terminal, in any quoted text."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from rps_core.display.live import LiveRegion
from rps_core.state.record import Endpoint, Secrets, SessionRecord
from rps_core.state.store import Store
from rps_core.system import paths
from rps_core.system.terminal import TerminalStream, for_a_terminal

# Clear the screen, take back a line, a title, the same in C1, an answer as typed, an override of direction.
HOSTILE = "a\x1b[2Jb\rc\x1b]0;title\x07d\x9b2Je\x1b[6nf\u202eg\u2066h\u2028i\x08j\x7fk\u200fl\x0bm"
RECORD = SessionRecord(
    name="one-two-three", tag="rps:one-two-three:0a0b0c0d", cluster="comet", site="comet", scheduler="slurm",
    url="https://one-two-three.example.org/", endpoint=Endpoint(host="manage.example.org", port=443),
    own_service=False, app=HOSTILE, directory=f"/home/{HOSTILE}", walltime=1800, created=1.0,
    job_id="7", ended=2.0, outcome="failed", reason=HOSTILE, cause="jupyter-crashed",
)  # fmt: skip


def seen_on_a_terminal(*arguments: str, **environment: str) -> str:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "rps_core.cli.main", *arguments],
        stdin=slave, stdout=slave, stderr=slave,
        env={**os.environ, "TERM": "xterm", **environment},
    ):  # fmt: skip
        os.close(slave)
        seen = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            seen += part
    os.close(master)
    return seen.decode("utf-8", "surrogateescape").replace("\r\n", "\n")


def obeyed(text: str) -> list[str]:
    """Return the control sequences in the text, except colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return re.findall(
        r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]", text
    )


@pytest.mark.parametrize(
    "command",
    [
        ("list", "--all"), ("status", "one"), ("why", "one"), ("logs", "one"), ("stop", "one"), (HOSTILE,),
        ("status", HOSTILE), ("config", "--set", f"job.{HOSTILE}=1"),
        ("config", "--set", f"job.account={HOSTILE}"), ("cluster", "--cluster", HOSTILE),
    ],
    ids=lambda command: ascii(" ".join(command))[:40],
)  # fmt: skip
def test_what_others_say_moves_no_terminals_cursor(command: tuple[str, ...]) -> None:
    """Test text of scheduler, service, agent, job log, record and configuration."""
    store = Store(paths.sessions_dir())
    store.probe()
    session = store.create(replace(RECORD), Secrets("claim", "token"))
    session.log_file.write_text(f"{HOSTILE}\nMemoryError {HOSTILE}\n", newline="")
    ended = {
        "time": 2.0,
        "event": "ended",
        "cause": "application-exit",
        "reason": HOSTILE,
        "log": HOSTILE,
    }
    session.write("events.jsonl", json.dumps(ended) + "\n")
    (store.directory / "damaged").mkdir()
    (store.directory / "damaged" / "session.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    seen = seen_on_a_terminal(*command)
    assert seen.strip()
    assert obeyed(seen) == []
    assert "Traceback" not in seen


def test_a_variable_that_is_quoted_moves_no_cursor() -> None:
    seen = seen_on_a_terminal("config", **{f"RPS_{HOSTILE}": "1"})
    assert "Unknown variable" in seen
    assert obeyed(seen) == []


def test_colours_tabs_and_lines_are_kept() -> None:
    text = "\x1b[31mred\x1b[0m\tand\r\nplain\n\x1b[38;5;16;48;5;231m\u2588 \u00e4 \U0001f468\u200d\U0001f469"
    assert for_a_terminal(text) == text.replace("\r", "")
    assert for_a_terminal("\x1b[31\x1b[31m\x1b[") == " [31\x1b[31m ["


def test_what_is_drawn_in_place_holds_no_cursor_movement_of_others() -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w", encoding="utf-8") as terminal:
        area = LiveRegion(TerminalStream(terminal))  # type: ignore[arg-type]
        area.live = True
        area.draw([f"waiting: {HOSTILE}"])
        area.draw(["ready"])
        terminal.write("end")
        terminal.flush()
        seen = ""
        while "end" not in seen:
            seen += os.read(master, 65536).decode()
    os.close(master)
    assert "waiting: a?[2Jb?c" in seen
    # Up, to the line's end, to the screen's.
    assert set(re.findall(r"\x1b(?!\[[0-9]*[AJK]).{0,9}", seen)) == set()
    assert seen.count("\x1b[J") == 2
    assert seen.count("\x1b[1A") == 1
