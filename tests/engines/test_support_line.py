"""The contact (`support` in proxy.yaml) on each page of a session, on each engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines.stand import running
from tests.stands.service import DOMAIN

HTML = {"Accept": "text/html"}
SUPPORT: dict[str, Any] = {
    "support.name": "the <HPC> team",
    "support.url": "https://support.example.org/?a=b&c",
    "support.email": "help@example.org",
}
LINE = (
    b'Questions? Ask <a href="https://support.example.org/?a=b&amp;c">the &lt;HPC&gt; team</a>, '
    b'<a href="mailto:help@example.org">help@example.org</a>.'
)


@pytest.mark.parametrize("kind", ["embedded", "workers", "haproxy", "apache"])
def test_each_page_says_whom_to_ask(kind: str, tmp_path: Path, need: Callable[[str], str]) -> None:
    with running(tmp_path, kind, need, **SUPPORT) as stand:
        waiting = stand.issue()
        with stand.notebook() as (session, _):
            pass
        for host, status in (
            (waiting.host, 503),
            (f"a-b-c.{DOMAIN}:{stand.port}", 404),
            (session.host, 502),
        ):
            page = stand.request(host, "GET", "/", headers=HTML)
            assert page.status == status
            assert LINE in page.body, page.body
            assert b"Questions?" not in stand.request(host, "GET", "/").body
        if kind == "workers":
            (stand.directory / "service" / "service.sock").unlink()
        elif kind != "embedded":
            stand.kill()
        if kind != "embedded":
            away = stand.request(waiting.host, "GET", "/", headers=HTML)
            assert b"<h1>The service is unavailable</h1>" in away.body
            assert LINE in away.body
