"""The satellite's refusals and states, as the launcher and the agent read them."""

import time
from typing import Any

import pytest

from rps_core.jobs import JobPhase, Known, Unknown
from rps_core.node.agent.satellite import refusal_of
from rps_core.proxy_client.models import ServiceState
from rps_core.sessions.satellite import SatelliteRoute

RUNNING = Known(phase=JobPhase.RUNNING)
ROUTE = SatelliteRoute()
PENDING = Known(phase=JobPhase.PENDING, reason="waiting for a free node")
UNKNOWN = Unknown(reason="slurmctld does not answer")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("Missing 'token' parameter", "refused"),
        ("'port' parameter isn't an integer between 1024 and 65535", "bad-port"),
        ("Unknown nonce or nonce already used", "used"),
        ("Unknown nonce or nonce already destroyed", "gone"),
        ("Nonce already linked to a jobid, you can do this only once!", "already-linked"),
        ("Nonce must be destroyed from host it was redeemed on", "wrong-address"),
        ("Client (your) IP not in range 10.0.0.0/8, please try from within the cluster.",
         "outside-networks"),
        ("Something never seen", "refused"),
    ],
)  # fmt: skip
def test_each_refusal_has_a_code_and_something_to_do(words: str, code: str) -> None:
    refused = refusal_of(f"Oops! {words}\n", "some-secret-name")
    assert (refused.code, refused.message) == (code, words)
    assert bool(refused.advice) == (code != "refused")


def test_a_refusal_keeps_the_name_to_itself() -> None:
    refused = refusal_of("Oops! some-secret-name\x1b[31m is no good", "some-secret-name")
    assert refused.message == "[name]?[31m is no good"


def service(phase: str | None) -> ServiceState | None:
    return None if phase is None else ServiceState(phase, False, None)


NOW = time.time()  # when the rows below are made; the tests may come minutes later


def event(name: str, seconds_ago: float = 0) -> dict[str, Any]:
    return {"event": name, "time": NOW - seconds_ago}


def redeemed(seconds_ago: float = 0) -> list[dict[str, Any]]:
    return [event("redeemed", seconds_ago)]


def ready() -> list[dict[str, Any]]:
    return [*redeemed(3600), event("ready", 3500)]


@pytest.mark.parametrize(
    ("status", "phase", "events", "agent_alive", "state", "reason"),
    [
        (RUNNING, "ready", ready(), True, "ready", None),
        (RUNNING, "ready", redeemed(), True, "starting", "checks that its URL answers"),
        (
            RUNNING,
            "ready",
            [*redeemed(), event("unreachable")],
            True,
            "starting",
            "checks that its URL",
        ),
        # A route is there for two days whatever becomes of the job: alone it proves nothing.
        (UNKNOWN, "ready", redeemed(), True, "unknown", "slurmctld does not answer"),
        (Known(phase=JobPhase.COMPLETING), "ready", redeemed(), True, "ending", None),
        (Known(phase=JobPhase.SUSPENDED), "ready", redeemed(), True, "suspended", None),
        (RUNNING, "ready", [], False, "ending", None),
        (RUNNING, "mapping", redeemed(), True, "starting", "within two minutes"),
        (RUNNING, "mapping", redeemed(600), True, "starting", "late"),
        # Another user who saw the name may have redeemed it.
        (RUNNING, "ready", [], True, "starting", "has not said that it was the one"),
        (PENDING, "ready", [], True, "pending", "do not open its URL"),
        (PENDING, "issued", [], True, "pending", "waiting for a free node"),
        (PENDING, "ready", ready(), True, "ready", None),  # the scheduler's answer is older
        (PENDING, None, [], True, "pending", "waiting for a free node"),
        (PENDING, "gone", [], True, "pending", "forgotten"),
        (RUNNING, "linked", [], True, "starting", None),
        # The agent asks for its name until the route is live, and ends without it.
        (RUNNING, "gone", redeemed(), True, "ending", "does not know its name"),
        (RUNNING, "gone", ready(), True, "lapsed", "does not know its name"),
        (RUNNING, "gone", [*ready(), event("destroying")], True, "ending", "does not know its"),
        (RUNNING, "gone", redeemed(49.5 * 3600), True, "lapsed", "49 hours"),
        (RUNNING, None, redeemed(), True, "unknown", "the service does not answer"),
    ],
)
def test_state_and_reason(
    status: Known | Unknown,
    phase: str | None,
    events: list[dict[str, Any]],
    agent_alive: bool,
    state: str,
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)
    found = ROUTE.judge(status, service(phase), events, agent_alive=agent_alive)
    assert found[0] == state
    if reason is None:
        assert found[1] is None
    else:
        assert found[1] is not None
        assert reason in found[1]


def test_nothing_but_evidence_ends_a_session() -> None:
    statuses: list[Known | Unknown] = [RUNNING, PENDING, UNKNOWN]
    statuses += [Known(phase=phase) for phase in JobPhase]
    states = {
        ROUTE.judge(status, service(phase), events, agent_alive=alive)[0]
        for status in statuses
        for phase in ("issued", "linked", "mapping", "ready", "gone", None)
        for events in ([], redeemed())
        for alive in (True, False)
    }
    assert "ended" not in states
    assert "failed" not in states


def test_a_route_that_may_be_left_is_reported() -> None:
    left = [*redeemed(), {"event": "route-left", "time": 0}]
    assert "49 hours" in ROUTE.what_is_left(left, revoked=True)
    assert "49 hours" in ROUTE.what_is_left(redeemed(), revoked=False)
    assert ROUTE.what_is_left(redeemed(), revoked=True) == ""
    assert ROUTE.what_is_left([], revoked=False) == ""  # never redeemed: there is no route


def test_a_job_that_outlives_its_route_is_reported() -> None:
    assert "49" not in str(ROUTE.note(48 * 3600))
    assert "after 49 hours" in str(ROUTE.note(50 * 3600))
