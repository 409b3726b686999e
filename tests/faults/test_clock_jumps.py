"""The wall clock jumps by an hour (libfaketime, for the service alone).

No lease is lost or revived, no name expires, no limit is lifted early, and certificates stay valid.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stands.fake_clock import Clock
from tests.stands.service import Notebook, Service, Session, running_service
from tests.stands.waiting import until

HOUR = 3600
LIMITS = {"limits.issues_per_minute": 6, "advanced.audit_lines_per_minute": 4}
LEASE = {"lease.length": 4, "lease.renew_every": 1, "advanced.sweep_every": 0.2}


@pytest.fixture
def clock(tmp_path: Path, need: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> Clock:
    need("faketime")
    return Clock(tmp_path / "clock", monkeypatch, steady=False)


@contextmanager
def renewed(service: Service, session: Session) -> Iterator[list[int]]:
    """Renew a lease continuously; return the answers."""
    answers: list[int] = []
    over = threading.Event()

    def renew() -> None:
        while not over.wait(0.5):
            answers.append(service.renew(session))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        yield answers
    finally:
        over.set()
        thread.join()


def is_live(service: Service, session: Session) -> bool:
    return bool(service.state(session)["live"])


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_an_hour(clock: Clock, jump: int, tmp_path: Path) -> None:
    audit = {"audit.file": tmp_path / "audit.log"}
    with running_service(tmp_path, **LIMITS, **LEASE, **audit) as service:
        lapsed, pending = service.issue(), service.issue()
        with service.notebook() as (live, _), renewed(service, live) as renewals:
            assert service.redeem(lapsed, 5000)[0] == 200
            until(lambda: not is_live(service, lapsed), "one lease runs out")
            new = service.issue()
            while service.call("POST", "sessions", body={})[0] != 429:
                pass
            refusals = refused(tmp_path)
            clock.put(jump)
            created = service.call("POST", "sessions", body={})
            assert created[0] == 429, "the jump gave the caller new names"
            assert is_live(service, live)
            assert not is_live(service, lapsed)
            assert service.request(live.host, "GET", "/").status == 200
            assert service.state(pending)["phase"] == "issued"
            for _ in range(10):  # more than are written in a minute
                service.call("POST", "sessions", body={})
            assert refused(tmp_path) <= max(refusals, LIMITS["advanced.audit_lines_per_minute"])
            # A certificate of one hour is verified in the other.
            with Notebook(service.certificate(new), tmp_path) as notebook:
                clock.put(-jump)
                assert service.redeem(new, notebook.port)[0] == 200
                assert service.request(new.host, "GET", "/").status == 200
            assert set(renewals) == {200}
            assert service.renew(lapsed) == 200
            assert is_live(service, lapsed)
            shown = {
                line["event"]: line["timestamp"]
                for line in map(json.loads, service.log().splitlines())
            }
            assert shown["back"][:13] != shown["listening"][:13], "the clock did not jump"
        assert '"defect"' not in service.log()


def refused(directory: Path) -> int:
    return (directory / "audit.log").read_text().count('"refusal"')
