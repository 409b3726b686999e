"""A service with any answers, against the real `rps start` and agent.

Nothing that violates the grammar of docs/protocol.md is used, stored or printed, and nothing is removed
because of it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rps_core.doctor.checkup import Verdict
from rps_core.errors import ServiceError
from rps_core.node.agent.protocol import (
    LEASE,
    RENEWALS,
    is_number,
    is_satellite_name,
    is_session_name,
)
from rps_core.node.agent.service import Service, ServiceAway, ServiceRefused
from rps_core.proxy_client.client import client_at
from rps_core.state.record import Endpoint, Secrets, SessionRecord
from rps_core.state.store import Store
from rps_core.system import paths
from rps_core.text import plain
from tests.conftest import path_without_schedulers
from tests.faults.test_doctor import examined
from tests.stands.agent import agent, events, session_directory
from tests.stands.hostile_service import Answer, HostileService, as_json, http
from tests.stands.hostile_values import CLAIM, CLAIMS, DOMAIN, HOSTS, NAME, NAMES, URLS
from tests.stands.launcher_forks import Done, Launcher
from tests.stands.waiting import until

TOKEN = "0" * 32
# Characters that a terminal or a reader would interpret.
NOT_TEXT = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


def drip(stream: IO[bytes]) -> None:
    """Send a byte now and then, each within the time limit of one step, without an end."""
    stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    while True:
        stream.write(b" ")
        stream.flush()
        time.sleep(0.1)


def endless(first: bytes, then: bytes) -> Callable[[IO[bytes]], None]:
    def write(stream: IO[bytes]) -> None:
        stream.write(first)
        while True:
            stream.write(then)

    return write


# For any call: bytes that are no valid answer.
NO_ANSWERS: dict[str, Answer] = {
    "empty": b"",
    "no JSON": http(b"{"),
    "no object": http(b'["name"]'),
    "nested": http(b'{"name":' * 8000),
    "nested lists": http(b"[" * 60_000),
    "not UTF-8": http(b'{"name": "\xff"}'),
    "a key twice": http(b'{"error": "gone", "error": "gone"}'),
    "NaN": http(b'{"renew_every": NaN, "lease": Infinity}'),
    "beyond all numbers": http(b'{"renew_every": 1e999}'),
    "digits": http(b'{"renew_every": ' + b"9" * 50_000 + b"}"),
    "long": http(b" " * 2_000_000 + b"{}"),
    "a long head": b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 900) for n in range(90))
    + b"\r\n{}",
    "an endless body": endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 4096),
    "endless chunks": endless(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 500
    ),
    "an endless head": endless(b"HTTP/1.1 200 OK\r\nX: ", b"y" * 4096),
    "endless interim answers": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "a drip": drip,
    "a redirect": http(b"", "302 Found", f"Location: https://manage.{DOMAIN}/elsewhere\r\n"),
    "another protocol": b"220 \x1b[2Jmail\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "negative chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}",
    "a code with an escape": as_json({"error": "\x1b[2J", "message": ""}, "403 No"),
    "a code that is a list": as_json({"error": ["gone"]}, "410 Gone"),
}  # fmt: skip

TOO_LONG = (
    "long",
    "a long head",
    "an endless head",
    "an endless body",
    "endless chunks",
    "endless interim answers",
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileService]:
    service = HostileService(tmp_path_factory.mktemp("hostile"))
    yield service
    service.stop()


@pytest.fixture(autouse=True)
def _good_again(service: HostileService) -> Iterator[None]:
    yield
    service.answers.clear()
    service.calls.clear()


class Home:
    """A home directory with things in it that are nobody's to remove, and `rps` in it."""

    def __init__(self, service: HostileService, launcher: Launcher, home: Path) -> None:
        self.home = home
        self.launcher = launcher
        self.service = service
        self.sessions = paths.sessions_dir()
        environment = {name: os.environ[name] for name in os.environ if name.startswith("XDG_")}
        environment |= {"HOME": str(home), "PATH": path_without_schedulers(home / ".path")}
        self.environment = environment | {"LANG": "C.UTF-8"}
        script = home / "script.sh"
        script.write_text("#!/bin/sh\nexit 0\n")
        (home / "precious").mkdir()
        (home / "precious" / "thesis").write_text("years")
        self.sessions.mkdir(parents=True, mode=0o700)
        for place in (self.sessions.parent, self.sessions):
            (place / "precious").mkdir()
            (place / "precious" / "thesis").write_text("years")
        self._before = self._kept()

    def start(self, *more: str) -> Done:
        """`rps start` with that service; the job is one that ends at once."""
        done = self.rps("start", "--batch", str(self.home / "script.sh"), *more)
        assert done.code in (0, 4), done
        return done

    def rps(self, *arguments: str) -> Done:
        """Run a command; its output must be text, and all files must still be there."""
        values = {"own": "false", "domain": DOMAIN, "port": self.service.port, "timeout": "0.7",
                  "ca_file": self.service.ca_file}  # fmt: skip
        given = [
            word for key, value in values.items() for word in ("--set", f"proxy.{key}={value}")
        ]
        done = self.launcher.rps(self.environment, *arguments, "--cluster", "local", *given)
        assert "Traceback" not in done.said, done
        assert not NOT_TEXT.search(done.said), done
        assert self._kept() == self._before
        for record in self.records():
            assert record.url.startswith(f"https://{record.name}.{DOMAIN}")
        return done

    def records(self) -> list[SessionRecord]:
        return list(Store(self.sessions).records())

    def forget(self) -> None:
        for record in self.records():
            Store(self.sessions).remove(record.name)

    def _kept(self) -> dict[str, str]:
        """Return all files except the sessions' directories and the venv of notebooks."""
        found = {}
        venvs = self.home / ".local/share/rps/python"
        for path in sorted(self.home.rglob("*")):
            of_a_session = (
                self.sessions in path.parents and path.parent != self.sessions / "precious"
            )
            if of_a_session and is_session_name(path.relative_to(self.sessions).parts[0]):
                continue
            if venvs in path.parents:
                continue
            if path.is_file() and ".path" not in path.parts and ".cache" not in path.parts:
                found[str(path)] = path.read_text()
        return found


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    with Launcher() as launcher:
        yield launcher


