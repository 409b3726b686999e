"""The satellite's calls, byte for byte, as its clients make them: with curl."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.stands.service import (
    DOMAIN,
    Answer,
    Notebook,
    Service,
    read_head,
    running_service,
    upgrade_request,
)
from tests.stands.waiting import until

MANAGE = f"manage.{DOMAIN}"
LOGIN = "127.0.0.8"
COMPUTE = "127.0.0.2"
OTHER_COMPUTE = "127.0.0.3"
EXCLUDED = "127.0.0.4"
FEEDER = "127.0.0.7"
FOREIGN = "127.0.0.9"
PLAIN, HTML = "text/plain", "text/html"
WITHIN = "please try from within the cluster."

Say = tuple[int, str, bytes]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {
        "networks.issue": f"[{LOGIN}]",
        "networks.redeem": "[127.0.0.0/29]",
        "networks.exclude": f"[{EXCLUDED}]",
        "satellite.job_states_from": f"[{FEEDER}]",
    }
    with running_service(tmp_path_factory.mktemp("service"), **settings) as service:
        yield service


def ask(
    service: Service, path: str, source: str = LOGIN, method: str = "GET", body: bytes | None = None
) -> Say:
    return ask_at(service, MANAGE, path, source, method, body)


def ask_at(
    service: Service,
    host: str,
    path: str,
    source: str = LOGIN,
    method: str = "GET",
    body: bytes | None = None,
) -> Say:
    """Make a call with that Host; the certificate is checked for the management host."""
    answer = service.request(MANAGE, method, path, body, {"Host": host}, source)
    return answer.status, answer.headers["Content-Type"], answer.body


def oops(text: str, status: int = 200) -> Say:
    return status, PLAIN, f"Oops! {text}\n".encode()


def issued(service: Service) -> str:
    status, kind, body = ask(service, "/getlink.cgi")
    found = re.fullmatch(rb"Your token is \n([a-z]+-[a-z]+-[a-z]+)\n", body)
    assert (status, kind) == (200, PLAIN)
    assert found, body
    return found[1].decode()


def state(service: Service, name: str, source: str = FOREIGN) -> bytes:
    status, kind, body = ask(service, f"/tokenjobstate.cgi?token={name}", source)
    assert (status, kind) == (200, PLAIN)
    return body


GOOD = [
    ("/linktoken.cgi?token={}&jobid=17", LOGIN, HTML, b"Success! Token linked to jobid.\n"),
    ("/linktoken.cgi?jobid=17%20.login_x-1%3B&token={}", COMPUTE, HTML,
     b"Success! Token linked to jobid.\n"),
    ("/redeemtoken.cgi?token={}&port=1024", COMPUTE, HTML, b"Success!\n"),
    ("/redeemtoken.cgi?port=65535&token={}", COMPUTE, HTML, b"Success!\n"),
    ("/destroytoken.cgi?token={}", LOGIN, HTML, b"Success! Token destroyed.\n"),
    ("/destroytoken.cgi?token={}&reason=none", COMPUTE, HTML, b"Success! Token destroyed.\n"),
    ("/tokenjobstate.cgi?token={}", FOREIGN, PLAIN, b"PE"),
    (f"/tokenjobstate.cgi?token={{}}.{DOMAIN}", FOREIGN, PLAIN, b"PE"),
    ("/tokenjobstate.cgi?token=a-b-c", FOREIGN, PLAIN, b""),
]  # fmt: skip


@pytest.mark.parametrize(("path", "source", "kind", "body"), GOOD)
@pytest.mark.parametrize("change", [str.lower, str.upper], ids=["lower", "upper"])
def test_good_answers(
    service: Service,
    path: str,
    source: str,
    kind: str,
    body: bytes,
    change: Callable[[str], str],
) -> None:
    asked = path.format(change(issued(service)))
    assert ask(service, asked, source) == (200, kind, body)


NETWORK = f"Client (your) IP not in range 127.0.0.0/29, {WITHIN}"
EITHER = f"Client (your) IP not in ranges {LOGIN} 127.0.0.0/29, {WITHIN}"
PORT = "'port' parameter isn't an integer between 1024 and 65535"
USED = "Unknown nonce or nonce already used"
DESTROYED = "Unknown nonce or nonce already destroyed"
REFUSED = [
    ("/linktoken.cgi", LOGIN, "Missing 'token' parameter"),
    ("/linktoken.cgi?token=&jobid=1", LOGIN, "Missing 'token' parameter"),
    ("/linktoken.cgi?token={}", LOGIN, "Missing 'jobid' parameter"),
    ("/linktoken.cgi?token={}&jobid=%21%20", LOGIN, "Missing 'jobid' parameter"),
    (f"/linktoken.cgi?token={{}}&jobid={'1' * 48}", LOGIN, "Missing 'jobid' parameter"),
    ("/linktoken.cgi?token={}&jobid=1", FOREIGN, EITHER),
    ("/linktoken.cgi?token=a-b-c&jobid=1", LOGIN, DESTROYED),
    ("/redeemtoken.cgi?port=5000", COMPUTE, "Missing 'token' parameter"),
    ("/redeemtoken.cgi?token={}", COMPUTE, "Missing 'port' parameter"),
    ("/redeemtoken.cgi?token={}&port=1023", COMPUTE, PORT),
    ("/redeemtoken.cgi?token={}&port=65536", COMPUTE, PORT),
    ("/redeemtoken.cgi?token={}&port=22", COMPUTE, PORT),
    ("/redeemtoken.cgi?token={}&port=05000", COMPUTE, None),
    ("/redeemtoken.cgi?token={}&port=5000x", COMPUTE, PORT),
    ("/redeemtoken.cgi?token={}&port=-5000", COMPUTE, PORT),
    ("/redeemtoken.cgi?token={}&port=%D9%A5%D9%A5%D9%A5%D9%A5", COMPUTE, PORT),
    ("/redeemtoken.cgi?token={}&port=5000%0A", COMPUTE, PORT),
    ("/redeemtoken.cgi?token={}&port=5000", LOGIN, NETWORK),
    ("/redeemtoken.cgi?token={}&port=5000", EXCLUDED, NETWORK),
    ("/redeemtoken.cgi?token=a-b-c&port=5000", COMPUTE, USED),
    ("/redeemtoken.cgi?token=%27or%271%27&port=5000", COMPUTE, USED),
    ("/destroytoken.cgi", LOGIN, "Missing 'token' parameter"),
    ("/destroytoken.cgi?token={}", FOREIGN, EITHER),
    ("/destroytoken.cgi?token=a-b-c", LOGIN, DESTROYED),
    ("/tokenjobstate.cgi", FOREIGN, "Missing 'token' parameter"),
    ("/tokenjobstate.cgi?token=.x", FOREIGN, "Missing 'token' parameter"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "source", "text"), REFUSED)
def test_refusals(service: Service, path: str, source: str, text: str | None) -> None:
    name = issued(service)
    answer = ask(service, path.format(name), source)
    if text is None:
        assert answer == (200, HTML, b"Success!\n")
    else:
        assert answer == oops(text)
        assert state(service, name) == b"PE"


def test_getlink_refuses_with_a_status(service: Service) -> None:
    """Test the status: galyleo takes the last word after any 200 for a name."""
    outside = f"Client (your) IP not in range {LOGIN}, {WITHIN}"
    for method in ("GET", "POST", "HEAD"):
        body = b"" if method == "HEAD" else oops(outside)[2]
        assert ask(service, "/getlink.cgi", COMPUTE, method) == (403, PLAIN, body)


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("linktoken", "GET"),
        ("redeemtoken", "GET"),
        ("destroytoken", "GET"),
        ("tokenjobstate", "GET"),
        ("update-jobs", "POST"),
    ],
)
def test_methods(service: Service, call: str, wanted: str) -> None:
    for method in {"GET", "POST", "PUT", "DELETE"} - {wanted}:
        said = ask(service, f"/{call}.cgi?token=a-b-c", method=method)
        assert said == oops(f"Only {wanted} method is supported")


def test_getlink_checks_no_method(service: Service) -> None:
    assert ask(service, "/getlink.cgi", method="POST", body=b"x=1")[2].startswith(b"Your token is ")


def test_each_step_once(service: Service) -> None:
    name = issued(service)
    link = f"/linktoken.cgi?token={name}&jobid=1"
    assert ask(service, link)[2] == b"Success! Token linked to jobid.\n"
    assert ask(service, link) == oops("Nonce already linked to a jobid, you can do this only once!")
    redeem = f"/redeemtoken.cgi?token={name}&port=5000"
    assert ask(service, redeem, COMPUTE)[2] == b"Success!\n"
    assert ask(service, redeem, COMPUTE) == oops(USED)
    assert ask(service, redeem, OTHER_COMPUTE) == oops(USED)
    destroy = f"/destroytoken.cgi?token={name}"
    elsewhere = oops("Nonce must be destroyed from host it was redeemed on")
    assert ask(service, destroy, OTHER_COMPUTE) == elsewhere
    assert ask(service, destroy) == elsewhere
    assert state(service, name) == b"PR"
    assert ask(service, destroy, COMPUTE)[2] == b"Success! Token destroyed.\n"
    assert ask(service, destroy, COMPUTE) == oops(DESTROYED)
    assert ask(service, link) == oops(DESTROYED)
    assert ask(service, redeem, COMPUTE) == oops(USED)
    assert state(service, name) == b""


def test_names_with_a_claim_are_not_for_the_satellites_calls(service: Service) -> None:
    status, answer = service.call("POST", "sessions", body={}, source=LOGIN)
    assert status == 201
    name, claim = answer["name"], answer["claim"]
    assert ask(service, f"/redeemtoken.cgi?token={name}&port=5000", COMPUTE) == oops(USED)
    assert ask(service, f"/destroytoken.cgi?token={name}") == oops(DESTROYED)
    assert ask(service, f"/linktoken.cgi?token={name}&jobid=1") == oops(DESTROYED)
    assert service.call("GET", f"sessions/{name}", claim, source=LOGIN)[1]["phase"] == "issued"
    old = issued(service)
    for some in (claim, "x" * 43, ""):
        status, refusal = service.call("POST", f"sessions/{old}/revoke", some or " ", source=LOGIN)
        assert status in (401, 403), refusal


def report(service: Service, lines: str, source: str = FEEDER) -> Say:
    return ask(service, "/update-jobs.cgi", source, "POST", f"jobstates={lines}".encode())


UPDATED = (200, HTML, b"Successfully updated jobs! \n")


@pytest.mark.parametrize("code", ["PD", "PENDING", "Q"])
@pytest.mark.parametrize("encoded", [False, True])
def test_job_states(service: Service, code: str, encoded: bool) -> None:
    name = issued(service)
    job_id = f"{time.monotonic_ns()}.server"

    def note(state: str, source: str = FEEDER) -> Say:
        lines = f"\n1.server R\n{job_id} {state}\n\nnonsense\n"
        if encoded:
            lines = lines.replace("\n", "%0A").replace(" ", "+")
        return report(service, lines, source)

    assert note(code) == UPDATED
    assert state(service, name) == b"PE"
    ask(service, f"/linktoken.cgi?token={name}&jobid={job_id}")
    assert state(service, name) == b"PE"
    assert note(code) == UPDATED
    assert state(service, name) == b"Q"
    assert note("RUNNING") == UPDATED
    assert state(service, name) == b"R"
    assert note("R", LOGIN) == oops(f"Client (your) IP not in range {FEEDER}")
    ask(service, f"/redeemtoken.cgi?token={name}&port=5000", COMPUTE)
    assert state(service, name) == b"PR"
    assert note("COMPLETED") == UPDATED
    assert state(service, name) == b"D"


# What the satellite lists in etc/satconfig.pm (JOB_*_STATE_CODES), and what it answers for a session that is
# linked and not redeemed; behind them other texts that it reads so.
LISTED = [
    *((code, b"Q") for code in (
        "CF", "PD", "RF", "RH", "RQ", "CONFIGURING", "PENDING", "REQUEUE_FED", "REQUEUE_HOLD", "REQUEUED",
        "EXPEDITING", "PENDING RUNNING", "PENDING*", "\t PENDING \r",
    )),
    *((code, b"R") for code in ("R", "RUNNING", "RUNNING,")),
    *((code, b"D") for code in (
        "BF", "CA", "CG", "DL", "F", "NF", "OOM", "PR", "RD", "RV", "SI", "SE", "SO", "ST", "S", "TO",
        "BOOT_FAIL", "CANCELLED", "COMPLETING", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "NODEFAIL",
        "OUT_OF_MEMORY", "OUTOFMEMORY", "PREEMPTED", "RESV_DEL_HOLD", "SIGNALING", "SPECIAL_EXIT",
        "STAGE_OUT", "STOPPED", "SUSPENDED", "TIMEOUT", "CANCELLED by 1000", "CANCELLED+",
    )),
    *((code, b"PE") for code in (
        "running", "Running", "pd", "PENDINGRUNNING", "PENDING,RUNNING", "UNKNOWN", "RUNNIN", "17", "-", "",
    )),
]  # fmt: skip


def test_every_state_means_what_it_means_at_the_satellite(service: Service) -> None:
    first = time.monotonic_ns()
    names = {
        issued(service): (f"{first + number}", *listed) for number, listed in enumerate(LISTED)
    }
    with sqlite3.connect(service.directory / "service" / "registry.db", timeout=20) as db:
        db.executemany(
            "UPDATE sessions SET job_id = ?, phase = 1 WHERE name = ?",
            [(job_id, name) for name, (job_id, _, _) in names.items()],
        )
    lines = "\n".join(f"{job_id} {code}" for job_id, code, _ in names.values())
    assert report(service, f"\n{lines}\n".replace("+", "%2B")) == UPDATED
    for name, (_, code, answer) in names.items():
        assert state(service, name) == answer, code


def test_job_states_are_for_satellite_sessions_alone(service: Service) -> None:
    """Test unproved links: even a proved user may be linked to another user's job."""
    status, session = service.call("POST", "sessions", body={}, source=LOGIN)
    assert status == 201
    job_id = f"{time.monotonic_ns()}.server"
    path = f"sessions/{session['name']}/link"
    linked = service.call("POST", path, session["claim"], {"job_id": job_id}, source=LOGIN)
    assert linked[0] == 200
    body = f"jobstates={job_id} PD\n".encode()
    assert ask(service, "/update-jobs.cgi", FEEDER, "POST", body)[0] == 200
    assert state(service, session["name"]) == b"PE"


