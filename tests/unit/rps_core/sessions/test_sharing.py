"""`rps share`: where the site allows it, for as long as it allows, listed and taken back."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rps_core.cli.main import rps
from rps_core.errors import NotFoundError, RpsError, UsageError
from rps_core.node.agent.login_link import word_of
from rps_core.state.record import Secrets, Tunnel
from rps_core.state.session_dir import SessionFiles
from rps_core.state.store import Store
from rps_core.system import paths
from tests.stands.record import RECORD

SECRETS = Secrets(claim="c" * 43, token="0123456789abcdef" * 2)
ALLOWED = 'proxy: {domain: example.org}\nlimits: {share: "8:00:00"}\n'


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "system.yaml"
    path.write_text(ALLOWED)
    monkeypatch.setenv("RPS_SYSTEM_CONFIG", str(path))
    return path


def session(*, accepts: bool = True, **changes: Any) -> SessionFiles:
    """Store a session; `accepts`: its Jupyter has started and accepts links."""
    store = Store(paths.sessions_dir())
    store.probe()
    fields: dict[str, Any] = {"cluster": "generic", "site": "generic", "shares": True}
    files = store.create(replace(RECORD, **(fields | changes)), SECRETS)
    if accepts:
        files.links.mkdir(mode=0o700)
        files.write("links/used", "0\n")
    return files


def run(*arguments: str) -> Result:
    return CliRunner().invoke(rps, ["share", "--cluster=generic", *arguments])


def failure(*arguments: str) -> RpsError:
    done = run(*arguments)
    assert isinstance(done.exception, RpsError), done.output
    assert done.stdout == ""
    return done.exception


@pytest.mark.usefixtures("system")
def test_a_share_is_made_listed_and_taken_back() -> None:
    files = session()
    made = run("one-two-three", "--for", "1h30m")
    found = re.fullmatch(
        r"https://one-two-three\.example\.org/login\?token=(share-([a-z2-7]{8})-\S{32})\n",
        made.stdout,
    )
    assert found
    assert word_of(SECRETS.token, found[1]) == f"share-{found[2]}"
    assert "acts in your name" in made.stderr
    assert f"rps share one-two-three --revoke {found[2]}" in made.stderr
    path = files.links / f"share-{found[2]}.json"
    times = json.loads(path.read_text())
    assert times["until"] - times["created"] == 5400
    assert path.stat().st_mode & 0o777 == 0o600
    assert found[1] not in path.read_text()

    second = json.loads(run("--for", "10", "--json").stdout)
    assert set(second) == {"name", "share", "created", "until", "url"}
    listed = run("--list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == ["SHARE", second["share"], found[2]]
    assert SECRETS.token not in run("--list", "--json").stdout
    assert [one["share"] for one in json.loads(run("--list", "--json").stdout)] == [
        second["share"], found[2],
    ]  # fmt: skip

    assert f"share {found[2]} is taken back" in run("--revoke", found[2]).stderr
    assert not path.exists()
    assert isinstance(failure("--revoke", found[2]), NotFoundError)
    assert len(json.loads(run("--revoke", "all", "--json").stdout)) == 1
    assert run("--list").stdout == ""
    assert run("--revoke", "all").exit_code == 0


@pytest.mark.usefixtures("system")
def test_a_share_whose_time_is_up_is_not_listed() -> None:
    files = session()
    files.write("links/share-aaaaaaaa.json", json.dumps({"created": 1, "until": 2}))
    files.write("links/share-bbbbbbbb.json", "damaged")
    assert run("--list").stdout == ""


def test_no_site_no_share(system: Path) -> None:
    session()
    system.write_text("proxy: {domain: example.org}\n")
    assert "does not allow sessions to be shared" in failure("--for", "1h").message


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("duration", ["8h1m", "9h", "1d", "1-00:00:00", "481"])
def test_no_longer_than_the_site_allows(duration: str) -> None:
    files = session()
    error = failure("--for", duration)
    assert "allows 08:00:00 at most" in error.message
    assert "system.yaml" in error.message
    assert not list(files.links.glob("share-*"))
    assert run("--for", "8h").exit_code == 0


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("duration", ["", "0", "0h", "1x", "-1h", "1h 30m", "h", "1.5h"])
def test_what_is_no_duration(duration: str) -> None:
    session()
    assert isinstance(failure(f"--for={duration}"), UsageError)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shares": False}, "it was started when this cluster did not allow that"),
        ({"accepts": False}, "has not started, or is older than Jupyter Server 2"),
        ({"ended": 2.0, "outcome": "ended", "reason": "stopped"}, "has ended: stopped"),
        (
            {
                "tunnel": Tunnel(host="login1", socket="/run/rps.sock", port=8443),
                "url": "http://one-two-three.example.localhost:8443/",
                "endpoint": replace(RECORD.endpoint, host="manage.example.localhost"),
            },
            "its URL leads through your own ssh",
        ),
    ],
)
def test_sessions_that_cannot_be_shared(changes: dict[str, Any], words: str) -> None:
    session(**changes)
    assert words in failure("one-two-three", "--for", "1h").message


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize(
    "arguments", [[], ["--list", "--revoke", "all"], ["--for", "1h", "--list"], ["one-two-three"]]
)
def test_one_thing_at_a_time(arguments: list[str]) -> None:
    session()
    assert "one of them is needed" in failure(*arguments).message