@pytest.fixture
def home(service: HostileService, launcher: Launcher, tmp_path: Path) -> Home:
    return Home(service, launcher, tmp_path / "home")


def test_a_good_answer_starts_a_session(home: Home) -> None:
    """Test the correct answer: without it the tests below show nothing."""
    done = home.start()
    assert (done.code, len(home.records())) == (0, 1), done
    assert done.out.startswith(f"https://one-two-three.{DOMAIN}:")
    again = home.start()  # the same name again: the second start must not remove the first session
    assert (again.code, len(home.records())) == (4, 1), again
    assert "which another session here has" in again.err


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../../../../precious"),
        ("name", "precious"),
        ("name", f"\x1b[2J\x1b[31m{NAME}"),
        ("name", 7),
        ("url", "javascript:alert(1)"),
        ("host", {}),
        ("claim", f"{CLAIM[:-6]}\r\nX: y"),
    ],
)
def test_no_field_in_another_form_is_taken(home: Home, field: str, value: object) -> None:
    """Test the values of tests/unit/rps_core/node/agent/test_protocol.py: all refused."""
    found = {**home.service.name(), field: value}
    if field == "name":
        found |= {"host": f"{value}.{DOMAIN}", "url": f"https://{value}.{DOMAIN}/"}
    home.service.answers["issue"] = as_json(found, "201 Created")
    assert home.start().code == 4
    assert home.records() == []


@pytest.mark.parametrize("keep", [True, False], ids=["launcher", "agent"])
@pytest.mark.parametrize("what", NO_ANSWERS)
def test_no_call_takes_an_answer_for_one(service: HostileService, what: str, keep: bool) -> None:
    """The client that both have, in the two ways they have it; within its time."""
    service.answers["renew"] = NO_ANSWERS[what]
    client = Service(
        f"manage.{DOMAIN}", service.port, "127.0.0.1", str(service.ca_file), 0.3, keep=keep
    )
    with pytest.raises(ServiceAway) as caught:
        client.request("POST", f"/api/v1/sessions/{NAME}/renew", LEASE, None, CLAIM)
    assert not NOT_TEXT.search(str(caught.value))
    assert service.calls == ["renew"]
    # Neither read to its end, nor until the timeout.
    assert ("too long" in str(caught.value)) == (what in TOO_LONG)
    assert ("timed out" in str(caught.value)) == (what == "a drip")


