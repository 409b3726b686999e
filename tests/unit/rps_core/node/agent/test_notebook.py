"""The variables that a session's processes have for its environment."""

import pytest

from rps_core.node.agent.notebook import active_venv


def test_a_venv_is_active_in_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    assert active_venv(None) == {}
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert active_venv("/home/a b/.venv") == {
        "VIRTUAL_ENV": "/home/a b/.venv",
        "PATH": "/home/a b/.venv/bin:/usr/bin:/bin",
    }
    monkeypatch.delenv("PATH")
    assert active_venv("/v")["PATH"] == "/v/bin"