def test_no_jobs(service: Service) -> None:
    for body in (None, b"", b"jobs=1", b"jobstates="):
        said = ask(service, "/update-jobs.cgi", FEEDER, "POST", body)
        assert said == oops("Missing 'jobstates' parameter")


def test_a_list_of_jobs_is_not_read_from_who_may_not_say(service: Service) -> None:
    head = (
        f"POST /update-jobs.cgi HTTP/1.1\r\nHost: {MANAGE}\r\n"
        "Content-Length: 8000000\r\nConnection: close\r\n\r\n"
    ).encode()
    with service.connect(MANAGE, LOGIN) as connection:
        connection.settimeout(20)
        connection.sendall(
            head
        )  # without its body: an answer shows that the service does not wait for it
        assert " 200 " in read_head(connection)
    body = b"a=b&" * 200 + b"jobstates=1 R"
    assert ask(service, "/update-jobs.cgi", FEEDER, "POST", body) == oops("Too many parameters")


def test_what_was_said_of_a_job_grows_old(tmp_path: Path) -> None:
    settings = {"satellite.job_states_from": "[127.0.0.1]"}
    with running_service(tmp_path, **settings) as service:
        name = re.findall(rb"\n(.*)\n", ask(service, "/getlink.cgi", "127.0.0.1")[2])[0].decode()
        ask(service, f"/linktoken.cgi?token={name}&jobid=1", "127.0.0.1")
        ask(service, "/update-jobs.cgi", "127.0.0.1", "POST", b"jobstates=1 PD")
        assert state(service, name) == b"Q"
        with sqlite3.connect(tmp_path / "service" / "registry.db", timeout=5) as db:
            db.execute("UPDATE sessions SET job_seen = job_seen - 601")
        assert state(service, name) == b"PE"


