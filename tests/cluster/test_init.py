"""`rps init` and completion with what a real Slurm lists.

The dialogue is recorded in docs/transcripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rps_core.config import yaml_text
from tests.cluster.conftest import Login
from tests.cluster.lab import Cluster
from tests.cluster.terminal import Terminal
from tests.cluster.test_sites import WRITE_TRANSCRIPTS
from tests.cluster.transcript import Transcript
from tests.conftest import PROJECT


@pytest.fixture
def config(comet: Login, cluster: Cluster) -> Iterator[Path]:
    """Return alice's configuration file, and remove it after the test."""
    file = cluster.home / comet.account.name / ".config/rps/config.yaml"
    yield file
    file.unlink(missing_ok=True)


def test_the_questions_of_a_new_user(
    comet: Login, config: Path, request: pytest.FixtureRequest
) -> None:
    page = Transcript(
        "Comet: the questions of rps init",
        request.node.nodeid,
        "The lists are from a real Slurm, of Debian's packages.",
        comet.clone,
    )
    with Terminal(comet.host, comet.account, comet.clone, 100, 40) as terminal:
        terminal.type(f"PATH={comet.clone}/.venv/bin:$PATH")  # a Jupyter that it can see
        terminal.type("rps init")
        terminal.until(r"\) abc123 \(default\).* Choice \[\d\]:$")
        terminal.answer("ddp363")
        terminal.until(r" 1\) compute \(default\).* Choice \[1\]:$")
        terminal.answer("debug")
        asked = terminal.until(r"Wrote .*Next: `rps start`")
        terminal.type("cat .config/rps/config.yaml")
        written = terminal.until(r"sites:.* comet:.*\$$")
        terminal.type("rps init --yes")
        again = terminal.until(r"has these settings already.*\$$")
    found = yaml_text.parse(config.read_text(), "").values
    assert found["sites"]["comet"]["job"] == {"account": "ddp363", "partition": "debug"}
    script = comet.rps("start", "--dry-run").stdout
    assert "#SBATCH --account=ddp363" in script
    assert "#SBATCH --partition=debug" in script
    for sentence, screen in (
        ("It asks two questions, since there is only one Jupyter.", asked),
        ("The file that it wrote:", written),
        ("A second run changes nothing.", again),
    ):
        page.say(sentence)
        page.screen(screen)
    if WRITE_TRANSCRIPTS:
        page.write(PROJECT / "docs" / "transcripts" / "init.md")


def test_a_tab_offers_what_slurm_has(comet: Login) -> None:
    comet.rps("completion", "--refresh")
    tab = {"COMP_WORDS": "rps start -A ", "COMP_CWORD": "3", "_RPS_COMPLETE": "bash_complete"}
    accounts = comet.rps(env=tab).stdout.split()
    assert sorted(accounts) == ["plain,abc123", "plain,ddp363", "plain,xyz789"]
    tab["COMP_WORDS"] = "rps start -p "
    assert comet.rps(env=tab).stdout.split()[0] == "plain,compute"
