"""A real terminal, tmux: what is above a view stays when it is resized; narrow ones break between words."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stands.tmux import Tmux

PROJECT = Path(__file__).parents[4]
URL = "https://amber-fox-sun.example.org/?token=0123456789abcdef0123456789abcdef"
# Draws when the file appears and the terminal has its size, and removes it.
_VIEW = f"""\
import os, sys, time
from rps_core.display.live import LiveRegion
print("{URL}", flush=True)
area = LiveRegion(sys.stderr)
number = 0
while True:
    number += 1
    area.draw(["submitted > [queued] > starting > ready",
               "waiting in the queue: it is next, as soon as nodes are free (Resources)",
               f"drawing {{number}}"])
    while not os.path.exists("draw") or open("draw").read() != str(tuple(os.get_terminal_size())):
        time.sleep(0.02)
    os.unlink("draw")
"""


@pytest.mark.parametrize(
    "sizes",
    [
        [(90, 24), (30, 24), (90, 24)],
        [(90, 24), (60, 24), (20, 24), (100, 24), (33, 24)],
        [(40, 24), (90, 24), (40, 24)],
        [(90, 24), (90, 7), (40, 8), (90, 24)],
    ],
    ids=str,
)
def test_a_view_leaves_what_is_above_it(
    sizes: list[tuple[int, int]], tmp_path: Path, need: Callable[[str], str]
) -> None:
    need("tmux")
    command = ["env", "-C", str(tmp_path), f"PYTHONPATH={PROJECT}", sys.executable, "-c", _VIEW]
    with Tmux(tmp_path, command, *sizes[0], {}) as terminal:
        terminal.until("drawing 1")
        for number, size in enumerate(sizes[1:], 2):
            terminal.resize(*size)
            (tmp_path / "new").write_text(str(size))
            (tmp_path / "new").rename(tmp_path / "draw")
            terminal.until(f"drawing {number}")
            assert URL in terminal.text()
            shown = terminal.lines()
            assert "drawing" not in " ".join(shown[:-1])  # the last drawing alone


def test_a_narrow_terminal_breaks_between_words(tmp_path: Path, need: Callable[[str], str]) -> None:
    """Test errors, help, `why` and `status` in 40 columns: no word but a long one is broken."""
    need("tmux")
    script = tmp_path / "commands"
    rps = f"{sys.executable} -m rps_core.cli.main"
    script.write_text(
        f"cd {PROJECT}\n{_A_SESSION.format(python=sys.executable)}\n"
        + "".join(
            f"{rps} {words}\n"
            for words in (
                "status able",
                "why able",
                "stop nope",
                "start --help",
                "list",
                "forget living",
            )
        )
    )
    with Tmux(tmp_path, ["sh", str(script)], 40, 50, {"HOME": os.environ["HOME"]}) as terminal:
        shown = terminal.until("END")
        whole = terminal.text()
    assert "Traceback" not in whole
    words = set(re.findall(r"\S+", whole))
    broken = [
        (first, second)
        for first, second in itertools.pairwise(shown)
        if len(first) == 40 and first.split()[-1] + second.split()[0] in words
        and len(first.split()[-1] + second.split()[0]) < 38
    ]  # fmt: skip
    assert broken == []
    assert "Walltime limit: minutes," in " ".join(whole.split())


_A_SESSION = """\
{python} - <<'END'
from dataclasses import replace
from rps_core.state.record import Secrets
from rps_core.state.store import Store
from rps_core.system import paths
from tests.stands.record import RECORD
store = Store(paths.sessions_dir())
store.directory.mkdir(parents=True)
reason = "it reached its walltime limit (sacct says TIMEOUT), a reason of more words than one line has"
ended = RECORD.created + 60
for name, more in (("able-two-three", dict(ended=ended, outcome="failed", reason=reason, cause="time-limit")),
                   ("living-two-three", dict(label="fit"))):
    url = f"https://{{name}}.example.org/"
    store.create(replace(RECORD, name=name, url=url, **more), Secrets("c" * 43, "token"))
END"""
