"""`rps start --here` on a compute node of TSCC without Torque's commands, in a recorded job."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.transcripts import read
from tests.e2e.visitor import Visitor

_SCHEDULERS = re.compile(r"q[a-z]+|s(batch|run|alloc|control|queue|cancel|info|acct)|pbs.*")


@pytest.fixture
def job(installed: Any) -> Iterator[dict[str, str]]:
    """Yield the variables of the job, with a PATH that has no scheduler."""
    place = installed.user.home / "compute-node"  # the user cannot enter `tmp_path`
    programs = place / "bin"
    programs.mkdir(parents=True)
    for directory in ("/bin", "/usr/bin", "/usr/local/bin"):
        for program in Path(directory).iterdir():
            if not _SCHEDULERS.fullmatch(program.name) and not (programs / program.name).exists():
                (programs / program.name).symlink_to(program)
    nodes = place / "nodes"  # pbs_mom's
    nodes.write_text("tscc-5-1\n")
    (recorded,) = read("torque/job-environment.txt").values()
    pairs = [line.partition("=") for line in recorded.answer.stdout.splitlines()]
    yield {
        **{name: value for name, _, value in pairs if name.startswith("PBS_")},
        "PBS_O_HOST": "tscc-login1.sdsc.edu",  # in place of the recording's
        "PBS_NODEFILE": str(nodes),
        "PATH": str(programs),
    }
    installed.rps("stop", "--all", check=False)
    shutil.rmtree(place)


def test_a_session_where_the_scheduler_cannot_be_asked(
    installed: Any, job: dict[str, str], visit: Callable[[str], Visitor]
) -> None:
    found = json.loads(installed.rps("cluster", "--json", env=job).stdout)
    assert found["cluster"]["name"] == "tscc"
    assert "tscc-login1.sdsc.edu submitted the job of this shell" in found["reasons"][-1]
    own = ("--set", "proxy.own=true", "--set", "proxy.listen=127.0.0.1")
    session = json.loads(installed.rps("start", "--here", "--wait", "--json", *own, env=job).stdout)
    assert (session["cluster"], session["state"]) == ("tscc", "ready")
    assert session["job_id"] == job["PBS_JOBID"]
    assert 0 < session["time_left"] <= 1800
    assert session["node"] == os.uname().nodename
    assert visit(session["url"]).run_cell("print(6 * 7)") == "42\n"
    (listed,) = json.loads(installed.rps("list", "--json", env=job).stdout)
    assert (listed["name"], listed["state"]) == (session["name"], "ready")
    installed.rps("stop", session["name"], env=job)
    assert json.loads(installed.rps("list", "--json", env=job).stdout) == []
