"""The launcher's calls and the node agent at the satellite, with a real Jupyter."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rps_core.errors import ServiceError
from rps_core.node.agent.satellite import Satellite
from rps_core.node.agent.service import ServiceRefused
from rps_core.proxy_client import remembered
from rps_core.proxy_client.client import Client, client_at, issue_or_detect
from rps_core.proxy_client.models import Issued
from rps_core.state.record import Endpoint
from tests.stands.agent import TOKEN, agent, event, events, session_directory
from tests.stands.satellite import (
    DOMAIN,
    HTML,
    NOT_FOUND,
    TEXT,
    SatelliteServer,
    oops,
    running_satellite,
)
from tests.stands.waiting import until

NAME = "aversion-runaround-spearman"


@pytest.fixture
def satellite(tmp_path: Path) -> Iterator[SatelliteServer]:
    with running_satellite(tmp_path / "satellite") as service:
        yield service


def client(satellite: SatelliteServer, *, protocol: str = "satellite") -> Client:
    endpoint = Endpoint(
        host=f"manage.{DOMAIN}",
        port=satellite.port,
        connect="127.0.0.1",
        ca_file=str(satellite.ca_file),
        protocol=protocol,
    )
    return client_at(endpoint, 10)


def issue(service: Client) -> Issued:
    return service.issue(cluster="c", scheduler="s", user="u")


def detected(service: Client) -> tuple[Client, Issued]:
    """Return a name as `proxy.protocol: auto` gets it, and the client of what issued it."""
    return issue_or_detect(service, 10, cluster="c", scheduler="s", user="u")


def from_address(satellite: SatelliteServer, address: str, path: str) -> str:
    """Make one call from another loopback address, as another host would."""
    context = ssl.create_default_context(cafile=str(satellite.ca_file))
    raw = socket.create_connection(("127.0.0.1", satellite.port), 10, source_address=(address, 0))
    with context.wrap_socket(raw, server_hostname=f"manage.{DOMAIN}") as secure:
        secure.sendall(f"GET {path} HTTP/1.0\r\nHost: manage.{DOMAIN}\r\n\r\n".encode())
        return secure.makefile("rb").read().decode()


# The launcher


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_satellite_is_asked_once_at_each_later_start(satellite: SatelliteServer) -> None:
    for _ in range(2):
        service, issued = detected(client(satellite, protocol="rps"))
        assert (service.endpoint.protocol, issued.claim) == ("satellite", NAME)
        satellite.names.clear()
    assert satellite.others == [("POST", "/api/v1/sessions")]  # at the first start only


def test_a_remembered_satellite_that_refuses_is_asked_as_rps_again(
    satellite: SatelliteServer,
) -> None:
    detected(client(satellite, protocol="rps"))
    satellite.answers["getlink.cgi"] = lambda _query: (
        401, "text/plain", "This service gives names to users who prove who they are: use rps",
    )  # fmt: skip
    satellite.others.clear()
    for _ in range(2):
        with pytest.raises(ServiceError):
            detected(client(satellite, protocol="rps"))
    assert satellite.others == [("POST", "/api/v1/sessions")] * 2


def test_a_remembered_satellite_that_does_not_answer_is_not_asked_twice(
    satellite: SatelliteServer,
) -> None:
    service = client(satellite, protocol="rps")
    remembered.remember(replace(service.endpoint, port=9))
    with pytest.raises(ServiceError, match="refused"):
        detected(client_at(replace(service.endpoint, port=9), 10))
    assert remembered.is_satellite(replace(service.endpoint, port=9))


def test_a_name_from_issue_to_its_end(satellite: SatelliteServer) -> None:
    service = client(satellite)
    issued = issue(service)
    assert issued.claim == NAME
    assert issued.url == f"https://{NAME}.{DOMAIN}:{satellite.port}/"
    assert re.fullmatch("notebook-[0-9a-f]{8}", issued.name)  # what others see is not the name
    assert NAME not in repr(issued)
    assert service.state(issued.name, issued.claim).phase == "issued"
    service.link(issued.name, issued.claim, "17.head")
    assert satellite.names[NAME].job_id == "17.head"
    satellite.names[NAME].job_state = "Q"
    assert service.state(issued.name, issued.claim).phase == "linked"
    service.revoke(issued.name, issued.claim, "stopped")
    assert satellite.names == {}
    state = service.state(issued.name, issued.claim)
    assert (state.phase, state.live) == ("gone", False)
    with pytest.raises(ServiceError, match="already destroyed") as caught:
        service.revoke(issued.name, issued.claim, "stopped")
    assert caught.value.code == "gone"


def test_a_redeemed_name_is_its_nodes_to_destroy(satellite: SatelliteServer) -> None:
    service = client(satellite)
    issued = issue(service)
    good = from_address(satellite, "127.0.0.2", f"/redeemtoken.cgi?token={NAME}&port=8888")
    assert good.endswith("\r\n\r\nSuccess!\n")
    assert service.state(issued.name, issued.claim).phase == "mapping"
    satellite.run_cron()
    state = service.state(issued.name, issued.claim)
    assert (state.phase, state.live) == ("ready", False)
    with pytest.raises(ServiceError) as caught:
        service.revoke(issued.name, issued.claim, "stopped")
    assert caught.value.code == "wrong-address"
    assert "own node" in caught.value.hint
    assert NAME in satellite.names


def test_outside_the_cluster_the_error_names_the_login_node(satellite: SatelliteServer) -> None:
    satellite.outside = True
    asking: tuple[tuple[Callable[[Client], Any], str], ...] = (
        (issue, "satellite"),
        (detected, "rps"),
    )
    for ask, protocol in asking:
        with pytest.raises(ServiceError, match="not in range") as caught:
            ask(client(satellite, protocol=protocol))
        assert (caught.value.code, caught.value.exit_code) == ("outside-networks", 4)
        assert "login nodes" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "text", "code", "says", "advice"),
    [
        (503, "This service gives no new tokens for now, please try again later", "unavailable",
         'is unavailable: "This service gives no new tokens for now, please try again later"',
         "Try again later"),
        (429, "Too many tokens, please try again later", "unavailable", '"Too many tokens', "later"),
        (401, "This service gives names to users who prove who they are: use rps", "no-claim",
         '"This service gives names to users', "`proxy.protocol: rps`"),
        (403, "Client (your) IP not in range 10.0.0.0/8, please try from within the cluster.",
         "outside-networks", "not in range", "login nodes"),
    ],
)  # fmt: skip
def test_a_refusal_with_a_status_keeps_its_words(
    satellite: SatelliteServer, status: int, text: str, code: str, says: str, advice: str
) -> None:
    """Test `getlink.cgi` as an rps service refuses it.

    See tests/service/test_satellite_calls.py.
    """
    satellite.answers["getlink.cgi"] = lambda _: (status, TEXT, f"Oops! {text}\n")
    for ask, protocol in ((issue, "satellite"), (detected, "rps")):
        with pytest.raises(ServiceError) as caught:
            ask(client(satellite, protocol=protocol))
        assert says in caught.value.message
        assert advice in caught.value.hint
        assert (caught.value.code, caught.value.transient) == (code, status in (429, 503))


@pytest.mark.parametrize(
    "body",
    [
        "Your token is \n\n",
        "Your token is \nmanage\n",
        "Your token is \ntwo-words\n",
        "Your token is \na-b-c.example.org\n",
        "Your token is \na-b-c/../../x\n",
        "Your token is \n-a-b-c\n",
        "Your token is \na--b-c\n",
        "Your token is \nä-b-c\n",
        f"Your token is \n{'a' * 30}-{'b' * 30}-{'c' * 30}\n",
        "<html>Welcome a-b-c\n",
    ],
)
def test_what_is_no_name_never_gets_into_a_host_name(satellite: SatelliteServer, body: str) -> None:
    satellite.answers["getlink.cgi"] = lambda _: (200, TEXT, body)
    with pytest.raises(ServiceError):
        issue(client(satellite))


def test_a_word_with_a_hyphen_is_one_of_the_list(satellite: SatelliteServer) -> None:
    satellite.answers["getlink.cgi"] = lambda _: (
        200,
        TEXT,
        "Your token is \nT-Shirt-yo-yo-felt-tip\n",
    )
    assert issue(client(satellite)).claim == "t-shirt-yo-yo-felt-tip"


@pytest.mark.parametrize(
    "answer",
    [(500, HTML, "Internal Server Error"), (200, HTML, "<html>Please log in"), (503, HTML, "later"),
     (200, "application/json", "{}")],
)  # fmt: skip
def test_what_is_no_answer_concludes_nothing(satellite: SatelliteServer, answer: Any) -> None:
    service = client(satellite)
    issued = issue(service)
    for script in ("linktoken.cgi", "destroytoken.cgi", "tokenjobstate.cgi"):
        satellite.answers[script] = lambda _: answer
    with pytest.raises(ServiceError) as caught:
        service.state(issued.name, issued.claim)
    assert caught.value.transient
    for call in (service.link, service.revoke):
        with pytest.raises(ServiceError) as caught:
            call(issued.name, issued.claim, "17")
        assert caught.value.transient
        assert NAME not in str(caught.value)


def test_earlier_servers_put_the_age_before_the_state(satellite: SatelliteServer) -> None:
    service = client(satellite)
    issued = issue(service)
    satellite.answers["tokenjobstate.cgi"] = lambda _: (200, TEXT, "17 PR")
    assert service.state(issued.name, issued.claim).phase == "ready"


# Which of the two it is


@pytest.mark.parametrize(
    "elsewhere",
    [(404, HTML, NOT_FOUND), (405, HTML, "<html>Method Not Allowed</html>"),
     (200, TEXT, "Please see documentation on how to use this service.\n"),
     oops("Only GET method is supported")],
    ids=["404", "405", "its index", "its index, to a POST"],
)  # fmt: skip
def test_it_is_found_out_and_remembered(satellite: SatelliteServer, elsewhere: Any) -> None:
    satellite.elsewhere = elsewhere
    service, issued = detected(client(satellite, protocol="rps"))
    assert service.endpoint.protocol == "satellite"
    assert satellite.others == [("POST", "/api/v1/sessions")]
    service.link(issued.name, issued.claim, "17")
    service.revoke(issued.name, issued.claim, "stopped")
    assert [script for script, _ in satellite.calls] == [
        "getlink.cgi",
        "linktoken.cgi",
        "destroytoken.cgi",
    ]
    assert satellite.others == [("POST", "/api/v1/sessions")]


def test_a_new_service_is_asked_once(satellite: SatelliteServer) -> None:
    answer = {"name": "a-b-c", "host": f"a-b-c.{DOMAIN}", "url": f"https://a-b-c.{DOMAIN}/",
              "claim": "c" * 43}  # fmt: skip
    satellite.elsewhere = (201, "application/json", json.dumps(answer))
    service, issued = detected(client(satellite, protocol="rps"))
    assert issued.claim == "c" * 43
    assert (satellite.others, satellite.calls) == ([("POST", "/api/v1/sessions")], [])
    assert service.endpoint.protocol == "rps"


@pytest.mark.parametrize(
    "elsewhere",
    [
        (404, "application/json", '{"error": "no-such-call", "message": "no"}'),
        (403, "application/json", '{"error": "outside-networks", "message": "no"}'),
        (429, "application/json", '{"error": "limit", "message": "no"}'),
        (403, HTML, "<html>Forbidden</html>"),
        (421, TEXT, "Misdirected Request"),
        (500, HTML, "<html>Internal Server Error</html>"),
        (502, HTML, "<html>Bad Gateway</html>"),
        (503, HTML, "<html>Service Unavailable</html>"),
        (200, HTML, "<html>Please log in</html>"),
        (301, HTML, "<html>Moved</html>"),
    ],
    ids=lambda answer: f"{answer[0]} {answer[1]}",
)
def test_an_error_of_the_new_service_is_no_reason_to_fall_back(
    satellite: SatelliteServer, elsewhere: Any
) -> None:
    satellite.elsewhere = elsewhere
    with pytest.raises(ServiceError):
        detected(client(satellite, protocol="rps"))
    assert satellite.calls == []


def test_who_cuts_a_request_gets_no_downgrade(satellite: SatelliteServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as cut:

        def accept_and_close() -> None:
            cut.accept()[0].close()

        threading.Thread(target=accept_and_close, daemon=True).start()
        endpoint = replace(client(satellite).endpoint, port=cut.getsockname()[1], protocol="rps")
        with pytest.raises(ServiceError):
            detected(client_at(endpoint, 10))
    with pytest.raises(ServiceError):  # no server any more
        detected(client_at(endpoint, 10))
    impostor = Endpoint(host=f"manage.{DOMAIN}", port=satellite.port, connect="127.0.0.1")
    with pytest.raises(ServiceError, match="certificate"):  # the system's CAs do not know this one
        detected(client_at(impostor, 10))
    assert satellite.calls == []
    assert satellite.others == []


@pytest.mark.parametrize("status", [404, 403, 200])
def test_a_page_that_is_lost_is_not_the_satellite(satellite: SatelliteServer, status: int) -> None:
    satellite.answers["getlink.cgi"] = lambda _: (status, HTML, NOT_FOUND)
    with pytest.raises(ServiceError, match="not the service") as caught:
        detected(client(satellite, protocol="rps"))
    assert "rps with status 404" in caught.value.message
    assert f"a satellite's call, with status {status}" in caught.value.message
    assert "proxy.domain" in caught.value.hint
    assert not caught.value.transient


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_satellite_whose_script_fails_is_not_a_lost_page(
    satellite: SatelliteServer, status: int
) -> None:
    """Test that the error is the second call's: a satellite answers 404 to the first."""
    satellite.answers["getlink.cgi"] = lambda _: (status, HTML, "<h1>Internal Server Error</h1>")
    for ask, protocol in ((issue, "satellite"), (detected, "rps")):
        with pytest.raises(ServiceError) as caught:
            ask(client(satellite, protocol=protocol))
        assert f"it answered with status {status}" in caught.value.message
        assert "status 404" not in caught.value.message  # a port may have these digits
        assert caught.value.transient


