"""Names that `rps connect` completes."""

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from rps_core.cli.main import rps
from rps_core.connect.names import names
from rps_core.system import paths


@pytest.fixture
def ssh() -> Path:
    """Return an empty ~/.ssh."""
    directory = paths.home() / ".ssh"
    directory.mkdir(parents=True)
    return directory


def test_names_of_both_files_are_offered(ssh: Path) -> None:
    (ssh / "config").write_text(
        'Host comet comet-*\n  User alice\nhost="expanse"\nHost !no *\nMatch host x\n  Port 2\n'
    )
    paths.config_file().parent.mkdir(parents=True)
    paths.config_file().with_name("connect.yaml").write_text(
        "# hosts\ncluster:\n  ssh: login.example.org\n  options: [gpu]\n"
    )
    assert names("") == ["cluster", "comet", "expanse"]
    assert names("c") == ["cluster", "comet"]


def test_a_user_before_the_host_stays(ssh: Path) -> None:
    (ssh / "config").write_text("Host comet\n")
    assert names("alice@c") == ["alice@comet"]


def test_included_files_are_read_and_one_that_includes_itself_ends(ssh: Path) -> None:
    (ssh / "conf.d").mkdir()
    (ssh / "conf.d" / "work").write_text("Host work\n")
    (ssh / "config").write_text(f"Include conf.d/* config\nInclude {ssh}/conf.d/w*\n")
    assert names("w") == ["work"]


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\nHost a\n", b"Host\n\n=\nInclude\nInclude ~no-such-user/[\n"]
)
def test_a_damaged_file_offers_what_can_be_read(ssh: Path, content: bytes) -> None:
    (ssh / "config").write_bytes(content)
    assert names("") in ([], ["a"])


def test_no_file_at_all() -> None:
    assert names("") == []


def test_the_shell_completes_hosts_and_none_that_it_would_expand(ssh: Path) -> None:
    (ssh / "config").write_text("Host comet $(id) expanse\n")
    complete = ShellComplete(rps, {}, "rps", "_RPS_COMPLETE").get_completions
    assert [item.value for item in complete(["connect"], "")] == ["comet", "expanse"]
