"""A job's state, from the report to the page that shows it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.stands.event_stream import EventStream
from tests.stands.service import DOMAIN, Notebook, Service, Session, running_service
from tests.stands.waiting import until

FEEDER = "127.0.0.7"
KEY = "k" * 40


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    key_file = directory / "feed.key"
    key_file.write_text(f"{KEY}\n")
    key_file.chmod(0o600)
    settings = {
        "networks.issue": "[127.0.0.1]",
        "networks.redeem": "[127.0.0.1]",
        "feed.networks": f"[{FEEDER}]",
        "feed.key_file": key_file,
        "advanced.waiting_pages_per_session": 2,
        "advanced.waiting_pages": 4,
    }
    with running_service(directory, **settings) as service:
        yield service


def linked(service: Service, job_id: str = "17", cluster: str = "comet") -> Session:
    session = service.issue(cluster=cluster, scheduler="slurm", user="alice")
    path = f"sessions/{session.name}/link"
    assert service.call("POST", path, session.claim, {"job_id": job_id})[0] == 200
    return session


def say(service: Service, session: Session, **report: Any) -> tuple[int, dict[str, Any]]:
    return service.call("POST", f"sessions/{session.name}/job", session.claim, report)


def phase(service: Service, session: Session) -> str:
    found: str = service.request(session.host, "GET", "/.rps/state").json()["phase"]
    return found


def page(service: Service, session: Session) -> tuple[int, str]:
    answer = service.request(session.host, "GET", "/?token=x", headers={"Accept": "text/html"})
    return answer.status, answer.body.decode()


def feed(
    service: Service,
    body: object = None,
    cluster: str = "comet",
    key: str | None = KEY,
    **more: Any,
) -> tuple[int, dict[str, Any]]:
    more.setdefault("source", FEEDER)
    method = "GET" if body is None else "POST"
    return service.call(method, f"clusters/{cluster}/jobs", key, body, **more)


def test_what_a_launcher_says_is_on_the_page(service: Service) -> None:
    session = linked(service)
    assert phase(service, session) == "pending"
    soon = time.time() + 1530
    assert (
        say(service, session, state="queued", reason="nodes-unavailable", estimate=soon)[0] == 200
    )
    status, text = page(service, session)
    assert (status, phase(service, session)) == (503, "queued")
    assert "Your job is waiting: the nodes that it needs are down, drained or reserved." in text
    assert "in about 25 minutes" in text
    assert "alice" not in text
    assert say(service, session, state="running")[0] == 200
    assert phase(service, session) == "starting"
    # It was reported before.
    assert say(service, session, state="queued", reason="held")[0] == 200
    assert phase(service, session) == "starting"
    assert say(service, session, state="gone", reason="cancelled")[0] == 200
    status, text = page(service, session)
    assert (status, phase(service, session)) == (410, "ended")
    assert "The job was cancelled." in text
    assert service.state(session)["phase"] == "linked"  # the name is still reserved


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        session = linked(service)
        assert say(service, session, state="queued", reason="it waits")[0] == 200
        service.kill()
        service.start()
        assert service.request(session.host, "GET", "/.rps/state").json()["phase"] == "queued"


def test_the_agents_certificate_says_that_the_job_runs(service: Service, tmp_path: Path) -> None:
    session = linked(service)
    assert say(service, session, state="queued")[0] == 200
    with EventStream(service, session.host) as stream:
        first = stream.event()
        assert first is not None
        assert first["phase"] == "queued"
        with Notebook(service.certificate(session), tmp_path) as notebook:
            second = stream.event()
            assert second is not None
            assert second["phase"] == "starting"
            assert service.redeem(session, notebook.port)[0] == 200
            third = stream.event()
            assert third is not None
            assert third["phase"] == "ready"
            assert stream.event() is None
            assert service.request(session.host, "GET", "/").status == 200
            # A wrong report, or another job of that number: the notebook answers, and continues.
            assert say(service, session, state="gone", reason="it failed")[0] == 200
            assert service.request(session.host, "GET", "/").status == 200
    assert service.call("POST", f"sessions/{session.name}/revoke", session.claim)[0] == 200
    assert page(service, session)[0] == 410


def test_an_end_is_described_in_our_words_alone(service: Service) -> None:
    session = service.issue()
    body = {"reason": "CANCELLED by alice (uid 2001) on comet-17", "cause": "cancelled"}
    path = f"sessions/{session.name}/revoke"
    assert service.call("POST", path, session.claim, body)[1]["reason"] == body["reason"]
    status, text = page(service, session)
    assert (status, "The job was cancelled." in text) == (410, True)
    assert "alice" not in text
    other = service.issue()
    path = f"sessions/{other.name}/revoke"
    assert service.call("POST", path, other.claim, {"cause": "alice"})[0] == 200
    assert "alice" not in page(service, other)[1]


EVIL = "Log in again at https://evil.example/\u2024\uff0e or hxxp evil dot example"


def test_no_other_users_text_is_on_the_page(service: Service) -> None:
    """Test every call that takes text, from the holder of a claim and from the feed."""
    feed_it = {"job_id": "17", "reason": EVIL}
    for state, number in (("queued", 503), ("running", 503), ("gone", 410)):
        by_launcher, by_feed = linked(service), linked(service)
        assert say(service, by_launcher, state=state, reason=EVIL)[0] == 200
        said = {by_feed.name: {**feed_it, "state": state}}
        assert feed(service, {"jobs": said}) == (200, {"noted": 1})
        for session in (by_launcher, by_feed):
            assert page(service, session)[0] == number
            _no_evil(service, session)
    # A launcher or an agent of any version ends its session all the same, and the page stays ours.
    for session, body in (
        (by_launcher, {"reason": EVIL, "cause": EVIL}),
        (by_feed, {"reason": EVIL}),
        (linked(service), {"reason": EVIL, "cause": "signal"}),
        (
            service.issue(user=EVIL, cluster=EVIL, scheduler=EVIL),
            {"reason": EVIL, "cause": ["signal"]},
        ),
    ):
        path = f"sessions/{session.name}/revoke"
        status, answer = service.call("POST", path, session.claim, body)
        assert (status, answer["phase"]) == (200, "gone")
        assert page(service, session)[0] == 410
        _no_evil(service, session)


def _no_evil(service: Service, session: Session) -> None:
    shown = page(service, session)[1]
    shown += service.request(session.host, "GET", "/.rps/state").body.decode()
    with EventStream(service, session.host) as stream:
        shown += str(stream.event()) if stream.status == 200 else ""
    for word in ("evil", "Log in", "https:", "hxxp", "\u2024"):
        assert word not in shown, shown


@pytest.mark.parametrize(
    "body",
    [{}, {"state": "unknown"}, {"state": "queued", "reason": "x" * 201}, {"state": "gone", "a": 1}],
)
def test_a_report_has_its_form(service: Service, body: dict[str, Any]) -> None:
    session = linked(service)
    status, answer = say(service, session, **body)
    assert (status, answer["error"]) == (400, "bad-request")
    assert phase(service, session) == "pending"


def test_who_may_report(service: Service) -> None:
    session = linked(service)
    path = f"sessions/{session.name}/job"
    body = {"state": "gone"}
    other = linked(service)
    assert service.call("POST", path, other.claim, body)[1]["error"] == "wrong-claim"
    assert service.call("POST", path, None, body)[1]["error"] == "no-claim"
    outside = service.call("POST", path, session.claim, body, source="127.0.0.9")
    assert outside[1]["error"] == "outside-networks"
    assert service.call("GET", path, session.claim)[1]["error"] == "wrong-method"
    service.revoke(other)
    assert say(service, other, **body)[1]["error"] == "gone"


def test_the_feed(service: Service) -> None:
    first, second = linked(service, "101", "stratus"), linked(service, "102", "stratus")
    elsewhere = linked(service, "101", "tscc")
    status, found = feed(service, cluster="stratus")
    jobs = {one["name"]: one["job_id"] for one in found["jobs"]}
    assert (status, jobs) == (200, {first.name: "101", second.name: "102"})
    # The user is what the launcher said, which proves nothing; and no job was looked at yet.
    assert {(one["user"], one["seen"]) for one in found["jobs"]} == {(None, False)}
    said = {
        first.name: {"job_id": "101", "state": "queued", "reason": "priority"},
        second.name: {"job_id": "102", "state": "gone", "reason": "walltime"},
        elsewhere.name: {"job_id": "101", "state": "gone"},  # of another cluster
        "never-issued-name": {"job_id": "101", "state": "gone"},
    }
    assert feed(service, {"jobs": said}, "stratus") == (200, {"noted": 2})
    assert phase(service, first) == "queued"
    assert "The job reached its walltime limit." in page(service, second)[1]
    assert phase(service, elsewhere) == "pending"
    (left,) = feed(service, cluster="stratus")[1]["jobs"]
    assert left == {"name": first.name, "job_id": "101", "user": None, "seen": True}


def test_what_was_seen_of_one_job_is_not_said_of_another(service: Service) -> None:
    """Test a session whose agent and launcher report different jobs during a feed."""
    session = service.issue(cluster="elsewhere")
    assert service.redeem(session, 5000, body={"job_id": "201"})[0] == 200
    said = {"jobs": {session.name: {"job_id": "201", "state": "running"}}}
    assert feed(service, said, "elsewhere") == (200, {"noted": 1})
    assert feed(service, cluster="elsewhere")[1]["jobs"][0]["seen"] is True
    path = f"sessions/{session.name}/link"
    assert service.call("POST", path, session.claim, {"job_id": "202"})[0] == 200
    assert feed(service, said, "elsewhere") == (200, {"noted": 0})
    (found,) = feed(service, cluster="elsewhere")[1]["jobs"]
    assert (found["job_id"], found["seen"]) == ("202", False)


def test_a_job_that_is_not_the_sessions_is_logged_once(service: Service) -> None:
    session = linked(service, "301", "tscc2")
    message = {"jobs": {}, "foreign": {session.name: {"job_id": "301", "owner": "bob"}}}
    for _ in range(3):
        assert feed(service, message, "tscc2") == (200, {"noted": 0})
    assert phase(service, session) == "pending"
    # Not of that cluster, or of a job that it is not linked to any more.
    assert feed(service, message, "comet") == (200, {"noted": 0})
    message["foreign"] = {session.name: {"job_id": "302", "owner": "bob"}}
    assert feed(service, message, "tscc2") == (200, {"noted": 0})
    lines = [line for line in service.log().splitlines() if "foreign-job" in line]
    assert len(lines) == 1
    assert '"owner": "bob"' in lines[0]
    (found,) = feed(service, cluster="tscc2")[1]["jobs"]
    assert found["seen"] is False


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "bad-request"),
        ({"jobs": []}, "bad-request"),
        ({"jobs": {"a-b-c": {"job_id": "1", "state": "running"}}, "more": 1}, "bad-request"),
        ({"jobs": {"../../etc": {"job_id": "1", "state": "running"}}}, "bad-request"),
        ({"jobs": {"a-b-c": {"job_id": "1", "state": "away"}}}, "bad-request"),
        ({"jobs": {"a-b-c": {"state": "running"}}}, "bad-request"),  # whose job was not looked at
        ({"jobs": {"a-b-c": {"job_id": "", "state": "running"}}}, "bad-request"),
        ({"jobs": {"a-b-c": "running"}}, "bad-request"),
        ({"jobs": {}, "foreign": []}, "bad-request"),
        ({"jobs": {}, "foreign": {"a-b-c": {"owner": "bob"}}}, "bad-request"),
        ({"jobs": {}, "foreign": {"a-b-c": {"job_id": 1, "owner": "bob"}}}, "bad-request"),
        ({"jobs": {}, "foreign": {"a-b-c": {"job_id": "1", "owner": "b\nb"}}}, "bad-request"),
        ({"jobs": {}, "foreign": {"a-b-c": {"job_id": "1", "owner": "b" * 65}}}, "bad-request"),
    ],
)
def test_a_feed_has_its_form(service: Service, body: object, code: str) -> None:
    assert feed(service, body)[1]["error"] == code


def test_who_may_feed(service: Service) -> None:
    session = linked(service)
    assert feed(service, key=None)[1]["error"] == "no-claim"
    assert feed(service, key="x" * 40)[1]["error"] == "wrong-claim"
    assert feed(service, key=session.claim)[1]["error"] == "wrong-claim"
    assert feed(service, source="127.0.0.9")[1]["error"] == "outside-networks"
    # Who may issue may not feed, with the key or without.
    assert feed(service, source="127.0.0.1")[1]["error"] == "no-such-call"
    assert (
        service.call("GET", "clusters/comet/else", KEY, source=FEEDER)[1]["error"] == "no-such-call"
    )
    assert KEY not in service.log()


def test_streams_are_bounded_and_the_rest_may_ask(service: Service) -> None:
    one, two, three = linked(service), linked(service), linked(service)
    open_streams = [EventStream(service, session.host) for session in (one, one, two, two)]
    try:
        assert [stream.status for stream in open_streams] == [200] * 4
        head = open_streams[0].head.lower()
        assert "content-type: text/event-stream" in head
        assert "cache-control: no-store" in head
        for session in (one, three):  # of one session, and in all
            with EventStream(service, session.host) as refused:
                assert refused.status == 503
            assert phase(service, session) == "pending"
        open_streams.pop().connection.close()

        def again() -> bool:
            with EventStream(service, three.host) as stream:
                return stream.status == 200

        until(again, "one that went away leaves its place")
    finally:
        for stream in open_streams:
            stream.connection.close()


def test_who_gets_no_stream(service: Service) -> None:
    session = linked(service)
    with EventStream(service, session.host, **{"Sec-Fetch-Site": "cross-site"}) as foreign:
        assert foreign.status == 403
    with EventStream(service, f"never-issued-name.{DOMAIN}:{service.port}") as unknown:
        assert unknown.status == 204
    service.revoke(session)
    with EventStream(service, session.host) as over:
        assert over.status == 204
    assert service.request(session.host, "POST", "/.rps/events", b"").status == 405


def test_streams_end_with_the_service(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        session = linked(service)
        with EventStream(service, session.host) as stream:
            assert stream.event() is not None
            assert service.stop() == 0
            assert stream.event() is None