def test_told_that_it_is_the_new_one_the_satellite_is_not_tried(satellite: SatelliteServer) -> None:
    with pytest.raises(ServiceError, match="not the service"):
        issue(client(satellite, protocol="rps"))
    assert satellite.calls == []


# The agent


@pytest.fixture
def session(tmp_path: Path, satellite: SatelliteServer) -> Path:
    issued = issue(client(satellite))
    return session_directory(
        tmp_path / issued.name,
        issued.name,
        issued.claim,
        TOKEN,
        satellite.port,
        satellite.ca_file,
        host=issued.host,
        url=issued.url,
        service={
            "host": f"manage.{DOMAIN}",
            "port": satellite.port,
            "connect": "127.0.0.1",
            "ca_file": "service-ca.pem",
            "protocol": "satellite",
        },
    )


def visit(
    satellite: SatelliteServer, path: str, **headers: str
) -> tuple[int, http.client.HTTPMessage]:
    context = ssl.create_default_context(cafile=str(satellite.ca_file))
    connection = http.client.HTTPSConnection(
        f"{NAME}.{DOMAIN}", satellite.port, timeout=30, context=context
    )
    raw = socket.create_connection(("127.0.0.1", satellite.port), 30)
    connection.sock = context.wrap_socket(raw, server_hostname=f"{NAME}.{DOMAIN}")
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def log(session: Path) -> str:
    return (session / "job.log").read_text()


