"""The site's policy (`rps_check_request`) changes or refuses a request."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rps_core.cli.main import rps
from rps_core.cluster import find
from rps_core.config.settings import Overrides
from rps_core.errors import RequestRefusedError
from rps_core.launch import plan as planning
from rps_core.launch.rerun import settings_to_keep
from rps_core.models import Allocation
from tests.stands.plugins import Distributions, distributions

__all__ = ["distributions"]

SITE = """
from dataclasses import replace
from datetime import timedelta
from rps_core.plugin import *

@hookimpl
def rps_clusters(): return [Cluster(name="rules", site="rules", scheduler="slurm")]

@hookimpl
def rps_check_request(cluster, request, shell):
    wanted = request.allocation
    if wanted.partition == "course":
        return RequestChange(
            allocation=replace(wanted, reservation="monday", gpus=2, gpu_type="a100"),
            reason="On Mondays the course has a reservation.",
        )
    if wanted.partition == "closed":
        raise RequestRefusedError(
            f"{request.user} may not use the partition {wanted.partition} for {request.app}.\\n"
            "  It belongs to the physics department.",
            "Ask physics@example.org, or use another partition (-p).",
        )
    if wanted.partition == "wrong":
        %s
"""
CONFIG = "job: {account: abc123, walltime: 60}\n"
CHANGES = (
    "Changed by rules: job.reservation is monday (was not set): On Mondays the course has a reservation.\n"
    "Changed by rules: job.gpus is a100:2 (was not set): On Mondays the course has a reservation.\n"
)


@pytest.fixture(autouse=True)
def _site(distributions: Distributions, monkeypatch: pytest.MonkeyPatch) -> None:
    distributions.install("rules", SITE % "return None")
    monkeypatch.setenv("RPS_CLUSTER", "rules")
    path = Path(os.environ["XDG_CONFIG_HOME"]) / "rps" / "config.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(CONFIG)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(rps, arguments)


def test_a_change_is_rendered_and_shown_on_stderr() -> None:
    done = run("start", "--dry-run", "-p", "course")
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith(CHANGES)
    assert [line.partition(":")[0] for line in done.stderr[len(CHANGES) :].splitlines()] == [
        "Environment"
    ]
    assert "\n#SBATCH --reservation=monday\n" in done.stdout
    assert "\n#SBATCH --gres=gpu:a100:2\n" in done.stdout
    other = run("start", "--dry-run", "-p", "shared")
    assert "reservation" not in other.stderr + other.stdout


def test_a_refusal_reaches_the_user_whole_with_an_exit_code_of_its_own() -> None:
    error = run("start", "--dry-run", "-p", "closed").exception
    assert isinstance(error, RequestRefusedError)
    assert error.exit_code == 11
    assert (
        " may not use the partition closed for lab.\n  It belongs to the physics department."
        in str(error)
    )
    assert str(error).endswith("Ask physics@example.org, or use another partition (-p).")


def test_the_origins_show_what_the_policy_changes() -> None:
    shown = run("config", "--set", "job.partition=course", "--origins")
    line = (
        'job.reservation = "monday"    [policy of rules] On Mondays the course has a reservation.'
    )
    assert line in shown.stdout.splitlines()
    as_json = run("config", "--set", "job.partition=course", "--origins", "--json")
    found = json.loads(as_json.stdout)
    assert found["job.gpus"]["value"] == "a100:2"
    assert found["job.gpus"]["layer"] == "policy of rules"
    refused = run("config", "--set", "job.partition=closed", "--origins")
    assert refused.exit_code == 0
    assert "`rps start` would be refused: " in refused.stderr
    assert "physics department" in refused.stderr


def test_the_settings_for_another_start_are_those_before_the_change() -> None:
    """A reservation of a Monday is not requested on a Tuesday."""
    here = find(None, Overrides(options={"job.partition": "course"}))
    plan = planning.plan(here, dry_run=True)
    assert plan.allocation.reservation == "monday"
    assert settings_to_keep(here, plan)["job.reservation"] is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return wanted", "is Allocation("),
        ("return RequestChange(allocation=replace(wanted, nodes=0), reason='x')", "must be 1 or more"),
        ("return RequestChange(allocation=replace(wanted, walltime=timedelta()), reason='x')",
         "must be more than zero"),
        ("return RequestChange(allocation=replace(wanted, account='a\\nb'), reason='x')",
         "must be one printable line"),
        ("return RequestChange(allocation=replace(wanted, directives=('--a\\n--b',)), reason='x')",
         "must be one printable line"),
        ("return RequestChange(allocation=wanted, reason='')", "must be one printable line"),
        ("raise KeyError('x')", "KeyError"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)  # fmt: skip
def test_a_broken_policy_costs_its_own_answer(
    body: str, said: str, distributions: Distributions, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributions.install("others", SITE.replace("rules", "others") % body)
    monkeypatch.setenv("RPS_CLUSTER", "others")
    from rps_core import cluster

    warnings: list[str] = []
    monkeypatch.setattr(cluster, "notice", warnings.append)
    cluster._warn.cache_clear()
    done = run("start", "--dry-run", "-p", "wrong")
    assert done.exit_code == 0, done.output
    assert "#SBATCH --partition=wrong" in done.stdout
    (warning,) = warnings
    assert "rps_check_request" in warning
    assert said in warning


def test_the_scheduler_gets_the_request_as_the_site_changed_it(
    distributions: Distributions,
) -> None:
    """Test two policies; each change is shown with its plugin."""
    distributions.install(
        "first",
        "from dataclasses import replace\nfrom rps_core.plugin import *\n"
        "@hookimpl\n"
        "def rps_clusters(): return [Cluster(name='first', site='first', scheduler='second')]\n"
        "@hookimpl\n"
        "def rps_check_request(request):\n"
        "    return RequestChange(allocation=replace(request.allocation, qos='site'), reason='one')\n",
    )
    distributions.install(
        "second",
        "from dataclasses import replace\nfrom rps_core.plugin import *\n"
        "@hookimpl(trylast=True)\n"
        "def rps_check_request(request):\n"
        "    qos = request.allocation.qos + '-scheduler'\n"
        "    return RequestChange(allocation=replace(request.allocation, qos=qos), reason='two')\n",
        points="scheduler.second = {module}\n",
    )
    from rps_core.launch import policy

    here = find("first")
    asked = Allocation(walltime=timedelta(hours=1))
    allocation, changes = policy.checked(here, asked, "lab")
    assert allocation == replace(asked, qos="site-scheduler")
    assert [(one.key, one.before, one.value, one.plugin, one.reason) for one in changes] == [
        ("job.qos", None, "site", "first", "one"),
        ("job.qos", "site", "site-scheduler", "scheduler.second", "two"),
    ]
