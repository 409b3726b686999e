"""Options and arguments that exclude each other are refused by name, before anything is looked for."""

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
    ],
)
def test_options_that_exclude_each_other_are_refused(line: str, words: str) -> None:
    found = CliRunner().invoke(rps, line.split()).exception
    assert isinstance(found, UsageError)
    assert found.message.startswith(f"{words} cannot be combined")
    assert found.hint
