"""The pages that visitors get while the service is down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines.stand import running
from tests.stands.service import DOMAIN, Answer
from tests.stands.waiting import until

HTML = {"Accept": "text/html"}


def is_the_page(answer: Answer) -> bool:
    if answer.status != 503 or b"<h1>The service is unavailable</h1>" not in answer.body:
        return False
    assert answer.headers["Retry-After"] == "10"
    assert answer.headers.get_all("Content-Type") == ["text/html; charset=utf-8"]
    assert answer.headers["Cache-Control"] == "no-store"
    (policy,) = answer.headers.get_all("Content-Security-Policy") or [""]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    return True


@pytest.mark.parametrize("kind", ["haproxy", "apache"])
def test_new_visitors_get_a_page(kind: str, tmp_path: Path, need: Callable[[str], str]) -> None:
    with running(tmp_path, kind, need) as stand, stand.notebook() as (session, _):
        waiting = stand.issue()
        assert stand.request(waiting.host, "GET", "/", headers=HTML).status == 503
        stand.kill()
        for host in (waiting.host, f"a-b-c.{DOMAIN}:{stand.port}", f"{DOMAIN}:{stand.port}"):
            for method, body in (("GET", None), ("POST", b"x" * 5000)):
                assert is_the_page(stand.request(host, method, "/", body, HTML)), (host, method)
        manage = f"manage.{DOMAIN}:{stand.port}"
        health = stand.request(manage, "GET", "/api/v1/health")
        assert (health.status, health.body) == (503, b"The service is temporarily unavailable.\n")
        assert health.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert stand.request(session.host, "GET", "/").status == 200
        stand.start()
        until(
            lambda: not is_the_page(stand.request(waiting.host, "GET", "/", headers=HTML)),
            "the session's own page is back",
        )


def test_workers_whose_service_does_not_answer(tmp_path: Path, need: Callable[[str], str]) -> None:
    """Test workers that cannot reach the service; they end when it ends."""
    with running(tmp_path, "workers", need) as stand:
        waiting = stand.issue()
        (stand.directory / "service" / "service.sock").unlink()
        assert is_the_page(stand.request(waiting.host, "GET", "/", headers=HTML))
        plain = stand.request(waiting.host, "GET", "/")
        assert (plain.status, plain.body) == (503, b"The service is temporarily unavailable.\n")
        assert plain.headers["Retry-After"] == "10"
