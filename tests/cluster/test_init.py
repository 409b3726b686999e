"""`rps init` and completion, from what a real Slurm lists; the dialogue is kept in docs/transcripts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rps_core import yaml_text
from tests.cluster.conftest import Login
from tests.cluster.lab import Cluster

PAGE = Path(__file__).resolve().parents[2] / "docs" / "transcripts" / "init.md"
PREFACE = """\
# The questions of rps init, as they were asked

Written by `tests/cluster/test_init.py`, from a run on the test cluster, with what its Slurm
lists.

```console
[alice@comet-ln2 ~]$ rps init
{screen}
[alice@comet-ln2 ~]$ cat .config/rps/config.yaml
{file}
```
"""


@pytest.fixture
def config(comet: Login, cluster: Cluster) -> Iterator[Path]:
    """Alice's own configuration, which no other test is to find."""
    file = cluster.home / comet.account.name / ".config/rps/config.yaml"
    yield file
    file.unlink(missing_ok=True)


def test_the_questions_of_a_new_user(comet: Login, config: Path) -> None:
    rps = str(comet.clone / "rps")
    asking = [
        "script",
        "--quiet",
        "--return",
        "--echo",
        "never",
        "--command",
        f"{rps} init",
        "/dev/null",
    ]
    path = f"{comet.clone}/.venv/bin:/usr/bin:/bin"
    done = comet.host.run(
        asking,
        comet.account,
        input="ddp363\ndebug\n",
        capture_output=True,
        timeout=60,
        env={"PATH": path},
    )
    assert done.returncode == 0, done.stdout
    screen = done.stdout.replace("\r", "").replace(str(comet.clone), "~/rps").strip()
    assert ") abc123 (default)\n" in screen
    assert "1) compute (default)\n" in screen
    found = yaml_text.parse(config.read_text(), "").values
    assert found["sites"]["comet"]["job"] == {"account": "ddp363", "partition": "debug"}
    script = comet.rps("start", "--dry-run").stdout
    assert "#SBATCH --account=ddp363" in script
    assert "#SBATCH --partition=debug" in script
    assert "says so already" in comet.rps("init", "--yes", env={"PATH": path}).stderr
    if os.environ.get("RPS_WRITE_TRANSCRIPTS"):
        PAGE.write_text(PREFACE.format(screen=screen, file=config.read_text().rstrip()))


def test_a_tab_offers_what_slurm_has(comet: Login) -> None:
    comet.rps("completion", "--refresh")
    tab = {"COMP_WORDS": "rps start -A ", "COMP_CWORD": "3", "_RPS_COMPLETE": "bash_complete"}
    accounts = comet.rps(env=tab).stdout.split()
    assert sorted(accounts) == ["plain,abc123", "plain,ddp363", "plain,xyz789"]
    tab["COMP_WORDS"] = "rps start -p "
    assert comet.rps(env=tab).stdout.split()[0] == "plain,compute"
