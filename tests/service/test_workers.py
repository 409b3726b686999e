"""The embedded engine in several processes: their state, and the death of one."""

from __future__ import annotations

import os
import signal
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rps_core.errors import ServiceError
from rps_proxy.cli import admin_client as operate
from rps_proxy.control.counters import Counters
from rps_proxy.engines.workers.channel import Begin
from rps_proxy.engines.workers.pool import Workers
from rps_proxy.http.listeners import listen_together
from rps_proxy.settings.loading import load
from rps_proxy.tls.authority import Authority
from tests.engines.stand import behind
from tests.faults.test_service_restart import issue_files
from tests.stands.event_stream import EventStream
from tests.stands.service import (
    DOMAIN,
    Notebook,
    Service,
    Session,
    read_exactly,
    read_head,
    running_service,
    upgrade_request,
)
from tests.stands.waiting import until

# So many connections do not all come to the same one of two workers, but for one time in 2**31.
MANY = 32


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path, workers=2) as service:
        yield service


def workers(service: Service) -> list[int]:
    assert service.process
    pid = service.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children]


def gone(pid: int) -> bool:
    """Return whether the process has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def statuses(service: Service, session: Session) -> set[int]:
    """Return the statuses that new connections to all workers get."""
    return {service.request(session.host, "GET", "/").status for _ in range(MANY)}


def websockets(service: Service, session: Session, stack: ExitStack) -> list[ssl.SSLSocket]:
    """Open ones, through all of the workers."""
    connections = [stack.enter_context(service.connect(session.host)) for _ in range(MANY)]
    for connection in connections:
        connection.sendall(upgrade_request(session.host))
        assert " 101 " in read_head(connection)
    return connections


def echoes(connection: ssl.SSLSocket) -> bool:
    try:
        connection.sendall(bytes.fromhex("818100000000") + b"x")
        return read_exactly(connection, 7)[-1:] == b"x"
    except (OSError, AssertionError):
        return False


def metric(service: Service, name: str) -> float:
    """Return a metric without labels."""
    settings = load(None, [f"directory={service.directory / 'service'}"])
    messages = operate.ask(settings, "GET", "/metrics")
    assert messages
    return float(messages.split(f"\n{name} ")[1].split()[0])


def test_the_operator_sees_how_many_there_are(service: Service) -> None:
    settings = load(None, [f"directory={service.directory / 'service'}"])
    assert operate.status(settings)["workers"] == len(workers(service)) == 2


def test_a_change_is_known_to_all_when_it_is_answered(service: Service) -> None:
    with service.notebook() as (session, _), ExitStack() as stack:
        assert statuses(service, session) == {200}
        connections = websockets(service, session, stack)
        service.revoke(session)
        assert statuses(service, session) == {410}
        for connection in connections:
            assert read_exactly(connection, 4) == b"\x88\x02\x03\xe9"  # 1001, going away


def test_a_worker_that_dies_is_replaced_and_costs_its_own_connections_alone(
    service: Service,
) -> None:
    with service.notebook() as (session, _), ExitStack() as stack:
        connections = websockets(service, session, stack)
        killed, other = workers(service)
        os.kill(killed, signal.SIGKILL)
        # New connections wait for the successor: not one is refused.
        assert statuses(service, session) == {200}
        assert 0 < sum(map(echoes, connections)) < MANY
        late = service.issue()
        assert service.redeem(late, 1024)[0] == 200
        assert statuses(service, late) == {502}
        until(lambda: service.log().count("worker-ready") == 3, "it is replaced")
        assert other in workers(service)
        assert service.log().count("worker-ended") == 1
        assert metric(service, "rps_worker_ends_total") == 1


def revoke_past_the_workers(service: Service, session: Session) -> None:
    """Revoke over the socket between workers and service, like a live worker."""
    client = behind(service.directory / "service" / "service.sock", 20)
    headers = {
        "Host": f"manage.{DOMAIN}:{service.port}",
        "Authorization": f"Bearer {session.claim}",
    }
    client.request("POST", f"/api/v1/sessions/{session.name}/revoke", None, headers)
    assert client.getresponse().status == 200
    client.close()


def test_a_frozen_worker_delays_no_client_and_is_replaced(service: Service) -> None:
    with service.notebook() as (session, _):
        frozen, other = workers(service)
        os.kill(frozen, signal.SIGSTOP)
        revoke_past_the_workers(service, session)
        assert statuses(service, session) == {410}  # those that came to the frozen one have waited
        log = service.log()
        assert 0 < log.index('"revoked"') < log.index("worker-not-answering")
        assert gone(frozen)
        assert other in workers(service)


def test_notebooks_are_reached_while_the_service_is_frozen(service: Service) -> None:
    with service.notebook() as (session, _):
        assert service.process
        service.process.send_signal(signal.SIGSTOP)
        try:
            assert statuses(service, session) == {200}
        finally:
            service.process.send_signal(signal.SIGCONT)
        assert service.renew(session) == 200


def test_a_waiting_page_hears_at_once_and_is_missed_when_it_leaves(tmp_path: Path) -> None:
    """Test that a worker forwards at once in both directions, including ends."""
    with running_service(tmp_path, workers=2, **{"advanced.waiting_pages": 1}) as service:
        session = service.issue()
        with EventStream(service, session.host) as stream:
            first = stream.event()
            assert first
            assert first["phase"] == "pending"
            with EventStream(service, session.host) as second:
                assert second.status == 503

        def again() -> bool:
            with EventStream(service, session.host) as stream:
                return stream.status == 200

        until(again, "its place is free")
        until(lambda: metric(service, "rps_waiting_pages") == 0, "and free again")
        with EventStream(service, session.host) as stream:
            assert stream.event()
            with Notebook(service.certificate(session), tmp_path) as notebook:
                assert service.redeem(session, notebook.port)[0] == 200
                phases = [event["phase"] for event in iter(stream.event, None) if event]
                assert phases[-1] == "ready"


def test_they_end_with_the_service_however_that_ends(service: Service) -> None:
    running, frozen = workers(service)
    try:
        os.kill(frozen, signal.SIGSTOP)
        service.kill()
        until(lambda: gone(running) and gone(frozen), "they have ended")
    finally:
        for pid in (running, frozen):
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)
    service.start()
    assert service.process
    messages = [*workers(service), service.process.pid]
    for pid in messages[:-1]:  # systemd and Ctrl-C signal all of them: the service ends them itself
        os.kill(pid, signal.SIGTERM)
    with service.notebook() as (session, _):
        assert statuses(service, session) == {200}
    assert service.stop() == 0
    assert all(map(gone, messages))
    assert "worker-ended" not in service.log()


def test_a_port_is_not_shared(service: Service, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=f"port {service.port}"):
        listen_together("127.0.0.1", service.port, 2)
    sockets = listen_together("127.0.0.1", 0, 3)
    assert len({each.getsockname() for each in sockets}) == 1
    for each in sockets:
        each.close()


def test_a_new_certificate_is_shown_by_all_of_them(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca", "test", DOMAIN)
    hosts, chain = (DOMAIN, f"*.{DOMAIN}"), tmp_path / "front.crt"

    def shown(service: Service) -> set[bytes | None]:
        found = set()
        for _ in range(MANY):
            with service.connect(DOMAIN) as connection:
                found.add(connection.getpeercert(binary_form=True))
        return found

    issue_files(tmp_path, authority.issue(hosts, 2))
    given = {"tls.certificate": chain, "tls.key": tmp_path / "front.key", "workers": 2}
    with running_service(tmp_path, **given) as service:
        before = shown(service)
        assert len(before) == 1
        issue_files(tmp_path, authority.issue(hosts, 2))
        until(lambda: not shown(service) & before, "the new one is shown")
        killed, _ = workers(service)
        chain.write_text("broken")  # the file on disk is not the certificate in use
        os.kill(killed, signal.SIGKILL)
        assert len(after := shown(service)) == 1
        assert after != before


async def test_one_that_cannot_start_is_an_error_of_the_service(tmp_path: Path) -> None:
    begin = Begin(
        domain=DOMAIN, public_port=1, connect_timeout=1, ping_every=1, dead_after=1,
        hello_time=1, head_time=1, stall_time=1, connections_per_address=1,
        strict_transport=None, appearance={}, log_level="warning", log_format="text",
        door=str(tmp_path / "door"),
        upstream_ca="no certificate", certificate="none either",
    )  # fmt: skip
    sockets = listen_together("127.0.0.1", 0, 2)
    with (tmp_path / "lock").open("w") as lock:
        workers = Workers(begin, sockets, lock.fileno(), Counters())
        with pytest.raises(ServiceError, match="does not start"):
            await workers.__aenter__()
