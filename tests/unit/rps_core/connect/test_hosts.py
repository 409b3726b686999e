"""~/.config/rps/connect.yaml: what it holds, and where its mistakes are."""

from __future__ import annotations

import pytest

from rps_core.connect import hosts
from rps_core.errors import UsageError


def write(text: str) -> None:
    hosts.file().parent.mkdir(parents=True)
    hosts.file().write_text(text)


def test_without_a_file_or_an_entry_the_name_is_the_host() -> None:
    assert hosts.find("alice@comet").destination.ssh == "alice@comet"
    write("hosts:\n  comet: {ssh: alice@login.comet.edu}\n")
    assert hosts.find("other").destination.ssh == "other"


def test_an_entry_in_full() -> None:
    write(
        "hosts:\n"
        "  comet:\n"
        "    ssh: alice@login.comet.edu\n"
        "    rps: ~/src/rps/rps\n"
        "    module: rps/1.0\n"
        "    port: 9000\n"
        "    browser: false\n"
        "    options: -t 60 -d '~/my work'\n"
        "  bare:\n"
    )
    host = hosts.find("comet")
    assert (host.destination.ssh, host.destination.rps, host.destination.module) == (
        "alice@login.comet.edu", "~/src/rps/rps", "rps/1.0",
    )  # fmt: skip
    assert (host.port, host.browser) == (9000, False)
    assert host.options == ("-t", "60", "-d", "~/my work")
    assert hosts.find("bare").destination.ssh == "bare"


def test_every_mistake_is_reported_with_its_line() -> None:
    write(
        "hosts:\n"
        "  a: {ssh: -oProxyCommand=x}\n"
        "  b: {prot: 9000}\n"
        "  c:\n"
        "    port: 80\n"
        "  d:\n"
        "    module: a b\n"
        "  e:\n"
        "    rps: bin/rps\n"
        "  f:\n"
        "    options: -d 'x\n"
        "  g: text\n"
        "  h: {browser: perhaps}\n"
        "more: x\n"
    )
    with pytest.raises(UsageError) as caught:
        hosts.find("any")
    place = str(hosts.file())
    for line, words in (
        (2, "Not a host"), (3, "`prot` is not a key of a host"), (5, "`port` must be"),
        (7, "Not the name of a module"), (9, "`rps` is not a path"), (11, "`options`"),
        (12, "must be a mapping"), (13, "`browser` must be"), (14, "`more` is not a key"),
    ):  # fmt: skip
        assert any(
            f"{place}:{line}: " in each and words in each for each in str(caught.value).splitlines()
        ), f"{line} {words}\n{caught.value}"


def test_what_is_no_yaml_has_its_line() -> None:
    write("hosts:\n\tcomet: x\n")
    with pytest.raises(UsageError, match=r"connect\.yaml:2: not valid YAML"):
        hosts.find("comet")


def test_a_file_that_others_can_write_is_not_believed() -> None:
    """It says where the user logs in, and what is started there."""
    write("hosts:\n  comet: {ssh: login.example.org}\n")
    hosts.file().chmod(0o666)
    with pytest.raises(UsageError, match=r"connect\.yaml"):
        hosts.find("comet")