def test_a_session_without_reports_is_unknown(tmp_path: Path) -> None:
    short = {"lease.length": 2, "lease.renew_every": 1, "advanced.sweep_every": 0.2}
    with running_service(tmp_path, **short) as service:
        session = service.issue()
        assert service.redeem(session, 5000)[0] == 200
        until(lambda: state(service, session.name) == b"U", "its lease runs out")

        def back() -> bool:
            assert service.renew(session) == 200
            return state(service, session.name) == b"PR"

        until(back, "it is back")


def test_pages_may_ask_for_the_state_and_nothing_else(service: Service) -> None:
    name = issued(service)
    path = f"/tokenjobstate.cgi?token={name}.{DOMAIN}"

    def of_page(origin: str, path: str = path) -> Answer:
        return service.request(MANAGE, "GET", path, None, {"Origin": origin}, FOREIGN)

    own = f"https://{name}.{DOMAIN}:{service.port}"
    answer = of_page(own)
    assert answer.body == b"PE"
    assert answer.headers["Access-Control-Allow-Origin"] == own
    assert answer.headers["Vary"] == "Origin"
    for foreign in (
        "null",
        f"http://{name}.{DOMAIN}:{service.port}",
        f"https://a-b-c.{DOMAIN}:{service.port}",
        f"https://{name}.{DOMAIN}.evil.example",
        f"https://{name}.{DOMAIN}:1",
    ):
        answer = of_page(foreign)
        assert answer.headers["Access-Control-Allow-Origin"] is None
        assert answer.headers["Vary"] == "Origin"
    for call in ("getlink", "linktoken", "redeemtoken", "destroytoken", "update-jobs"):
        path = f"/{call}.cgi?token={name}&jobid=1&port=5000"
        for headers in ({"Origin": own}, {"Sec-Fetch-Site": "same-site"}):
            for source in (LOGIN, COMPUTE):
                answer = service.request(MANAGE, "GET", path, None, headers, source)
                assert (answer.status, answer.json()["error"]) == (403, "from-a-page")
    assert state(service, name) == b"PE"