def test_a_session_from_its_redeeming_to_its_destruction(
    satellite: SatelliteServer, session: Path
) -> None:
    with agent(session) as process:
        event(session, "redeemed")
        assert "within two minutes" in log(session)
        until(lambda: len(satellite.asked("tokenjobstate.cgi")) >= 4, "a look for the route")
        assert events(session, "ready") == []  # it is not there before the service says so
        satellite.run_cron()
        ready = event(session, "ready")
        assert satellite.names[NAME].target == ("127.0.0.1", ready["port"])

        assert visit(satellite, "/api/status")[0] == 403
        assert visit(satellite, "/api/status", Authorization=f"token {TOKEN}")[0] == 200
        own = f"https://{NAME}.{DOMAIN}:{satellite.port}"
        headers = visit(satellite, "/login", Origin="https://stranger.example")[1]
        assert headers["Access-Control-Allow-Origin"] in (None, own)
        cookie = visit(satellite, f"/lab?token={TOKEN}")[1]["Set-Cookie"]
        assert cookie.startswith("__Host-")
        assert "; Secure" in cookie
        assert "; HttpOnly" in cookie

        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert satellite.names == {}
    assert len(satellite.asked("redeemtoken.cgi")) == 1
    assert len(satellite.asked("destroytoken.cgi")) == 1
    assert not (session / "claim.json").exists()
    assert events(session, "ended")[0]["cause"] == "signal"
    assert events(session, "route-left") == []
    # The name is only in the service's calls and in the session's private files.
    assert NAME not in log(session)
    assert NAME not in (session / "events.jsonl").read_text()
    assert NAME not in json.dumps([e.get("command") for e in events(session, "application")])


