"""The account's name, where neither a terminal nor the environment has it."""

from __future__ import annotations

import os
import pwd

import pytest

from rps_core.system.user import login_name


def test_the_name_is_that_of_the_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Test the uid's name: getlogin(3) needs a terminal, and $USER may be anything."""

    def getlogin() -> str:
        raise OSError(25, "Inappropriate ioctl for device")

    monkeypatch.setattr(os, "getlogin", getlogin)
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "mallory")
    assert login_name() == pwd.getpwuid(os.getuid()).pw_name


def test_an_account_without_a_name_is_its_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4123456789)
    assert login_name() == "4123456789"