@pytest.mark.parametrize("what", ["nested", "a drip", "another protocol", "an endless head"])
def test_a_start_takes_no_answer_for_one(home: Home, what: str) -> None:
    home.service.answers["issue"] = NO_ANSWERS[what]
    done = home.start()
    assert done.code == 4
    assert f"manage.{DOMAIN}" in done.err
    assert home.records() == []


def test_a_session_is_looked_after_whatever_the_service_says(home: Home) -> None:
    home.start()
    for answer in (
        NO_ANSWERS["nested"],
        NO_ANSWERS["endless chunks"],
        as_json({"phase": ["gone"], "live": True}),
        as_json({"phase": "gone", "live": False, "reason": "\x1b]0;x\x07"}),
        as_json({"error": "gone", "message": "\x1b[2J\u202e" * 999}, "410 Gone"),
    ):
        home.service.answers["state"] = home.service.answers["link"] = answer
        home.service.answers["revoke"] = answer
        assert home.rps("status", "one-two-three", "--json").code == 0
    assert home.rps("stop", "one-two-three").code == 0
    assert home.rps("list", "--all").out.count("one-two-three") == 1


def test_a_session_with_a_name_that_is_no_longer_given_is_looked_after(home: Home) -> None:
    """Test a name that an earlier launcher accepted, as any name of a directory."""
    home.start()
    store = Store(home.sessions)
    (record,) = store.records()
    url = f"https://old.{DOMAIN}/"
    old = replace(record, name="old", url=url, created=1.0, job_id=None, submitting=True)
    store.create(old, Secrets(CLAIM, TOKEN))
    assert home.rps("status", "old", "--json").code == 0
    assert "old " in home.rps("list").out
    assert home.rps("stop", "old").code == 0


def test_the_services_words_are_a_quotation(home: Home) -> None:
    words = 'Sorry.\nrps: all is well\x1b[31m" log in at https://evil.example ' + "x" * 999
    home.service.answers["issue"] = as_json({"error": "limit-of-mine", "message": words}, "403 No")
    done = home.start()
    quoted = re.search('"(.*)"', done.err)
    assert quoted
    assert quoted[1].startswith("Sorry. rps: all is well?[31m' log in")
    assert len(quoted[1]) <= 200
    assert done.err.count("\nrps: ") == 1  # our own


TEXT = "Content-Type: text/plain\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        *(NO_ANSWERS[what] for what in ("empty", "an endless head", "an endless body", "a redirect")),
        *(http(f"Your token is \n{name}\n".encode(), head=TEXT) for name in NAMES
          if isinstance(name, str) and not is_satellite_name((name.split() or [""])[-1].lower())),
        http(b"Your token is", head=TEXT),
        http(b"Oops! \x1b[2J" + b"x" * 9999, head=TEXT),
        http(b"Your token is \none-two-three\n", head="Content-Type: text/x\r\n"),
    ],
)  # fmt: skip
def test_a_satellite_is_held_to_its_form_too(service: HostileService, answer: Answer) -> None:
    service.answers["other"] = answer
    to = Endpoint(
        host=f"manage.{DOMAIN}", port=service.port, connect="127.0.0.1",
        ca_file=str(service.ca_file), protocol="satellite",
    )  # fmt: skip
    with pytest.raises(ServiceError) as caught:
        client_at(to, 0.5).issue(cluster="c", scheduler="s", user="u")
    assert not NOT_TEXT.search(str(caught.value))
    assert len(str(caught.value)) < 500


def test_a_start_at_a_satellite(home: Home) -> None:
    home.service.answers["other"] = http(b"Your token is \n../../../../precious\n", head=TEXT)
    assert home.start("--set", "proxy.protocol=satellite").code == 4
    assert home.records() == []