HELP = b"Please see documentation on how to use this service.\n"
# The satellite's Apache has one virtual host for all of these; the port says nothing either.
HOSTS = (
    MANAGE, MANAGE.upper(), f"{MANAGE}:1", DOMAIN, f"{DOMAIN}:1", f"api.{DOMAIN}", f"www.{DOMAIN}",
    f"x.y.{DOMAIN}", "satellite.example", "satellite.example.", "localhost", "127.0.0.1", "127.0.0.1:443",
    "[::1]", "[::1]:443",
)  # fmt: skip
ONLY_GET = b"Oops! Only GET method is supported\n"


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_without_a_session_sends_to_the_documentation(service: Service, host: str) -> None:
    for path in ("/", "/index.cgi", "/?x=1"):
        for method, body in (("GET", HELP), ("POST", ONLY_GET), ("HEAD", b"")):
            answer = service.request(MANAGE, method, path, None, {"Host": host}, FOREIGN)
            found = (answer.status, answer.headers["Content-Type"], answer.body)
            assert found == (200, PLAIN, body), (method, path)


def test_a_call_is_answered_at_every_host(service: Service) -> None:
    """Test all hosts, except that of a live route: its notebook answers."""
    status, waiting = service.call("POST", "sessions", body={}, source=LOGIN)
    assert status == 201
    names = (issued(service), "a-b-c", waiting["name"])
    for host in (*HOSTS, *(f"{name}.{DOMAIN}" for name in names)):
        asked = partial(ask_at, service, host)
        name = asked("/getlink.cgi")[2].decode().split()[-1]
        token = f"token={name}"
        linked = asked(f"/linktoken.cgi?{token}&jobid={name}")
        assert linked == (200, HTML, b"Success! Token linked to jobid.\n"), host
        assert asked("/update-jobs.cgi", FEEDER, "POST", f"jobstates={name} PD".encode()) == UPDATED
        assert asked(f"/tokenjobstate.cgi?{token}", FOREIGN) == (200, PLAIN, b"Q")
        redeem = f"/redeemtoken.cgi?{token}&port=5000"
        assert asked(redeem, FOREIGN) == oops(NETWORK)
        assert asked(redeem, COMPUTE) == (200, HTML, b"Success!\n")
        destroy = f"/destroytoken.cgi?{token}"
        assert asked(destroy, COMPUTE, "POST") == (200, PLAIN, ONLY_GET)
        assert asked(destroy, COMPUTE, "HEAD") == (200, PLAIN, b"")
        assert asked(destroy, COMPUTE) == (200, HTML, b"Success! Token destroyed.\n")
        assert asked("/other.cgi")[0] in (404, 421, 503)
        if host.lower() != MANAGE:  # the API is for one host
            assert asked("/api/v1/health")[0] == asked("/other.cgi")[0]


