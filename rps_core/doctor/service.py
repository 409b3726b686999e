"""Check the proxy service step by step from this host, and its clock against ours."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Generator, Iterator
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from rps_core.doctor.checkup import (
    CALL_TIME,
    Answer,
    Checkup,
    Finding,
    NotChecked,
    failed,
    passed,
    warned,
)
from rps_core.errors import ServiceError, UsageError
from rps_core.node.agent.answer import Incoming, NotHttp, TimeLimit, read_answer
from rps_core.node.agent.protocol import HEALTH, Malformed, read_object
from rps_core.node.agent.tls import tls_context
from rps_core.node.agent.words import quoted
from rps_core.proxy_client.client import possible_clients
from rps_core.proxy_client.endpoint import configured_endpoint
from rps_core.proxy_client.tls_failure import tls_failure
from rps_core.state.record import Endpoint

if TYPE_CHECKING:
    from rps_core.config.settings import ProxySettings

_LONGEST_ANSWER = 1 << 16  # bytes
_EXPIRES_SOON = 7  # days
_SKEW_SEEN, _SKEW_BAD = 10.0, 120.0  # seconds; MUNGE and certificates fail from some minutes on
_DAY = 86400.0


def service(case: Checkup) -> Iterator[Finding]:
    """Check the service's name, port, certificate and health."""
    proxy = case.the_settings().settings.proxy
    own = proxy.personal
    try:
        endpoint = _own_endpoint(proxy) if own else configured_endpoint(case.the_settings())
    except (UsageError, ServiceError) as error:
        yield failed(error.message, error.hint)
        return
    if endpoint is None:
        yield passed("your personal service is not running; `rps start` starts it")
        return
    case.endpoint = endpoint
    support = "Ask the cluster's support whether the service is down or behind a firewall."
    try:
        addresses = _addresses(endpoint)
    except OSError as error:
        yield failed(
            f"cannot resolve {endpoint.host}: {error.strerror}",
            f"Check `proxy.domain` ({case.the_settings().where('proxy.domain')}). If it is right, the "
            "cluster's name server lacks the name.",
        )
        return
    began = time.monotonic()
    try:
        address = _reached(addresses, endpoint.port)
    except OSError as error:
        reason = error.strerror or str(error)
        yield failed(
            f"cannot connect to {endpoint.host} ({', '.join(addresses)}), port {endpoint.port}: {reason}",
            "`rps start` starts your personal service." if own else support,
        )
        return
    took = time.monotonic() - began
    yield passed(f"connected to {endpoint.host} ({address}), port {endpoint.port}, in {took:.3f} s")
    trusted = yield from _certificate(endpoint, address, own=own)
    key = _own_key() if trusted and own and proxy.tunnelled else None
    try:
        case.answer = _ask(endpoint, address, trusted=trusted, key=key)
    except (OSError, NotHttp) as error:
        yield failed(f"no answer over HTTPS: {error}", support)
        return
    if trusted:
        yield from _api(case, endpoint, case.answer)


def clock(case: Checkup) -> Iterator[Finding]:
    """Compare this host's clock with the service's: TLS, leases and MUNGE need it."""
    answer = case.answer
    if answer is None or answer.date is None:
        raise NotChecked("the service did not report its time")
    # The header has whole seconds: on average half a second has passed.
    skew = answer.received - answer.took / 2 - (answer.date + 0.5)
    text = f"this host's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the service's"
    hint = "Ask the cluster's support to check time synchronization (chrony, ntpd)."
    if abs(skew) > _SKEW_BAD:
        yield failed(text, hint)
    elif abs(skew) > _SKEW_SEEN:
        yield warned(text, hint)
    else:
        yield passed("this host's clock and the service's agree within seconds")


def _own_endpoint(proxy: ProxySettings) -> Endpoint | None:
    from rps_proxy.personal import running as local
    from rps_proxy.server.libraries import require_libraries

    require_libraries("local")
    running = local.find(local.service_directory(on_cluster=proxy.tunnelled))
    if running is None:
        return None
    host = f"manage.{local.DOMAIN}"
    return Endpoint(host=host, port=running.port, connect=running.address, ca_file=running.ca_file)


def _own_key() -> str:
    from rps_proxy.personal.running import issue_key, service_directory

    return issue_key(service_directory(on_cluster=True))


def _addresses(endpoint: Endpoint) -> list[str]:
    if endpoint.connect:
        return [endpoint.connect]
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _reached(addresses: list[str], port: int) -> str:
    """Return the first address that accepts a connection, in the launcher's order.

    Raises:
        OSError: the failure of the last address.
    """
    for address in addresses:
        try:
            socket.create_connection((address, port), CALL_TIME).close()
        except OSError:
            if address == addresses[-1]:
                raise
        else:
            return address
    raise OSError("the name has no address")


