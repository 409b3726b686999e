"""The launcher's calls and the node agent at a service of the older kind, with a real Jupyter."""

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

from rps_core.client import Client
from rps_core.errors import ServiceError
from rps_core.node.agent.satellite import Satellite
from rps_core.node.agent.service import ServiceRefused
from rps_core.record import Endpoint
from tests.faults.agent_stand import TOKEN, agent, event, events, session_directory, until
from tests.older_service import DOMAIN, HTML, NOT_FOUND, TEXT, OlderService, older_service, oops

NAME = "aversion-runaround-spearman"


@pytest.fixture
def older(tmp_path: Path) -> Iterator[OlderService]:
    with older_service(tmp_path / "older") as service:
        yield service


def client(older: OlderService, *, protocol: str = "satellite", **options: Any) -> Client:
    endpoint = Endpoint(
        host=f"manage.{DOMAIN}",
        port=older.port,
        connect="127.0.0.1",
        ca_file=str(older.ca_file),
        protocol=protocol,
    )
    return Client(endpoint, 10, **options)


def issue(service: Client) -> Any:
    return service.issue(cluster="c", scheduler="s", user="u")


def from_address(older: OlderService, address: str, path: str) -> str:
    """One call from another address of loopback, as another host would make it."""
    context = ssl.create_default_context(cafile=str(older.ca_file))
    raw = socket.create_connection(("127.0.0.1", older.port), 10, source_address=(address, 0))
    with context.wrap_socket(raw, server_hostname=f"manage.{DOMAIN}") as secure:
        secure.sendall(f"GET {path} HTTP/1.0\r\nHost: manage.{DOMAIN}\r\n\r\n".encode())
        return secure.makefile("rb").read().decode()


# The launcher


def test_a_name_from_issue_to_its_end(older: OlderService) -> None:
    service = client(older)
    issued = issue(service)
    assert issued.claim == NAME
    assert issued.url == f"https://{NAME}.{DOMAIN}:{older.port}/"
    assert re.fullmatch("notebook-[0-9a-f]{8}", issued.name)  # what others see is not the name
    assert NAME not in repr(issued)
    assert service.state(issued.name, issued.claim).phase == "issued"
    service.link(issued.name, issued.claim, "17.head")
    assert older.names[NAME].job_id == "17.head"
    older.names[NAME].job_state = "Q"
    assert service.state(issued.name, issued.claim).phase == "linked"
    service.revoke(issued.name, issued.claim, "stopped")
    assert older.names == {}
    state = service.state(issued.name, issued.claim)
    assert (state.phase, state.live) == ("gone", False)
    with pytest.raises(ServiceError, match="already destroyed") as caught:
        service.revoke(issued.name, issued.claim, "stopped")
    assert caught.value.code == "gone"


def test_a_redeemed_name_is_its_nodes_to_destroy(older: OlderService) -> None:
    service = client(older)
    issued = issue(service)
    good = from_address(older, "127.0.0.2", f"/redeemtoken.cgi?token={NAME}&port=8888")
    assert good.endswith("\r\n\r\nSuccess!\n")
    assert service.state(issued.name, issued.claim).phase == "mapping"
    older.run_cron()
    state = service.state(issued.name, issued.claim)
    assert (state.phase, state.live) == ("ready", False)
    with pytest.raises(ServiceError) as caught:
        service.revoke(issued.name, issued.claim, "stopped")
    assert caught.value.code == "wrong-address"
    assert "own node" in caught.value.hint
    assert NAME in older.names


def test_outside_the_cluster_one_is_told_where_to_go(older: OlderService) -> None:
    older.outside = True
    for service in (client(older), client(older, protocol="rps", detect=True)):
        with pytest.raises(ServiceError, match="not in range") as caught:
            issue(service)
        assert (caught.value.code, caught.value.exit_code) == ("outside-networks", 4)
        assert "login nodes" in caught.value.hint


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
def test_what_is_no_name_never_gets_into_a_host_name(older: OlderService, body: str) -> None:
    older.answers["getlink.cgi"] = lambda _: (200, TEXT, body)
    with pytest.raises(ServiceError):
        issue(client(older))


def test_a_word_with_a_hyphen_is_one_of_the_list(older: OlderService) -> None:
    older.answers["getlink.cgi"] = lambda _: (200, TEXT, "Your token is \nT-Shirt-yo-yo-felt-tip\n")
    assert issue(client(older)).claim == "t-shirt-yo-yo-felt-tip"


@pytest.mark.parametrize(
    "answer",
    [(500, HTML, "Internal Server Error"), (200, HTML, "<html>Please log in"), (503, HTML, "later"),
     (200, "application/json", "{}")],
)  # fmt: skip
def test_what_is_no_answer_concludes_nothing(older: OlderService, answer: Any) -> None:
    service = client(older)
    issued = issue(service)
    for script in ("linktoken.cgi", "destroytoken.cgi", "tokenjobstate.cgi"):
        older.answers[script] = lambda _: answer
    with pytest.raises(ServiceError) as caught:
        service.state(issued.name, issued.claim)
    assert caught.value.transient
    for call in (service.link, service.revoke):
        with pytest.raises(ServiceError) as caught:
            call(issued.name, issued.claim, "17")
        assert caught.value.transient
        assert NAME not in str(caught.value)