@pytest.mark.parametrize("host", ["evil.example/x", "a@b", "%00", "a b", "a..b", "é", ""])
def test_a_host_that_is_none_gets_no_answer_of_a_call(service: Service, host: str) -> None:
    for path in ("/", "/getlink.cgi"):
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        answer = service.send(MANAGE, request.encode())
        assert re.match(rb"HTTP/1\.1 4(00|21) ", answer), answer


@pytest.mark.parametrize("host", [MANAGE, DOMAIN, "satellite.example", f"a-b-c.{DOMAIN}"])
def test_a_page_calls_nothing_at_any_host(service: Service, host: str) -> None:
    for field in ({"Origin": f"https://{host}"}, {"Sec-Fetch-Site": "same-origin"}):
        headers = {"Host": host, **field}
        answer = service.request(MANAGE, "GET", "/getlink.cgi", None, headers, LOGIN)
        assert (answer.status, answer.json()["error"]) == (403, "from-a-page")


def test_the_operator_can_turn_them_off(tmp_path: Path) -> None:
    with running_service(tmp_path, **{"satellite.calls": "off"}) as service:
        for call in ("getlink", "tokenjobstate", "redeemtoken"):
            answer = service.request(MANAGE, "GET", f"/{call}.cgi?token=a-b-c")
            assert (answer.status, answer.json()["error"]) == (404, "no-such-call")
        for host, status in (
            (MANAGE, 404),
            (f"a-b-c.{DOMAIN}", 404),
            (DOMAIN, 404),
            ("other.example", 421),
        ):
            for path in ("/index.cgi", "/getlink.cgi", "/update-jobs.cgi"):
                answer = service.request(MANAGE, "GET", path, headers={"Host": host})
                assert answer.status == status, (host, path)


