"""What ssh is given as a host, and what the host's shell is given."""

from __future__ import annotations

import shlex

import pytest

from rps_core.connect.destination import Destination, check_module
from rps_core.errors import UsageError


@pytest.mark.parametrize(
    "host",
    [
        "comet",
        "alice@login.comet.edu",
        "ssh://alice@comet:2222",
        "alice@[2001:db8::1]",
        "a@b@comet",
        "10.0.0.1",
    ],
)
def test_hosts_as_ssh_takes_them(host: str) -> None:
    assert Destination(name="x", ssh=host).ssh == host


@pytest.mark.parametrize(
    "host",
    ["", "-oProxyCommand=x", "-v", "alice@-oProxyCommand=x", "ssh://-oProxyCommand=x", "a b", "a;b", "a\nb",
     "$(a)", "`a`", "a'b", 'a"b', "alice@", "\x1b[2J", "a|b", "é"],
)  # fmt: skip
def test_options_and_what_no_host_is_called_are_refused(host: str) -> None:
    with pytest.raises(UsageError) as caught:
        Destination(name="x", ssh=host)
    assert "\x1b" not in str(caught.value)


def test_the_command_line_is_one_that_every_shell_reads_alike() -> None:
    line = Destination(name="x", ssh="x", module="rps/1.0").in_its_shell(
        "printf 'a b'; exec /bin/sh"
    )
    # csh replaces `!` in quotes, and ends a quoted text at the line's end.
    assert not {"!", "\n"} & set(line)
    assert shlex.split(line)[:3] == ["exec", "/bin/sh", "-c"]
    assert "module load rps/1.0; printf" in shlex.split(shlex.split(line)[3].replace(";;", "; "))[
        8
    ].replace(";;", "")


@pytest.mark.parametrize("name", ["", "-a", "rps; reboot", "rps 1.0", "$(x)", "a\nb"])
def test_modules_that_are_none(name: str) -> None:
    with pytest.raises(UsageError):
        check_module(name)
