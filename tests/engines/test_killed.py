"""The service or the engine is killed: routes are neither lost nor left over."""

from __future__ import annotations

from tests.engines.stand import Stand
from tests.stands.service import Session
from tests.stands.waiting import until


def answers(stand: Stand, session: Session, status: int) -> bool:
    try:
        return stand.request(session.host, "GET", "/").status == status
    except OSError:  # the engine is not there yet
        return False


def test_the_engine_is_killed(stand: Stand) -> None:
    if stand.kind == "embedded":
        return  # it is the service
    with stand.notebook() as (session, _), stand.notebook() as (ended, _):
        assert answers(stand, session, 200)
        assert answers(stand, ended, 200)
        stand.kill_engine()
        revoke = f"sessions/{ended.name}/revoke"
        assert stand.past_the_engine(revoke, ended.claim)[0] == 200
        stand.start_engine()
        until(lambda: answers(stand, session, 200), "the route is back")
        until(lambda: answers(stand, ended, 410), "what was revoked meanwhile is out")


def test_the_service_is_killed(stand: Stand) -> None:
    with stand.notebook() as (session, _):
        assert answers(stand, session, 200)
        stand.kill()
        if stand.kind != "embedded":
            assert answers(stand, session, 200)  # the traffic goes on
        stand.start()
        until(lambda: answers(stand, session, 200), "the route is there")
        stand.revoke(session)
        until(lambda: answers(stand, session, 410), "the route is out")


def test_both_are_killed(stand: Stand) -> None:
    with stand.notebook() as (session, _):
        assert answers(stand, session, 200)
        stand.kill()
        stand.kill_engine()
        stand.start()
        stand.start_engine()
        until(lambda: answers(stand, session, 200), "the route is back")


def test_the_engine_comes_back_while_the_service_is_away(stand: Stand) -> None:
    """Test that it has its routes, from its own files."""
    if stand.kind == "embedded":
        return  # it is the service
    with stand.notebook() as (session, _), stand.notebook() as (ended, _):
        stand.revoke(ended)
        if stand.kind == "haproxy":
            routes = stand.meeting / "routes.map"

            def written() -> bool:
                text = routes.read_text()
                return session.name in text and ended.name not in text

            until(written, "the map's file is")
        stand.kill()
        stand.kill_engine()
        stand.start_engine()
        assert answers(stand, session, 200)
        assert not answers(stand, ended, 200)
