"""What the site decides on login links and shares, a user's layers do not weaken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rps_core.config import settings
from rps_core.config.settings import LoadedSettings, Overrides
from rps_core.errors import UsageError
from rps_core.system import paths

ONCE, TOKEN = "notebook: {link: once}\n", "notebook: {link: token}\n"


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the administrator's file."""
    path = tmp_path / "system.yaml"
    path.write_text(ONCE)
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(path))
    return path


def load(user: str = "", environment: dict[str, str] | None = None, **given: Any) -> LoadedSettings:
    file = paths.config_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(user)
    return settings.load(
        "comet", None, None, environment=environment or {}, given=Overrides(**given)
    )


def test_the_token_is_the_default() -> None:
    assert load().settings.notebook.link == "token"
    assert load(ONCE).settings.notebook.link == "once"
    assert load().settings.limits.share is None


@pytest.mark.usefixtures("system")
def test_the_sites_decision_counts_for_its_users() -> None:
    assert load().settings.notebook.link == "once"
    assert load(ONCE).settings.notebook.link == "once"


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize(
    ("user", "given"),
    [
        (TOKEN, {}),
        (f"sites: {{comet: {{{TOKEN.strip()}}}}}\n", {}),
        ("", {"environment": {"RPS_NOTEBOOK_LINK": "token"}}),
        ("", {"assignments": ["notebook.link=token"]}),
        ("", {"options": {"notebook.link": "token"}}),
        (f"profiles: {{mine: {{{TOKEN.strip()}}}}}\n", {"profile": "mine"}),
        # Also below a layer of the user that says otherwise.
        (TOKEN, {"assignments": ["notebook.link=once"]}),
    ],
)
def test_no_layer_of_the_user_weakens_it(user: str, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"`notebook.link` is token, but .*work once \(.*system"):
        load(user, **given)


def test_an_earlier_session_follows_what_the_site_has_decided_since(system: Path) -> None:
    earlier = {"notebook.link": "token", "notebook.app": "notebook"}
    loaded = load(earlier=earlier, session="one-two-three")
    assert (loaded.settings.notebook.link, loaded.settings.notebook.app) == ("once", "notebook")
    system.write_text("")
    earlier = {"notebook.link": "once"}
    assert load(earlier=earlier, session="one-two-three").settings.notebook.link == "once"


def test_the_administrator_may_relax_what_the_site_says(system: Path) -> None:
    system.write_text(TOKEN)
    assert load(TOKEN).settings.notebook.link == "token"


@pytest.mark.parametrize(
    ("user", "given"),
    [
        ('limits: {share: "10"}\n', {}),
        ("", {"environment": {"RPS_LIMITS_SHARE": "10"}}),
        ("", {"assignments": ["limits.share=10"]}),
    ],
)
def test_only_the_site_allows_shares(user: str, given: dict[str, Any], system: Path) -> None:
    with pytest.raises(UsageError, match=r"`limits.share` is for the site's configuration"):
        load(user, **given)
    system.write_text('limits: {share: "8:00:00"}\n')
    assert load().settings.limits.share == "8:00:00"


@pytest.mark.parametrize("text", ["notebook: {link: twice}\n", "limits: {share: 1 hour}\n"])
def test_values_of_another_form(system: Path, text: str) -> None:
    system.write_text(text)
    with pytest.raises(UsageError, match=r"must be once or token|is not a duration"):
        load()
