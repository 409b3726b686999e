"""The API over the wire: who may do what, and what is refused."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from rps_proxy.private_files import own_directory
from rps_proxy.tls.authority import Authority
from tests.stands.service import DOMAIN, Notebook, Service, free_port, running_service
from tests.stands.waiting import until

MANAGE = f"manage.{DOMAIN}"
FOREIGN = "127.0.0.9"
COMPUTE = "127.0.0.2"
LOGIN = "127.0.0.8"  # another address that may ask for names
LOGIN_NODE = "127.0.0.3"  # within the compute networks, but excluded


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {
        "networks.issue": f"[127.0.0.1/32, {LOGIN}]",
        "networks.redeem": "[127.0.0.1/32, 127.0.0.2/31]",
        "networks.exclude": f"[{LOGIN_NODE}]",
        "limits.pending_per_user": 3,
        "limits.pending_per_source": 200,
    }
    with running_service(tmp_path_factory.mktemp("service"), **settings) as service:
        yield service


def code(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return answer[0], answer[1]["error"]


def test_the_steps_of_a_session(service: Service, tmp_path: Path) -> None:
    session = service.issue(cluster="comet", scheduler="slurm", user="alice")
    assert service.state(session) == {
        "name": session.name,
        "phase": "issued",
        "live": False,
        "job_id": None,
        "address": None,
        "reason": None,
    }
    path = f"sessions/{session.name}"
    status, linked = service.call("POST", f"{path}/link", session.claim, {"job_id": "17"})
    assert (status, linked["phase"], linked["job_id"]) == (200, "linked", "17")
    with Notebook(service.certificate(session), tmp_path) as notebook:
        status, lease = service.redeem(session, notebook.port)
        assert (status, lease) == (
            200,
            {"lease": 45.0, "renew_every": 15.0, "address": "127.0.0.1"},
        )
        assert service.request(session.host, "GET", "/").status == 200
        assert service.renew(session) == 200
        state = service.state(session)
        assert (state["phase"], state["live"], state["address"]) == ("ready", True, "127.0.0.1")
    body = {"reason": "the user stopped it"}
    status, gone = service.call("POST", f"{path}/revoke", session.claim, body)
    assert (status, gone["phase"], gone["reason"]) == (200, "gone", "the user stopped it")
    status, gone = service.call("POST", f"{path}/revoke", session.claim, {"reason": "again"})
    assert (status, gone["reason"]) == (200, "the user stopped it")
    assert code(service.call("POST", f"{path}/renew", session.claim)) == (410, "gone")
    assert code(service.redeem(session, 5000)) == (410, "gone")
    assert code(service.call("POST", f"{path}/certificate", session.claim)) == (410, "gone")
    again = service.call("POST", f"{path}/link", session.claim, {"job_id": "17"})
    assert code(again) == (410, "gone")


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("x" * 1000, "x" * 256),
        (
            "sbatch: error:\n\tno\x00 \x1b[31msuch\u2028account\n",
            "sbatch: error: no [31msuch account",
        ),
        ("\ud800 half a character", "half a character"),
        ("\n", "ended"),
        (None, "ended"),
    ],
)
def test_no_reason_keeps_a_session_from_being_ended(
    service: Service, reason: str | None, kept: str
) -> None:
    session = service.issue()
    path = f"sessions/{session.name}/revoke"
    status, gone = service.call("POST", path, session.claim, {"reason": reason})
    assert (status, gone["phase"], gone["reason"]) == (200, "gone", kept)


def test_web_pages_are_not_served(service: Service) -> None:
    for page in (
        {"Origin": f"https://evil.{DOMAIN}"},
        {"Origin": f"https://{MANAGE}"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "same-origin"},
    ):
        answer = service.request(MANAGE, "POST", "/api/v1/sessions", b"{}", page)
        assert (answer.status, answer.json()["error"]) == (403, "from-a-page")


def test_who_calls_is_not_for_the_caller_to_say(service: Service) -> None:
    """Test that the field in which an engine names the caller is ignored over TCP."""
    said = {"X-Rps-Caller": "127.0.0.1"}
    answer = service.request(MANAGE, "POST", "/api/v1/sessions", b"{}", said, FOREIGN)
    assert (answer.status, answer.json()["error"]) == (403, "outside-networks")


def test_health_is_for_the_cluster(service: Service) -> None:
    for source in (LOGIN, COMPUTE):
        status, health = service.call("GET", "health", source=source)
        assert (status, health["status"], health["domain"]) == (200, "ok", DOMAIN)
        assert health["draining"] is False


@pytest.mark.parametrize("path", ["health", "sessions", "sessions/a-b-c/redeem", "nothing"])
def test_nothing_is_answered_outside(service: Service, path: str) -> None:
    for method in ("GET", "POST"):
        refused = service.call(method, path, "x" * 43, source=FOREIGN)
        assert code(refused) == (403, "outside-networks")


def test_a_second_redeem_counts_only_from_the_same_job(service: Service) -> None:
    session = service.issue()
    assert service.redeem(session, 5000)[0] == 200
    assert service.redeem(session, 5000)[0] == 200
    assert code(service.redeem(session, 5001)) == (409, "already-redeemed")
    assert code(service.redeem(session, 5000, body={"job_id": "2"})) == (409, "already-redeemed")
    assert code(service.redeem(session, 5000, source=COMPUTE)) == (409, "already-redeemed")
    again = service.call("POST", f"sessions/{session.name}/certificate", session.claim)
    assert code(again) == (409, "already-redeemed")


def test_origins_are_exact_ones(service: Service) -> None:
    session = service.issue()
    for wrong in (["*"], ["http://a.example"], "https://a.example", ["https://a.example"] * 5):
        assert code(service.redeem(session, 5000, body={"origins": wrong})) == (400, "bad-request")
    named = {"origins": ["https://a.example"]}
    assert service.redeem(session, 5000, body=named)[0] == 200
    assert service.redeem(session, 5000, body=named)[0] == 200
    assert code(service.redeem(session, 5000)) == (409, "already-redeemed")


def test_redeem_may_come_before_link(service: Service) -> None:
    session = service.issue()
    assert service.redeem(session, 5000)[0] == 200
    link = f"sessions/{session.name}/link"
    status, state = service.call("POST", link, session.claim, {"job_id": "17"})
    assert (status, state["phase"], state["job_id"]) == (200, "ready", "17")
    assert service.call("POST", link, session.claim, {"job_id": "17"})[0] == 200
    other = service.call("POST", link, session.claim, {"job_id": "18"})
    assert code(other) == (409, "already-linked")


def test_the_target_is_the_callers_own_address(service: Service) -> None:
    session = service.issue()
    for announced in ("127.0.0.1", "10.0.0.1"):  # `networks.announce` is empty
        refused = service.redeem(session, 5000, source=COMPUTE, body={"address": announced})
        assert code(refused) == (403, "outside-networks")
    for malformed in ("", "node1", 7, "1.2.3.4:5"):
        refused = service.redeem(session, 5000, source=COMPUTE, body={"address": malformed})
        assert code(refused) == (400, "bad-request")
    status, answer = service.redeem(session, 5000, source=COMPUTE)
    assert (status, answer["address"]) == (200, COMPUTE)
    assert code(service.call("POST", f"sessions/{session.name}/renew", session.claim)) == (
        403,
        "wrong-address",
    )
    path = f"sessions/{session.name}/renew"
    assert service.call("POST", path, session.claim, source=COMPUTE)[0] == 200


def test_a_route_is_made_once_the_notebook_has_answered_with_its_certificate(
    service: Service, tmp_path: Path
) -> None:
    session, other = service.issue(), service.issue()
    closed = free_port()
    check = {"check": True}
    status, answer = service.redeem(session, closed, body=check)
    assert (status, answer["error"]) == (409, "unreachable")
    reason = f"The service cannot connect to 127.0.0.1:{closed}: Connection refused."
    assert answer["message"] == reason
    with Notebook(None, tmp_path) as plain, Notebook(service.certificate(other), tmp_path) as else_:
        for notebook, reason in ((plain, "no TLS: "), (else_, "not the session's certificate: ")):
            status, answer = service.redeem(session, notebook.port, body=check)
            assert (status, answer["error"]) == (409, "unreachable")
            where = f"The service cannot connect to 127.0.0.1:{notebook.port}: "
            assert answer["message"].startswith(where + reason)
    assert service.state(session)["phase"] == "issued"
    assert code(service.redeem(session, closed, body={"check": 1})) == (400, "bad-request")
    with Notebook(service.certificate(session), tmp_path) as notebook:
        assert service.redeem(session, notebook.port, body=check)[0] == 200
        assert notebook.requests == []
    assert service.state(session)["phase"] == "ready"


@pytest.mark.parametrize("call", ["link", "certificate", "redeem", "renew", "revoke", ""])
def test_calls_are_for_our_networks(service: Service, call: str) -> None:
    session = service.issue()
    path = f"sessions/{session.name}" + (f"/{call}" if call else "")
    method = "POST" if call else "GET"
    body = {"port": 5000, "job_id": "1"} if call else None
    answer = service.call(method, path, session.claim, body, source=FOREIGN)
    assert code(answer) == (403, "outside-networks")
    assert f" It is {FOREIGN}." in answer[1]["message"]  # that the service sees (source NAT)
    assert service.state(session)["phase"] == "issued"


def test_names_are_for_login_nodes(service: Service) -> None:
    assert code(service.call("POST", "sessions", body={}, source=COMPUTE)) == (
        403,
        "outside-networks",
    )


def test_no_route_leads_to_an_excluded_address(service: Service) -> None:
    session = service.issue()
    answer = service.redeem(session, 5000, source=LOGIN_NODE)
    assert code(answer) == (403, "excluded-address")


@pytest.mark.parametrize(
    "port", [None, 0, 22, 1023, 65536, -1, "5000", 5000.0, True, [5000], 1e999]
)
def test_ports_are_checked(service: Service, port: object) -> None:
    session = service.issue()
    answer = service.call(
        "POST", f"sessions/{session.name}/redeem", session.claim, {"port": port, "job_id": "1"}
    )
    assert code(answer) == (400, "bad-port")


@pytest.mark.parametrize("call", ["link", "certificate", "redeem", "renew", "revoke", ""])
def test_the_name_alone_opens_nothing(service: Service, call: str) -> None:
    session, other = service.issue(), service.issue()
    path = f"sessions/{session.name}" + (f"/{call}" if call else "")
    method = "POST" if call else "GET"
    assert code(service.call(method, path)) == (401, "no-claim")
    assert code(service.call(method, path, other.claim)) == (403, "wrong-claim")
    assert code(service.call(method, path, session.claim + "x")) == (403, "wrong-claim")
    assert code(service.call(method, path, "\xff")) == (403, "wrong-claim")
    assert service.state(session)["phase"] == "issued"


@pytest.mark.parametrize(
    "name", ["no-such-name", "x", "..", "a-b-c'--", "%61-b-c", "A-B-C", "a-b-c%00", "%2e%2e"]
)
def test_odd_names_are_unknown(service: Service, name: str) -> None:
    assert code(service.call("GET", f"sessions/{name}", "claim")) == (404, "unknown-name")


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "sessions", 405, "wrong-method"),
        ("POST", "health", 405, "wrong-method"),
        ("GET", "sessions/a-b-c/revoke", 405, "wrong-method"),
        ("POST", "sessions/a-b-c", 405, "wrong-method"),
        ("GET", "sessions/a-b-c/nothing", 404, "no-such-call"),
        ("GET", "", 404, "no-such-call"),
        ("GET", "../v1/health", 404, "no-such-call"),
    ],
)
def test_other_calls_there_are_none(
    service: Service, method: str, path: str, status: int, error: str
) -> None:
    assert code(service.call(method, path)) == (status, error)


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"null", b'"x"', b"\xff", b'{"user": 1}', b'{"user": "a\\nb"}', b"[" * 9000],
)
def test_bodies_are_checked(service: Service, content: bytes) -> None:
    answer = service.request(MANAGE, "POST", "/api/v1/sessions", content)
    assert (answer.status, answer.json()["error"]) == (400, "bad-request")


def test_long_bodies_are_not_read(service: Service) -> None:
    answer = service.request(MANAGE, "POST", "/api/v1/sessions", b" " * 17_000)
    assert (answer.status, answer.json()["error"]) == (413, "too-large")
    chunks = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    head = f"POST /api/v1/sessions HTTP/1.1\r\nHost: {MANAGE}\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert service.send(MANAGE, head.encode() + chunks * 3).startswith(b"HTTP/1.1 413 ")


def test_a_user_can_only_have_so_many_names_waiting(service: Service) -> None:
    names = [service.issue(user="bob") for _ in range(3)]
    answer = service.request(MANAGE, "POST", "/api/v1/sessions", b'{"user": "bob"}')
    assert (answer.status, answer.json()["error"]) == (429, "limit")
    assert int(answer.headers["Retry-After"]) > 0
    service.issue(user="carol")
    elsewhere = service.call("POST", "sessions", body={"user": "bob"}, source=LOGIN)
    assert elsewhere[0] == 201
    assert service.redeem(names[0], 5000)[0] == 200
    service.issue(user="bob")


def test_an_address_can_only_have_so_many_names_waiting(tmp_path: Path) -> None:
    """Test that one limit holds for all users of a host, satellite clients included."""
    limits = {"limits.pending_per_source": 3, "networks.issue": f"[127.0.0.1, {LOGIN}]"}
    with running_service(tmp_path, **limits) as service:

        def asked() -> tuple[int, str]:
            return code(service.call("POST", "sessions", body={"user": "dave"}))

        names = [service.issue(user=user) for user in ("alice", "bob", "erin")]
        for _ in range(3):
            old = service.request(MANAGE, "GET", "/getlink.cgi").body
            assert old.startswith(b"Your token is ")
        assert asked() == (429, "limit")
        assert service.request(MANAGE, "GET", "/getlink.cgi").body.startswith(b"Oops! Too many")
        assert service.call("POST", "sessions", body={}, source=LOGIN)[0] == 201
        assert service.redeem(names[0], 5000)[0] == 200  # it waits no more
        service.issue(user="carol")
        assert asked() == (429, "limit")
        service.revoke(names[1])
        service.issue(user="carol")


def test_a_service_with_a_key_gives_names_to_who_knows_it(tmp_path: Path) -> None:
    file, key = tmp_path / "key", "k" * 32
    with pytest.raises(AssertionError, match="holds no key"):
        Service(tmp_path, **{"networks.issue_key_file": file}).start()
    file.touch(0o600)
    file.write_text(f"{key}\n")
    with running_service(tmp_path, **{"networks.issue_key_file": file}) as service:
        assert code(service.call("POST", "sessions", body={})) == (401, "no-claim")
        for wrong in (key[:-1], key + "k", "x", "\xff"):
            assert code(service.call("POST", "sessions", wrong, {})) == (403, "wrong-claim")
        status, answer = service.call("POST", "sessions", key, {})
        assert status == 201
        assert service.call("GET", f"sessions/{answer['name']}", answer["claim"])[0] == 200
        assert code(service.call("GET", f"sessions/{answer['name']}", key)) == (403, "wrong-claim")
        file.write_text("n" * 32)
        assert code(service.call("POST", "sessions", key, {})) == (403, "wrong-claim")
        assert service.call("POST", "sessions", "n" * 32, {})[0] == 201
        file.unlink()
        assert code(service.call("POST", "sessions", "n" * 32, {})) == (403, "wrong-claim")
        assert "key-not-read" in service.log()
        assert key not in service.log()


def test_the_certificate_is_for_this_session_alone(service: Service) -> None:
    session = service.issue()
    answer = service.certificate(session)
    certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [f"{session.name}.{DOMAIN}"]
    authority = x509.load_pem_x509_certificate(answer["ca"].encode())
    certificate.verify_directly_issued_by(authority)
    front = (service.directory / "ca" / "ca.pem").read_bytes()
    assert answer["ca"].encode() != front


def test_claims_are_kept_as_hashes_and_logged_nowhere(service: Service) -> None:
    session = service.issue()
    service.call("GET", f"sessions/{session.name}", session.claim)
    service.revoke(session)
    for path in (service.directory / "service").rglob("*"):
        if path.is_file():
            assert session.claim.encode() not in path.read_bytes(), path
    assert session.claim not in service.log()


def test_only_our_account_can_enter_the_directories(service: Service) -> None:
    for directory in ("service", "service/upstream", "ca"):
        assert (service.directory / directory).stat().st_mode & 0o777 == 0o700
    for file in ("service/registry.db", "service/front.pem", "ca/authority.pem"):
        assert (service.directory / file).stat().st_mode & 0o077 == 0


PENDING = {"pending": (503, "pending"), "ended": (410, "ended"), "unknown": (404, "unknown")}


@pytest.mark.parametrize("state", PENDING)
def test_pages(service: Service, state: str) -> None:
    session = service.issue()
    host = session.host
    if state == "ended":
        service.revoke(session)
    elif state == "unknown":
        host = f"no-such-name.{DOMAIN}"
    status, phase = PENDING[state]
    browser = {"Accept": "text/html,*/*", "Cookie": "canary", "User-Agent": "canary"}
    page = service.request(host, "GET", "/lab/canary?token=canary", headers=browser)
    assert page.status == status
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    text = page.body.decode()
    assert f'data-state="{phase}"' in text
    assert "canary" not in text + str(page.headers)
    # A session's page names it; a name that there is not is not repeated.
    assert (host.split(".")[0] in text) == (state != "unknown")
    assert "style=" not in text
    assert ("Retry-After" in page.headers) == (status == 503)
    program = service.request(host, "POST", "/api/kernels", b"{}")
    assert program.status == status
    assert program.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert service.request(host, "GET", "/.rps/state").json()["phase"] == phase
    for name, kind in (("page.css", "text/css"), ("page.js", "text/javascript")):
        asset = service.request(host, "GET", f"/.rps/{name}")
        assert (asset.status, asset.headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        assert f"/.rps/{name}" in text or phase != "pending"


def test_the_reserved_path_never_reaches_a_notebook(service: Service) -> None:
    with service.notebook() as (session, notebook):
        assert service.request(session.host, "GET", "/.rps/state").json()["phase"] == "ready"
        assert service.request(session.host, "GET", "/.rps/nothing").status == 404
        assert service.request(session.host, "POST", "/.rps/state", b"{}").status == 405
        assert notebook.requests == []


def test_a_notebook_that_does_not_answer(service: Service) -> None:
    session = service.issue()
    assert service.redeem(session, 1024)[0] == 200
    page = service.request(session.host, "GET", "/", headers={"Accept": "text/html"})
    assert page.status == 502
    assert b'data-state="not-answering"' in page.body
    for _ in range(3):
        service.request(session.host, "GET", "/")
    lines = [json.loads(line) for line in service.log().splitlines()]
    assert [line["event"] for line in lines if line.get("session") == session.name].count(
        "not-answering"
    ) == 1


def test_a_new_certificate_is_taken_up_while_it_runs(tmp_path: Path) -> None:
    authority = Authority(own_directory(tmp_path / "given"), "given", DOMAIN)
    files = {what: tmp_path / f"{what}.pem" for what in ("certificate", "key")}

    def put() -> None:
        leaf = authority.issue([DOMAIN, f"*.{DOMAIN}"], 30)
        files["key"].write_bytes(leaf.key)
        files["certificate"].write_bytes(leaf.certificate)

    def shown(service: Service) -> bytes:
        context = ssl.create_default_context(cadata=authority.certificate.decode())
        with (
            socket.create_connection(("127.0.0.1", service.port), 10) as plain,
            context.wrap_socket(plain, server_hostname=MANAGE) as connection,
        ):
            return connection.getpeercert(binary_form=True) or b""

    put()
    given = {f"tls.{what}": path for what, path in files.items()}
    with running_service(tmp_path, **given) as service:
        first = shown(service)
        put()
        until(lambda: shown(service) != first, "the new certificate")
        files["key"].write_text("half a file")
        until(lambda: "certificate-not-loaded" in service.log(), "the broken one is said")
        assert shown(service) != first


OURS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Server": "rps",
    "X-Content-Type-Options": "nosniff",
}


def test_every_answer_of_ours_is_guarded(tmp_path: Path) -> None:
    """Test the headers of every answer: no store, no scripts, no cookies.

    Pages, the API, satellite calls, and refusals of malformed requests.
    """
    domain = "rps.example.org"
    with running_service(tmp_path, domain=domain) as service:
        manage = f"manage.{domain}"
        for host, method, path in (
            (manage, "GET", "/api/v1/health"),
            (manage, "POST", "/api/v1/sessions"),
            (manage, "GET", "/api/v1/nothing"),
            (manage, "GET", "/getlink.cgi"),
            (manage, "GET", "/tokenjobstate.cgi"),
            (manage, "GET", "/"),
            (domain, "GET", "/"),
            (domain, "GET", "/x"),
            (f"a-b-c.{domain}", "GET", "/"),
            (f"a-b-c.{domain}", "GET", "/.rps/state"),
            (f"a-b-c.{domain}", "GET", "/.rps/page.js"),
        ):
            answer = service.request(host, method, path, headers={"Accept": "text/html"})
            for name, value in OURS.items():
                assert answer.headers.get_all(name) == [value], path
            policy = ", ".join(answer.headers.get_all("Content-Security-Policy") or [])
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
            assert answer.headers["Set-Cookie"] is None
        malformed = service.send(manage, b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
        assert b"no-store" in malformed
        assert b"default-src 'none'" in malformed


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"domain": "rps.example.org", "tls.hsts": 60}, "max-age=60"),
        ({"domain": "rps.example.org", "tls.hsts": 0}, None),
        ({"domain": "own.localhost"}, None),
    ],
)
def test_hsts_only_if_configured(
    tmp_path: Path, settings: dict[str, object], message: str | None
) -> None:
    with running_service(tmp_path, **settings) as service:
        answer = service.request(f"manage.{settings['domain']}", "GET", "/api/v1/health")
        assert answer.headers["Strict-Transport-Security"] == message


def test_names_a_minute(tmp_path: Path) -> None:
    with running_service(tmp_path, **{"limits.issues_per_minute": 3}) as service:
        for _ in range(3):
            service.issue()
        answer = service.request(MANAGE, "POST", "/api/v1/sessions", b"{}")
        assert (answer.status, answer.json()["error"]) == (429, "too-fast")
        assert 1 <= int(answer.headers["Retry-After"]) <= 20
        assert service.call("POST", "sessions", body={}, source=LOGIN)[0] == 201


def test_no_route_to_where_it_runs_unless_named(tmp_path: Path) -> None:
    with running_service(tmp_path, **{"networks.redeem": "[0.0.0.0/0, 127.0.0.2]"}) as service:
        session = service.issue()
        refused = (403, "excluded-address")
        assert code(service.redeem(session, 5000)) == refused
        path = f"sessions/{session.name}/certificate"
        assert code(service.call("POST", path, session.claim)) == refused
        assert service.redeem(session, 5000, source=COMPUTE)[0] == 200


def test_it_stops_on_request(tmp_path: Path) -> None:
    with running_service(tmp_path) as service, service.notebook() as (session, _):
        assert service.request(session.host, "GET", "/").status == 200
        assert service.stop() == 0
        until(lambda: '"stopped"' in service.log(), "the log says so")
        assert '"level": "error"' not in service.log()