def _certificate(endpoint: Endpoint, address: str, *, own: bool) -> Generator[Finding, None, bool]:
    """Check the certificate. The generator returns whether it is trusted."""
    try:
        with _connected(endpoint, address, tls_context(endpoint.ca_file)) as secure:
            found: Any = secure.getpeercert()
            protocol = secure.version()
    except (OSError, ValueError) as error:
        failure = tls_failure(endpoint, error)
        yield failed(
            failure.text if failure else f"TLS with {endpoint.host} failed: {error}",
            failure.advice if failure else "Check whether another program uses the service's port.",
        )
        return False
    days = (ssl.cert_time_to_seconds(found["notAfter"]) - time.time()) / _DAY
    names = [name for kind, name in found.get("subjectAltName", ()) if kind == "DNS"]
    domain = endpoint.host.removeprefix("manage.")
    text = f"{protocol}, certificate valid for {days:.0f} more days"
    if f"*.{domain}" not in names:
        yield failed(
            f"{text}, but not for *.{domain} (only for {', '.join(names)})",
            "Browsers reject the sessions' host names: the service needs a wildcard certificate.",
        )
    elif days < _EXPIRES_SOON and not own:
        yield warned(text, "Ask the service's operator to renew it.")
    else:
        yield passed(f"{text}, for *.{domain}")
    return True


def _connected(endpoint: Endpoint, address: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    raw = socket.create_connection((address, endpoint.port), CALL_TIME)
    try:
        return context.wrap_socket(raw, server_hostname=endpoint.host)
    except BaseException:
        raw.close()
        raise


def _ask(endpoint: Endpoint, address: str, *, trusted: bool, key: str | None) -> Answer:
    """Call *health*, which needs no secret: even of an untrusted service.

    `key`: the issue key of a personal service on a cluster, which answers nothing without it.
    """
    headers = "Accept: application/json\r\nConnection: close\r\n"
    if key is not None:
        headers += f"Authorization: Bearer {key}\r\n"
    context = tls_context(endpoint.ca_file)
    if not trusted:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with _connected(endpoint, address, context) as secure:
        secure.settimeout(CALL_TIME)
        request = f"GET /api/v1/health HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\n"
        began = time.monotonic()
        secure.sendall(f"{request}{headers}\r\n".encode())
        answer = read_answer(Incoming(secure, TimeLimit(CALL_TIME)), _LONGEST_ANSWER)
        received, took = time.time(), time.monotonic() - began
    date = answer.headers.get("date")
    text = answer.body.decode("utf-8", "replace")
    try:
        found = read_object(answer.body)
    except Malformed:
        found = {}
    try:
        sent = parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, TypeError, IndexError, OverflowError):
        sent = None
    return Answer(answer.status, sent, found, text, received, took)


def _api(case: Checkup, endpoint: Endpoint, answer: Answer) -> Iterator[Finding]:
    found = answer.found
    if found.get("error") == "outside-networks":
        yield failed(
            "the service rejects this host: it is not in the cluster's networks",
            "Run rps on a login node, or ask the service's operator to add this host's network.",
        )
        return
    try:
        found = HEALTH(found) if answer.status == 200 else {}
    except Malformed:
        found = {}
    if not found:
        yield from _otherwise(case, endpoint, answer)
    elif f"manage.{found.get('domain')}" != endpoint.host:
        yield warned(
            f"the service's domain is {found.get('domain')}, but its host name here is {endpoint.host}",
            "Set `proxy.domain` to the service's domain.",
        )
    elif found.get("draining"):
        yield warned(
            "the service is draining: it issues no new names; existing sessions continue",
            "Try again later; its operator ends the drain with `rps proxy drain --off`.",
        )
    else:
        version = f"rps {found.get('version')}"
        yield passed(f"ready ({version}), answers in {answer.took:.3f} s")


def _otherwise(case: Checkup, endpoint: Endpoint, answer: Answer) -> Iterator[Finding]:
    """Check for each protocol that the service may speak, if *health* did not answer."""
    protocol = case.the_settings().settings.proxy.protocol
    for client in possible_clients(endpoint, protocol, CALL_TIME):
        try:
            what = client.identify()
        except ServiceError as error:
            yield failed(error.message, error.hint)
            return
        if what:
            yield passed(f"ready ({what}), answers in {answer.took:.3f} s")
            return
    words = quoted(answer.text[:80])
    yield failed(
        f"{endpoint.host} is not a Reverse Proxy Service: status {answer.status}, {words}",
        "Check `proxy.domain`. If it is right, another web server or a proxy answers under this name.",
    )