def test_a_notebook_that_the_satellite_cannot_connect_to_is_not_ready(
    satellite: SatelliteServer, session: Path
) -> None:
    """Test a route to an address of the way (source NAT), on which nothing listens."""
    with agent(session) as process:
        event(session, "redeemed")
        own = satellite.names[NAME].target
        assert own is not None
        satellite.names[NAME].target = ("127.0.0.9", own[1])
        satellite.run_cron()
        reason = event(session, "unreachable")["reason"]
        words = (
            f"cannot connect to 127.0.0.1, port {own[1]}: the session's URL answers with status 503"
        )
        assert words in reason
        assert f"not ready: {reason}" in log(session)
        assert events(session, "ready") == []
        satellite.names[NAME].target = own
        assert event(session, "ready")["port"] == own[1]
        assert process.poll() is None
    assert NAME not in log(session)


def test_there_is_no_lease_to_lose(satellite: SatelliteServer, session: Path) -> None:
    """An outage of the service, once the route is there, is nothing to the notebook."""
    satellite.cron_runs_by_itself = True
    with agent(session) as process:
        event(session, "ready")
        calls = len(satellite.calls)
        satellite.stop()
        with pytest.raises(AssertionError, match="not within"):
            until(lambda: events(session, "ended"), "an end", seconds=20)
        assert process.poll() is None
        satellite.start()
        assert events(session, "service-away") == []
        assert len(satellite.calls) == calls