@pytest.mark.parametrize("what", sorted({*NO_ANSWERS} - {"a drip"}))
def test_the_doctor_takes_no_answer_for_one(service: HostileService, what: str) -> None:
    service.answers["other"] = NO_ANSWERS[what]
    found, clock = examined(service)
    assert found[-1].verdict is Verdict.FAIL
    for finding in (*found, *clock):
        assert "defect" not in finding.text, finding
        assert not NOT_TEXT.search(plain(finding.text + finding.hint)), finding


@pytest.mark.parametrize("date", ["Mon, 99 Foo 0000 99:99:99 GMT", "\x1b[2J", ","])
def test_the_doctor_takes_no_date_for_one(service: HostileService, date: str) -> None:
    health = {"status": "ok", "version": "1", "domain": DOMAIN, "draining": False}
    service.answers["other"] = as_json(health, head=f"Date: {date}\r\n")
    found, clock = examined(service)
    assert found[-1].verdict is Verdict.PASS
    assert [finding.text for finding in clock] == [
        "not checked: the service did not report its time"
    ]


def test_names_on_the_command_line_lead_nowhere_else(home: Home) -> None:
    home.start()
    words = (
        "../precious",
        "precious",
        "..",
        "/",
        "",
        "\x1b[2J",
        "\u202e",
        "a" * 5000,
        "one-two-three/../precious",
    )
    for name in words:
        assert home.rps("stop", "--", name).code in (2, 7), name
    for command in ("status", "logs", "url", "open", "why", "wait", "again"):
        assert home.rps(command, "--", "../../../../precious").code in (2, 7), command
    assert len(home.records()) == 1


# A value of any kind, in place of a field or beside it.
_junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(),
    st.sampled_from([*NAMES, *URLS, *HOSTS, *CLAIMS]),
    st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)),
)  # fmt: skip


@given(data=st.data())
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_answered_to_a_start(home: Home, data: st.DataObject) -> None:
    draw = data.draw
    fields: dict[str, object] = home.service.name()
    for key in draw(st.sets(st.sampled_from([*fields, "error", "message", "x"]), max_size=3)):
        fields[key] = draw(_junk)
    status = draw(st.sampled_from(["200 OK", "201 C", "302 F", "403 F", "404 N", "429 M", "503 U"]))
    home.service.answers["issue"] = draw(
        st.one_of(
            st.just(as_json(fields, status)),
            st.builds(http, st.binary()),
            st.binary().map(lambda junk: b"HTTP/1.1 200 OK\r\n" + junk),
        )
    )
    home.start()
    home.forget()


@given(data=st.data())
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_is_answered_to_a_call(service: HostileService, data: st.DataObject) -> None:
    """Test launcher and agent: a valid value, a valid refusal, or no answer."""
    fields = data.draw(
        st.dictionaries(st.sampled_from(["renew_every", "lease", "error", "message"]), _junk)
    )
    status = data.draw(
        st.sampled_from(["200 OK", "103 E", "204 N", "301 M", "403 F", "410 G", "503 U"])
    )
    junk = st.binary(max_size=300)
    service.answers["renew"] = data.draw(
        st.one_of(
            st.just(as_json(fields, status)),
            junk,
            junk.map(lambda text: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + text),
            junk.map(lambda text: b"HTTP/1.1 200 OK\r\n" + text + b"\r\n\r\n{}"),
        )
    )
    client = Service(f"manage.{DOMAIN}", service.port, "127.0.0.1", str(service.ca_file), 5)
    found, error = None, None
    try:
        found = client.request("POST", f"/api/v1/sessions/{NAME}/renew", LEASE, None, CLAIM)
    except (ServiceAway, ServiceRefused) as failure:
        error = failure
    if found is not None:
        assert found.keys() == {"renew_every"}
        assert is_number(found["renew_every"], *RENEWALS)
    if error is not None:
        assert not NOT_TEXT.search(str(error))
        assert len(str(error)) < 500
        assert re.fullmatch("|[a-z][a-z0-9-]*", error.code)


# The agent


