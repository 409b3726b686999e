"""Errors name the option that they are about."""

import pytest
from click.testing import CliRunner

from rps_core.cli.main import rps
from rps_core.errors import UsageError


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("url --ssh --api", "--ssh and --api"),
        ("url --api --app dash", "--api and --app"),
        ("url --ssh --app dash", "--ssh and --app"),
        ("url --ssh --json", "--ssh and --json"),
        ("env remove --all abc", "NAME and --all"),
        ("stop --all abc", "--all and NAME"),
        ("proxy ca --install --remove", "--install and --remove"),
    ],
)
def test_options_that_exclude_each_other_are_refused(line: str, words: str) -> None:
    found = CliRunner().invoke(rps, line.split()).exception
    assert isinstance(found, UsageError)
    assert found.message.startswith(f"{words} cannot be combined")
    assert found.hint


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("start --dry-run -d /no/such", "--directory: directory not found: /no/such"),
        ("start --dry-run -t soon", "--time: `job.walltime`: `soon` is not a walltime"),
        ("start --dry-run --image /no.sif", "--image: container image not found: /no.sif"),
        ("start --dry-run --nv", "--nv: `notebook.nv` requires a container image"),
        ("start --dry-run --set notebook.app=no", "--set: there is no application `no`"),
        ("start --dry-run --set apps.x.titles=y", "--set: unknown key `apps.x.titles`"),
        ("env -d /no/such", "--directory: directory not found: /no/such"),
        ("share --for soon", "`soon` is not a duration"),
    ],
)
def test_a_value_is_refused_by_the_name_of_its_option(line: str, words: str) -> None:
    found = CliRunner().invoke(rps, line.split(), env={"RPS_CLUSTER": "local"}).exception
    assert isinstance(found, UsageError)
    assert found.message == words
    assert found.hint
    assert found.hint == found.hint.strip()
