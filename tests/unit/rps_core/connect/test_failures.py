"""Each way in which ssh fails has words of its own; ssh's are those of OpenSSH 9.2, recorded on the stand."""

from __future__ import annotations

import pytest

from rps_core.connect import failures

CASES = (
    ("ssh: Could not resolve hostname x: Name or service not known", "no host has this name", True),
    ("ssh: connect to host x port 22: Connection refused", "no ssh server answers at its port", True),
    ("ssh: connect to host x port 22: Connection timed out", "it does not answer", True),
    ("ssh: connect to host x port 22: Operation timed out", "it does not answer", True),  # macOS
    ("ssh: connect to host x port 22: No route to host", "it does not answer", True),
    ("Timeout, server x not responding.", "it does not answer", True),
    ("kex_exchange_identification: read: Connection reset by peer", "it closed the connection", True),
    ("x: Permission denied (publickey,password).", "it did not accept the login", False),
    ("Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures",
     "it did not accept", False),
    ("No ED25519 host key is known for x and you have requested strict checking.\n"
     "Host key verification failed.",
     "does not know its host key", False),
    ("@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nHost key verification failed.",
     "its host key is not the one", False),
    ("Bad owner or permissions on /home/a/.ssh/config", "ssh configuration has a mistake", False),
    ("something that no version said before", "something that no version said before", False),
    ("", "ssh ended without a message", False),
)  # fmt: skip


@pytest.mark.parametrize(("said", "words", "transient"), CASES)
def test_the_cause_and_what_to_do(said: str, words: str, transient: bool) -> None:
    error = failures.of_ssh("alice@x", said)
    assert words in error.message
    assert error.hint
    assert error.transient is transient
    assert error.exit_code == 12


def test_what_a_forced_command_prints_is_quoted_as_text() -> None:
    error = failures.no_shell("x", "Only \x1b[2J for transfers")
    assert "Only" in str(error)
    assert "\x1b" not in str(error)