def test_an_outage_at_the_end_leaves_the_route_and_says_so(
    satellite: SatelliteServer, session: Path
) -> None:
    satellite.cron_runs_by_itself = True
    with agent(session) as process:
        event(session, "ready")
        satellite.stop()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert events(session, "route-left")
    assert "up to 49 hours" in log(session)
    assert not (session / "claim.json").exists()


def test_a_lost_answer_is_not_another_callers_redeeming(
    satellite: SatelliteServer, session: Path
) -> None:
    def redeem_and_lose_the_answer(query: dict[str, str]) -> Any:
        del satellite.answers["redeemtoken.cgi"]
        assert satellite._redeem(query, "127.0.0.1")[2] == "Success!\n"
        return 502, HTML, "<html>Bad Gateway</html>"

    satellite.answers["redeemtoken.cgi"] = redeem_and_lose_the_answer
    with agent(session):
        event(session, "redeemed")
        assert len(satellite.asked("redeemtoken.cgi")) == 1
    assert events(session, "service-away")


@pytest.mark.parametrize("before_jupyter", [True, False])
def test_a_name_that_another_caller_redeemed_is_not_ours(
    satellite: SatelliteServer, session: Path, before_jupyter: bool
) -> None:
    steal = f"/redeemtoken.cgi?token={NAME}&port=6666"
    if before_jupyter:
        from_address(satellite, "127.0.0.2", steal)
    with agent(session) as process:
        if not before_jupyter:
            event(session, "application")
            from_address(satellite, "127.0.0.2", steal)
        assert process.wait(180) == 1  # Jupyter has to answer first
    ended = events(session, "ended")[0]
    assert ended["cause"] == "refused"
    assert "already used" in ended["reason"]
    assert "start another one" in ended["reason"]
    assert bool(events(session, "application")) != before_jupyter
    assert satellite.names[NAME].target == ("127.0.0.2", 6666)  # and not ours to destroy