def test_earlier_servers_put_the_age_before_the_state(older: OlderService) -> None:
    service = client(older)
    issued = issue(service)
    older.answers["tokenjobstate.cgi"] = lambda _: (200, TEXT, "17 PR")
    assert service.state(issued.name, issued.claim).phase == "ready"


# Which of the two it is


@pytest.mark.parametrize(
    "elsewhere",
    [(404, HTML, NOT_FOUND), (405, HTML, "<html>Method Not Allowed</html>"),
     (200, TEXT, "Please see documentation on how to use this service.\n"),
     oops("Only GET method is supported")],
    ids=["404", "405", "its index", "its index, to a POST"],
)  # fmt: skip
def test_it_is_found_out_and_remembered(older: OlderService, elsewhere: Any) -> None:
    older.elsewhere = elsewhere
    service = client(older, protocol="rps", detect=True)
    issued = issue(service)
    assert service.endpoint.protocol == "satellite"
    assert older.others == [("POST", "/api/v1/sessions")]
    service.link(issued.name, issued.claim, "17")
    service.revoke(issued.name, issued.claim, "stopped")
    assert [script for script, _ in older.calls] == [
        "getlink.cgi",
        "linktoken.cgi",
        "destroytoken.cgi",
    ]
    assert older.others == [("POST", "/api/v1/sessions")]


def test_a_new_service_is_asked_once(older: OlderService) -> None:
    answer = {"name": "a-b-c", "host": f"a-b-c.{DOMAIN}", "url": "https://x/", "claim": "secret"}
    older.elsewhere = (201, "application/json", json.dumps(answer))
    service = client(older, protocol="rps", detect=True)
    assert issue(service).claim == "secret"
    assert (older.others, older.calls) == ([("POST", "/api/v1/sessions")], [])
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
    older: OlderService, elsewhere: Any
) -> None:
    older.elsewhere = elsewhere
    service = client(older, protocol="rps", detect=True)
    with pytest.raises(ServiceError):
        issue(service)
    assert older.calls == []
    assert service.endpoint.protocol == "rps"


def test_who_cuts_a_request_gets_no_downgrade(older: OlderService) -> None:
    with socket.create_server(("127.0.0.1", 0)) as cut:

        def accept_and_close() -> None:
            cut.accept()[0].close()

        threading.Thread(target=accept_and_close, daemon=True).start()
        endpoint = replace(client(older).endpoint, port=cut.getsockname()[1], protocol="rps")
        with pytest.raises(ServiceError):
            issue(Client(endpoint, 10, detect=True))
    with pytest.raises(ServiceError):  # nobody there any more
        issue(Client(endpoint, 10, detect=True))
    impostor = Endpoint(host=f"manage.{DOMAIN}", port=older.port, connect="127.0.0.1")
    with pytest.raises(ServiceError, match="certificate"):  # the system's CAs do not know this one
        issue(Client(impostor, 10, detect=True))
    assert older.calls == []
    assert older.others == []


def test_a_page_that_is_lost_is_not_the_older_service(older: OlderService) -> None:
    older.answers["getlink.cgi"] = lambda _: (404, HTML, NOT_FOUND)
    with pytest.raises(ServiceError, match="not the service"):
        issue(client(older, protocol="rps", detect=True))


def test_told_that_it_is_the_new_one_the_older_is_not_tried(older: OlderService) -> None:
    with pytest.raises(ServiceError, match="not the service"):
        issue(client(older, protocol="rps"))
    assert older.calls == []


# The agent


@pytest.fixture
def session(tmp_path: Path, older: OlderService) -> Path:
    issued = issue(client(older))
    return session_directory(
        tmp_path / issued.name,
        issued.name,
        issued.claim,
        TOKEN,
        older.port,
        older.ca_file,
        host=issued.host,
        url=issued.url,
        service={
            "host": f"manage.{DOMAIN}",
            "port": older.port,
            "connect": "127.0.0.1",
            "ca_file": "service-ca.pem",
            "protocol": "satellite",
        },
    )


def visit(older: OlderService, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage]:
    context = ssl.create_default_context(cafile=str(older.ca_file))
    connection = http.client.HTTPSConnection(
        f"{NAME}.{DOMAIN}", older.port, timeout=30, context=context
    )
    raw = socket.create_connection(("127.0.0.1", older.port), 30)
    connection.sock = context.wrap_socket(raw, server_hostname=f"{NAME}.{DOMAIN}")
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, answer.headers


def log(session: Path) -> str:
    return (session / "job.log").read_text()


