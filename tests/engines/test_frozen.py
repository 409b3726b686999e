"""An engine that does not answer: API calls end in time, and it catches up later.

SIGSTOP, or a reader that locks Apache's routes.
"""

from __future__ import annotations

import contextlib
import signal
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from rps_core.errors import ServiceError
from rps_proxy.cli import admin_client as operate
from rps_proxy.settings.loading import load
from tests.engines.stand import Stand, running
from tests.engines.test_killed import answers
from tests.stands.service import Session, read_head, upgrade_request
from tests.stands.waiting import until

AT_ONCE = 20
# Seconds for a call: well above the two that it may take, well below 20 times that.
IN_TIME = 12.0


@pytest.fixture(params=["haproxy", "apache"])
def stand(
    request: pytest.FixtureRequest, tmp_path: Path, need: Callable[[str], str]
) -> Iterator[Stand]:
    """Run a service with each engine that is a separate program."""
    with running(tmp_path, request.param, need) as stand:
        yield stand


@contextlib.contextmanager
def not_answering(stand: Stand) -> Iterator[None]:
    """Freeze the engine; Apache during a look-up, so that it locks its routes."""
    with contextlib.ExitStack() as held:
        if stand.kind == "apache":
            reader = sqlite3.connect(stand.meeting / "routes.db", isolation_level=None)
            held.callback(reader.close)
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM routes").fetchall()
        stand.signal_engine(signal.SIGSTOP)
        held.callback(stand.signal_engine, signal.SIGCONT)
        yield


def test_calls_do_not_hang_or_pile_up(stand: Stand) -> None:
    sessions = [stand.issue() for _ in range(AT_ONCE)]

    def redeem(session: Session) -> int:
        body = {"port": 5000 + sessions.index(session), "job_id": "1"}
        path = f"sessions/{session.name}/redeem"
        return stand.past_the_engine(path, session.claim, body, IN_TIME)[0]

    def renew(session: Session) -> int:
        return stand.past_the_engine(f"sessions/{session.name}/renew", session.claim, {}, IN_TIME)[
            0
        ]

    with not_answering(stand), ThreadPoolExecutor(AT_ONCE) as clients:
        assert set(clients.map(redeem, sessions)) == {200}
        assert set(clients.map(renew, sessions)) == {200}
        assert not stand.past_the_engine("sessions", body={})[1].get("error")
        # The operator's command gives up after 30 s.
        ended, others = sessions[: AT_ONCE - 2], sessions[AT_ONCE - 2 :]
        settings = load(None, [f"directory={stand.directory / 'service'}", "engine=embedded"])
        with pytest.raises(ServiceError, match=f"until it does: {ended[0].name}, "):
            operate.revoke(settings, [session.name for session in ended], "maintenance")
    until(lambda: all(stand.state(each)["live"] for each in others), "the engine has them")
    assert not any(stand.state(each)["live"] for each in ended)
    operate.revoke(settings, [others[0].name], "maintenance")  # which it takes again


def test_a_call_whose_caller_leaves_is_carried_through(stand: Stand) -> None:
    """Test revoke and redeem while the engine hangs, by callers that do not wait."""
    with stand.notebook() as (ended, _), stand.connect(ended.host) as websocket:
        websocket.sendall(upgrade_request(ended.host, Origin=f"https://{ended.host}"))
        assert " 101 " in read_head(websocket)
        with stand.notebook() as (late, notebook):
            assert answers(stand, late, 200)
            redeemed = stand.issue()
            body = {"port": notebook.port, "job_id": "1"}
            with not_answering(stand):
                for session, call, phase in ((ended, "revoke", 3), (redeemed, "redeem", 2)):
                    with stand.unanswered(f"sessions/{session.name}/{call}", session.claim, body):
                        until(partial(is_noted, stand, session.name, phase), f"{call} is noted")
            websocket.settimeout(60)
            with contextlib.suppress(ConnectionError):
                while websocket.recv(100):
                    pass
            assert answers(stand, late, 200)
            until(lambda: stand.state(redeemed)["live"], "what was redeemed is live")
        until(lambda: answers(stand, ended, 410), "what was revoked is out")


def is_noted(stand: Stand, name: str, phase: int) -> bool:
    """Return whether the registry's file has the session in that phase."""
    with contextlib.closing(sqlite3.connect(stand.directory / "service" / "registry.db")) as db:
        (found,) = db.execute("SELECT phase FROM sessions WHERE name = ?", (name,)).fetchone()
    return bool(found == phase)