@pytest.mark.parametrize(
    ("refuse", "words"),
    [
        (lambda satellite: satellite.names.clear(), "already destroyed"),
        (lambda satellite: setattr(satellite, "outside", True), "not in range"),
    ],
)
def test_a_refusal_ends_the_session_with_what_to_do(
    satellite: SatelliteServer, session: Path, refuse: Callable[[SatelliteServer], None], words: str
) -> None:
    refuse(satellite)
    with agent(session) as process:
        assert process.wait(60) == 1
    ended = events(session, "ended")[0]
    assert ended["cause"] == "refused"
    assert words in ended["reason"]
    assert ended["reason"].endswith(".")


def test_a_failed_start_gives_the_name_back(satellite: SatelliteServer, session: Path) -> None:
    launch = json.loads((session / "launch.json").read_text())
    (session / "launch.json").write_text(json.dumps(launch | {"jupyter": "/no/such/program"}))
    with agent(session) as process:
        assert process.wait(60) == 1
    assert satellite.names == {}


# The stand-in itself


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/getlink.cgi", TEXT, f"Your token is \n{NAME}1\n"),
        (f"/linktoken.cgi?token={NAME}&jobid=9", HTML, "Success! Token linked to jobid.\n"),
        (f"/redeemtoken.cgi?token={NAME}&port=80", TEXT,
         "Oops! 'port' parameter isn't an integer between 1024 and 65535\n"),
        (f"/redeemtoken.cgi?token={NAME}&port=8888", HTML, "Success!\n"),
        (f"/redeemtoken.cgi?token={NAME}", TEXT, "Oops! Missing 'port' parameter\n"),
        (f"/destroytoken.cgi?token={NAME}", HTML, "Success! Token destroyed.\n"),
        ("/destroytoken.cgi", TEXT, "Oops! Missing 'token' parameter\n"),
        (f"/tokenjobstate.cgi?token={NAME}.{DOMAIN}", TEXT, "PE"),
        ("/tokenjobstate.cgi?token=no-such-name", TEXT, ""),
        ("/", TEXT, "Please see documentation on how to use this service.\n"),
    ],
)  # fmt: skip
def test_the_stand_in_answers_to_the_byte(
    satellite: SatelliteServer, path: str, kind: str, body: str
) -> None:
    issue(client(satellite))
    head, _, found = from_address(satellite, "127.0.0.1", path).partition("\r\n\r\n")
    assert (found, head.split()[1]) == (body, "200")
    assert f"Content-Type: {kind}" in head


def test_the_stand_in_lets_a_name_be_redeemed_once(satellite: SatelliteServer) -> None:
    issue(client(satellite))
    service = Satellite(f"manage.{DOMAIN}", satellite.port, "127.0.0.1", str(satellite.ca_file))
    service.redeem(NAME, 8888)
    with pytest.raises(ServiceRefused, match="already used"):
        service.redeem(NAME, 8888)