def session(directory: Path, service: HostileService, **launch: object) -> Path:
    """Return a session's directory; `launch` is put into launch.json."""
    made = session_directory(directory, NAME, CLAIM, TOKEN, service.port, service.ca_file)
    file = made / "launch.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **launch}))
    return made


def certificate(service: HostileService, **fields: object) -> bytes:
    return as_json({**service.certificate, **fields})


def bad_certificates(service: HostileService) -> dict[str, bytes]:
    """Return answers with a certificate that must not be written."""
    pem, key = service.certificate["certificate"], service.certificate["key"]
    return {
        "no text": certificate(service, key=7),
        "a passphrase": certificate(service, key=key.replace("PRIVATE", "ENCRYPTED PRIVATE")),
        "more than PEM": certificate(service, ca=pem + "\x1b[2J"),
        "an escape": as_json({"error": "busy", "message": "\x1b[2J"}, "503 Busy"),
    }


def test_an_agent_takes_no_answer_for_one(service: HostileService, tmp_path: Path) -> None:
    """Start processes that wait for an answer until they get a signal."""
    some = ("empty", "nested", "an endless body", "another protocol", "a code with an escape")
    answers = {**{name: NO_ANSWERS[name] for name in some}, **bad_certificates(service)}
    names = list(answers)
    with ExitStack() as stack:
        every = []
        for number, name in enumerate(names):
            every.append(session(tmp_path / f"session-{number}", service))
            service.answers["certificate"] = answers[name]
            process = stack.enter_context(agent(every[-1]))
            until(lambda: events(every[-1], "service-away"), f"service-away ({name})")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, name
        for name, directory in zip(names, every, strict=True):
            assert [one["cause"] for one in events(directory, "ended")] == ["signal"], name
            log = (directory / "job.log").read_text()
            assert "Traceback" not in log, name
            assert not NOT_TEXT.search(log), name
            assert not (directory / "run").exists(), name


def test_a_key_that_is_another_certificates_ends_the_session(
    service: HostileService, tmp_path: Path
) -> None:
    other = service.upstream.issue(["one-two-three.rps.localhost"], 1)
    service.answers["certificate"] = certificate(service, key=other.key.decode())
    directory = session(tmp_path / "session", service)
    with agent(directory) as process:
        assert process.wait(60) == 1
    (ended,) = events(directory, "ended")
    assert ended["cause"] == "refused"
    assert not (directory / "run").exists()


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "../../precious"},
        {"name": 7},
        {"url": "javascript:alert(1)"},
        {"start_timeout": "soon"},
        {"walltime": float("inf")},
    ],
)
def test_an_agent_reads_its_files_by_the_same_grammar(
    service: HostileService, tmp_path: Path, bad: dict[str, Any]
) -> None:
    """An earlier launcher may have stored what a service gave."""
    directory = session(tmp_path / "session", service, **bad)
    with agent(directory) as process:
        assert process.wait(60) == 1
    (ended,) = events(directory, "ended")
    assert (ended["cause"], "damaged" in ended["reason"]) == ("start-failed", True)
    assert service.calls == []


def test_a_notebook_lives_on_while_renewals_are_answered_with_anything(
    service: HostileService, tmp_path: Path
) -> None:
    answers = [
        as_json({"lease": 45, "renew_every": value})
        for value in (float("nan"), 1e308, -1, 0, 1e-9, "1", None, True, [15])
    ]

    def one(stream: IO[bytes]) -> None:
        stream.write(answers.pop() if answers else as_json({"renew_every": 0.2}))

    service.answers["renew"] = one
    directory = session(tmp_path / "session", service)
    with agent(directory) as process:
        until(lambda: events(directory, "service-away"), "a renewal that is no answer")
        count = len(service.calls)
        until(lambda: len(service.calls) > count + 1, "the next renewals")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    (away, *_) = events(directory, "service-away")
    assert away["reason"] == "its answer is malformed: `renew_every` has the wrong form"
    assert [one["cause"] for one in events(directory, "ended")] == ["signal"]
    assert (
        json.loads((directory / "events.jsonl").read_text().splitlines()[-1])["exit_code"]
        is not None
    )
