"""The URLs that open a session, as the commands print them."""

from __future__ import annotations

import errno
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rps_core.cli.main import rps
from rps_core.node.agent.login_link import word_of
from rps_core.state import visit
from rps_core.state.record import Secrets, SessionRecord
from rps_core.state.session_dir import SessionFiles
from rps_core.state.store import Store
from rps_core.system import paths
from tests.stands.record import RECORD

SECRETS = Secrets(claim="c" * 43, token="0123456789abcdef" * 2)
BASE = RECORD.url


def session(**changes: Any) -> tuple[SessionRecord, SessionFiles]:
    store = Store(paths.sessions_dir())
    store.probe()
    record = replace(RECORD, **({"link": "once"} | changes))
    files = store.create(record, SECRETS)
    if record.link == "once":
        visit.note_made(files)
    return record, files


def used(files: SessionFiles, number: int) -> None:
    files.write("links/used", f"{number}\n")


def word(url: str | None) -> str | None:
    found = re.fullmatch(rf"{re.escape(BASE)}login\?token=(\S+?)(&next=\S+)?", url or "")
    return found and word_of(SECRETS.token, found[1])


def run(*arguments: str) -> Result:
    return CliRunner().invoke(rps, arguments, catch_exceptions=False)


def test_the_token_is_in_the_url() -> None:
    record, files = session(link="token")
    assert visit.visit_url(record, files, SECRETS) == f"{BASE}?token={SECRETS.token}"
    shown = visit.visit_url(record, files, SECRETS, path="lab/tree/a.ipynb")
    assert shown == f"{BASE}lab/tree/a.ipynb?token={SECRETS.token}"
    assert not files.links.exists()
    assert visit.visit_url(record, files, None) is None


def test_the_newest_link_is_in_the_url_until_it_was_used() -> None:
    record, files = session()
    assert files.links.stat().st_mode & 0o777 == 0o700
    for _ in range(2):
        shown = visit.visit_url(record, files, SECRETS)
        assert word(shown) == "once-1"
        assert SECRETS.token not in str(shown)
    used(files, 1)
    assert visit.visit_url(record, files, SECRETS) == BASE
    assert word(visit.new_url(record, files, SECRETS)) == "once-2"
    assert word(visit.visit_url(record, files, SECRETS)) == "once-2"
    assert word(visit.new_url(record, files, SECRETS)) == "once-3"
    used(files, 7)  # another login node has made more, and this one does not see that yet
    assert visit.visit_url(record, files, SECRETS) == BASE
    assert word(visit.new_url(record, files, SECRETS)) == "once-8"


def test_a_link_leads_on() -> None:
    record, files = session()
    shown = visit.visit_url(record, files, SECRETS, path="vscode/?folder=/a b&x=1")
    assert word(shown) == "once-1"
    assert str(shown).endswith("&next=%2Fvscode%2F%3Ffolder%3D%2Fa%20b%26x%3D1")


def test_a_full_disk_costs_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    record, files = session()

    def full(*_: object, **__: object) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SessionFiles, "write", full)
    assert word(visit.new_url(record, files, SECRETS)) == "once-2"


def test_url_makes_a_new_link_and_open_one_if_it_needs_one() -> None:
    record, files = session()
    found = json.loads(run("url", "--json").stdout)
    assert word(found.pop("url")) == "once-2"
    assert found == {"name": record.name, "link": "once", "tunnel": None}
    assert word(run("url").stdout.strip()) == "once-3"
    assert word(run("open", "--qr").stdout.strip()) == "once-3"
    used(files, 3)
    assert word(run("open", "--qr").stdout.strip()) == "once-4"


@pytest.mark.parametrize("link", ["token", "once"])
def test_the_token_for_programs_is_shown_as_a_secret(link: str) -> None:
    record, _ = session(link=link)
    done = run("url", "--api")
    assert done.stdout == f"{SECRETS.token}\n"
    assert "secret" in done.stderr
    assert SECRETS.token not in done.stderr
    found = json.loads(run("url", "--api", "--json").stdout)
    expected = {"name": record.name, "url": BASE, "token": SECRETS.token, "tunnel": None}
    assert found == expected


def test_api_and_ssh_are_not_combined() -> None:
    session()
    done = CliRunner().invoke(rps, ["url", "--api", "--ssh"])
    assert "cannot be combined" in str(done.exception)