def test_networks_of_their_own(tmp_path: Path) -> None:
    with running_service(tmp_path, **{"satellite.networks": f"[{LOGIN}, {COMPUTE}]"}) as service:
        name = issued(service)
        refused = oops(f"Client (your) IP not in ranges {LOGIN} {COMPUTE}, {WITHIN}")
        assert ask(service, f"/redeemtoken.cgi?token={name}&port=5000", FOREIGN) == refused
        assert ask(service, "/getlink.cgi", FOREIGN) == (403, *refused[1:])
        assert ask(service, f"/redeemtoken.cgi?token={name}&port=5000", COMPUTE)[2] == b"Success!\n"
        assert service.call("POST", "sessions", body={}, source=FOREIGN)[0] == 201


def test_no_names_where_a_key_is_asked_for(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text("k" * 32)
    with running_service(tmp_path, **{"networks.issue_key_file": key}) as service:
        answer = service.request(MANAGE, "GET", "/getlink.cgi")
        text = b"Oops! This service gives names to users who prove who they are: use rps\n"
        assert (answer.status, answer.body) == (401, text)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_who_asks_for_too_many(tmp_path: Path) -> None:
    with running_service(tmp_path, **{"limits.issues_per_minute": 2}) as service:
        for _ in range(2):
            assert ask(service, "/getlink.cgi")[2].startswith(b"Your token is ")
        said = oops("Too many tokens, please try again later", 429)
        assert ask(service, "/getlink.cgi") == said
        assert ask(service, "/getlink.cgi", FOREIGN)[2].startswith(b"Your token is ")


def test_who_asks_while_the_service_is_drained(tmp_path: Path, need: Callable[[str], str]) -> None:
    """Call as both clients do, which read the status from the end of curl's output."""
    (tmp_path / "service").mkdir(mode=0o700)
    (tmp_path / "service" / "draining").touch()  # as `rps proxy drain` leaves it
    with running_service(tmp_path) as service:
        printed = Curl(need("curl"), service)("manage", "/getlink.cgi", "-w", "%{http_code}")
        text = "This service gives no new tokens for now, please try again later"
        assert printed == f"Oops! {text}\n503"
        assert service.request(MANAGE, "GET", "/getlink.cgi").headers["Retry-After"] == "10"


def test_the_operator_is_warned(service: Service) -> None:
    name = issued(service)
    ask(service, f"/redeemtoken.cgi?token={name}&port=5000&x=can4ry-query", COMPUTE)
    lines = [json.loads(line) for line in service.log().splitlines() if name in line]
    events = [(line["level"], line["event"]) for line in lines]
    assert ("warning", "issued-without-claim") in events
    assert ("warning", "redeemed-without-claim") in events
    assert "can4ry" not in service.log()


class Curl:
    """A client of the satellite: curl, its exit code, and what it prints."""

    def __init__(self, program: str, service: Service) -> None:
        self._service = service
        self._command = [program, "-s", "--cacert", str(service.directory / "ca" / "ca.pem")]

    def __call__(self, host: str, path: str, *more: str, source: str = LOGIN) -> str:
        port = self._service.port
        url = f"https://{host}.{DOMAIN}:{port}{path}"
        resolve = ["--resolve", f"{host}.{DOMAIN}:{port}:127.0.0.1", "--interface", source]
        done = subprocess.run(
            [*self._command, *resolve, *more, url], capture_output=True, check=True, timeout=20
        )
        return done.stdout.decode()


@contextmanager
def plain_notebook(directory: Path) -> Iterator[Notebook]:
    """Run a notebook on the loopback address to which COMPUTE's route leads."""
    with Notebook(None, directory, address=COMPUTE) as notebook:
        yield notebook


def test_as_start_jupyter_does(
    service: Service, need: Callable[[str], str], tmp_path: Path
) -> None:
    """Test a name, its page while the job waits, and the redeem; no link, no destroy."""
    curl = Curl(need("curl"), service)
    answer = curl("manage", "/getlink.cgi", "-w", "%{http_code}")
    assert answer.endswith("\n200")
    name = answer.removesuffix("200").split()[-1]
    assert curl(name, "/?token=0123", "-w", "%{http_code}", "-o", "/dev/null") == "503"
    with plain_notebook(tmp_path) as notebook:
        path = f"/redeemtoken.cgi?token={name}&port={notebook.port}"
        assert curl("manage", path, source=COMPUTE) == "Success!\n"
        message = json.loads(curl(name, "/api?token=0123", source=FOREIGN))
        assert message["line"] == "GET /api?token=0123 HTTP/1.1"
        host = f"{name}.{DOMAIN}:{service.port}"
        with service.connect(host) as connection:
            connection.sendall(upgrade_request(host, Origin=f"https://{host}"))
            assert read_head(connection).startswith("HTTP/1.1 101 ")
            frame = b"\x81\x85\0\0\0\0hello"
            connection.sendall(frame)
            assert connection.recv(100) == frame
        with service.connect(host) as connection:
            connection.sendall(upgrade_request(host, Origin="https://evil.example"))
            assert read_head(connection).startswith("HTTP/1.1 403 ")
    assert curl(name, "/", "-w", "%{http_code}", "-o", "/dev/null") == "502"


def test_as_galyleo_does(service: Service, need: Callable[[str], str], tmp_path: Path) -> None:
    """Linked after submission, and destroyed from the job as the notebook ends."""
    curl = Curl(need("curl"), service)
    name = curl("manage", "/getlink.cgi").split()[-1]
    linked = curl("manage", f"/linktoken.cgi?token={name}&jobid=4711")
    assert linked == "Success! Token linked to jobid.\n"
    lines = tmp_path / "jobs"
    lines.write_text("jobstates=\n4711 PD\n")
    posted = curl("manage", "/update-jobs.cgi", "--data-binary", f"@{lines}", source=FEEDER)
    assert posted == "Successfully updated jobs! \n"
    assert curl("manage", f"/tokenjobstate.cgi?token={name}.{DOMAIN}", source=FOREIGN) == "Q"
    with plain_notebook(tmp_path) as notebook:
        path = f"/redeemtoken.cgi?token={name}&port={notebook.port}"
        assert curl("manage", path, source=COMPUTE) == "Success!\n"
        assert json.loads(curl(name, "/lab"))["line"] == "GET /lab HTTP/1.1"
        destroyed = curl("manage", f"/destroytoken.cgi?token={name}", source=COMPUTE)
        assert destroyed == "Success! Token destroyed.\n"
        assert curl(name, "/lab", "-w", "%{http_code}", "-o", "/dev/null") == "410"
        assert len(notebook.requests) == 1


def test_a_route_needs_no_renewal_survives_a_restart_and_has_its_time(tmp_path: Path) -> None:
    short = {"lease.length": 2, "lease.renew_every": 1, "advanced.sweep_every": 0.2}
    with running_service(tmp_path, **short) as service, plain_notebook(tmp_path) as notebook:
        name = issued(service)
        host = f"{name}.{DOMAIN}"
        ask(service, f"/redeemtoken.cgi?token={name}&port={notebook.port}", COMPUTE)
        for _ in range(2):
            time.sleep(3)
            assert service.request(host, "GET", "/").status == 200
            service.kill()
            service.start()
        assert service.request(host, "GET", "/").status == 200
        service.kill()
        with sqlite3.connect(tmp_path / "service" / "registry.db") as db:
            db.execute("UPDATE sessions SET redeemed = redeemed - 48 * 3600")
        service.start()
        time.sleep(1)
        assert service.request(host, "GET", "/").status == 200
        service.kill()
        with sqlite3.connect(tmp_path / "service" / "registry.db") as db:
            db.execute("UPDATE sessions SET redeemed = redeemed - 3600")
        service.start()
        until(lambda: service.request(host, "GET", "/").status == 410, "its time is over")