def test_a_session_from_its_redeeming_to_its_destruction(
    older: OlderService, session: Path
) -> None:
    with agent(session) as process:
        event(session, "redeemed")
        assert "within two minutes" in log(session)
        until(lambda: len(older.asked("tokenjobstate.cgi")) >= 4, "a look for the route")
        assert events(session, "ready") == []  # it is not there before the service says so
        older.run_cron()
        ready = event(session, "ready")
        assert older.names[NAME].target == ("127.0.0.1", ready["port"])

        assert visit(older, "/api/status")[0] == 403
        assert visit(older, "/api/status", Authorization=f"token {TOKEN}")[0] == 200
        own = f"https://{NAME}.{DOMAIN}:{older.port}"
        headers = visit(older, "/login", Origin="https://stranger.example")[1]
        assert headers["Access-Control-Allow-Origin"] in (None, own)
        cookie = visit(older, f"/lab?token={TOKEN}")[1]["Set-Cookie"]
        assert cookie.startswith("__Host-")
        assert "; Secure" in cookie
        assert "; HttpOnly" in cookie

        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert older.names == {}
    assert len(older.asked("redeemtoken.cgi")) == 1
    assert len(older.asked("destroytoken.cgi")) == 1
    assert not (session / "claim.json").exists()
    assert events(session, "ended")[0]["cause"] == "signal"
    assert events(session, "route-left") == []
    # The name is in the service's calls and in the session's private files: nobody else reads of it.
    assert NAME not in log(session)
    assert NAME not in (session / "events.jsonl").read_text()
    assert NAME not in json.dumps([e.get("command") for e in events(session, "application")])


def test_there_is_no_lease_to_lose(older: OlderService, session: Path) -> None:
    """An outage of the service, once the route is there, is nothing to the notebook."""
    older.cron_runs_by_itself = True
    with agent(session) as process:
        event(session, "ready")
        calls = len(older.calls)
        older.stop()
        with pytest.raises(AssertionError, match="did not come"):
            until(lambda: events(session, "ended"), "an end", seconds=20)
        assert process.poll() is None
        older.start()
        assert events(session, "service-away") == []
        assert len(older.calls) == calls


def test_an_outage_at_the_end_leaves_the_route_and_says_so(
    older: OlderService, session: Path
) -> None:
    older.cron_runs_by_itself = True
    with agent(session) as process:
        event(session, "ready")
        older.stop()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert events(session, "route-left")
    assert "up to 49 hours" in log(session)
    assert not (session / "claim.json").exists()


def test_an_answer_that_is_lost_is_not_somebody_elses_redeeming(
    older: OlderService, session: Path
) -> None:
    def redeem_and_lose_the_answer(query: dict[str, str]) -> Any:
        del older.answers["redeemtoken.cgi"]
        assert older._redeem(query, "127.0.0.1")[2] == "Success!\n"
        return 502, HTML, "<html>Bad Gateway</html>"

    older.answers["redeemtoken.cgi"] = redeem_and_lose_the_answer
    with agent(session):
        event(session, "redeemed")
        assert len(older.asked("redeemtoken.cgi")) == 1
    assert events(session, "service-away")


@pytest.mark.parametrize("before_jupyter", [True, False])
def test_a_name_that_somebody_else_redeemed_is_not_ours(
    older: OlderService, session: Path, before_jupyter: bool
) -> None:
    steal = f"/redeemtoken.cgi?token={NAME}&port=6666"
    if before_jupyter:
        from_address(older, "127.0.0.2", steal)
    with agent(session) as process:
        if not before_jupyter:
            event(session, "application")
            from_address(older, "127.0.0.2", steal)
        assert process.wait(60) == 1
    ended = events(session, "ended")[0]
    assert ended["cause"] == "refused"
    assert "already used" in ended["reason"]
    assert "start another one" in ended["reason"]
    assert bool(events(session, "application")) != before_jupyter
    assert older.names[NAME].target == ("127.0.0.2", 6666)  # and not ours to destroy


@pytest.mark.parametrize(
    ("refuse", "words"),
    [
        (lambda older: older.names.clear(), "already destroyed"),
        (lambda older: setattr(older, "outside", True), "not in range"),
    ],
)
def test_a_refusal_ends_the_session_with_what_to_do(
    older: OlderService, session: Path, refuse: Callable[[OlderService], None], words: str
) -> None:
    refuse(older)
    with agent(session) as process:
        assert process.wait(60) == 1
    ended = events(session, "ended")[0]
    assert ended["cause"] == "refused"
    assert words in ended["reason"]
    assert ended["reason"].endswith(".")


def test_a_failed_start_gives_the_name_back(older: OlderService, session: Path) -> None:
    launch = json.loads((session / "launch.json").read_text())
    (session / "launch.json").write_text(json.dumps(launch | {"jupyter": "/no/such/program"}))
    with agent(session) as process:
        assert process.wait(60) == 1
    assert older.names == {}


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
    older: OlderService, path: str, kind: str, body: str
) -> None:
    issue(client(older))
    head, _, found = from_address(older, "127.0.0.1", path).partition("\r\n\r\n")
    assert (found, head.split()[1]) == (body, "200")
    assert f"Content-Type: {kind}" in head


def test_the_stand_in_lets_a_name_be_redeemed_once(older: OlderService) -> None:
    issue(client(older))
    service = Satellite(f"manage.{DOMAIN}", older.port, "127.0.0.1", str(older.ca_file))
    service.redeem(NAME, 8888)
    with pytest.raises(ServiceRefused, match="already used"):
        service.redeem(NAME, 8888)
