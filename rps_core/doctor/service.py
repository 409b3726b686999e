"""The Reverse Proxy Service as it is reached from here, step by step, and its clock beside ours."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Generator, Iterator
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from typing import Any

from rps_core.client import configured_endpoint
from rps_core.doctor.case import (
    CALL_TIME,
    Answer,
    Case,
    Finding,
    NotChecked,
    failed,
    passed,
    warned,
)
from rps_core.errors import ServiceError, UsageError
from rps_core.node.agent.satellite import Satellite
from rps_core.node.agent.service import ServiceAway, ServiceRefused, tls_context
from rps_core.record import Endpoint

_EXPIRES_SOON = 7  # days
_SKEW_SEEN, _SKEW_BAD = 10.0, 120.0  # seconds; MUNGE and certificates fail from some minutes on
_DAY = 86400.0
_EXPIRED, _NOT_YET = 10, 9  # OpenSSL's codes of what is wrong with a certificate
_OTHER_NAME = 62


def service(case: Case) -> Iterator[Finding]:
    """Its name, its port, its certificate, and what it says of itself."""
    own = case.the_settings().settings.proxy.own
    try:
        endpoint = _own_endpoint() if own else configured_endpoint(case.the_settings())
    except (UsageError, ServiceError) as error:
        yield failed(error.message, error.hint)
        return
    if endpoint is None:
        yield passed("your own service does not run now; `rps start` starts it")
        return
    case.endpoint = endpoint
    support = "Is it down, or is there a firewall? The cluster's support knows."
    try:
        addresses = _addresses(endpoint)
    except OSError as error:
        yield failed(
            f"the name {endpoint.host} is not known here: {error.strerror}",
            f"Is `proxy.domain` right ({case.the_settings().where('proxy.domain')})? Else the "
            "cluster's name server lacks it.",
        )
        return
    began = time.monotonic()
    try:
        address = _reached(addresses, endpoint.port)
    except OSError as error:
        told = error.strerror or str(error)
        yield failed(
            f"{endpoint.host} ({', '.join(addresses)}), port {endpoint.port}: {told}",
            "`rps start` starts your own service." if own else support,
        )
        return
    took = time.monotonic() - began
    yield passed(f"{endpoint.host} ({address}), port {endpoint.port}: connected in {took:.3f} s")
    trusted = yield from _certificate(endpoint, address, own=own)
    try:
        case.answer = _ask(endpoint, address, trusted=trusted)
    except (OSError, HTTPException) as error:
        yield failed(f"it does not answer over HTTPS: {error}", support)
        return
    if trusted:
        yield from _api(case, endpoint, case.answer)


def clock(case: Case) -> Iterator[Finding]:
    """Ours beside the service's: certificates, leases and MUNGE's credentials depend on it."""
    answer = case.answer
    if answer is None or answer.date is None:
        raise NotChecked("no service told the time")
    # The header has whole seconds, of which half has passed on the average.
    skew = answer.received - answer.took / 2 - (answer.date + 0.5)
    told = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the service's"
    hint = "Time synchronisation (chrony, ntpd) is the administrator's: tell the cluster's support."
    if abs(skew) > _SKEW_BAD:
        yield failed(f"this host's clock is {told}", hint)
    elif abs(skew) > _SKEW_SEEN:
        yield warned(f"this host's clock is {told}", hint)
    else:
        yield passed("this host's clock and the service's agree to some seconds")


def _own_endpoint() -> Endpoint | None:
    from rps_proxy import local
    from rps_proxy.launch import require_libraries

    require_libraries("local")
    running = local.find(local.service_directory())
    if running is None:
        return None
    host = f"manage.{local.DOMAIN}"
    return Endpoint(host=host, port=running.port, connect=local.ADDRESS, ca_file=running.ca_file)


def _addresses(endpoint: Endpoint) -> list[str]:
    if endpoint.connect:
        return [endpoint.connect]
    found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _reached(addresses: list[str], port: int) -> str:
    """The first that takes a connection, as the launcher tries them (OSError: what became of the last)."""
    for address in addresses:
        try:
            socket.create_connection((address, port), CALL_TIME).close()
        except OSError:
            if address == addresses[-1]:
                raise
        else:
            return address
    raise OSError("it has no address")


def _certificate(endpoint: Endpoint, address: str, *, own: bool) -> Generator[Finding, None, bool]:
    """Answers (as a generator's value) whether it is the service's, for all that can be seen."""
    try:
        with _connected(endpoint, address, tls_context(endpoint.ca_file)) as secure:
            found: Any = secure.getpeercert()
            protocol = secure.version()
    except ssl.SSLCertVerificationError as error:
        yield _distrusted(endpoint, error)
        return False
    except (OSError, ValueError) as error:
        yield failed(
            f"no TLS with {endpoint.host}: {error}", "Is another program on the service's port?"
        )
        return False
    days = (ssl.cert_time_to_seconds(found["notAfter"]) - time.time()) / _DAY
    names = [name for kind, name in found.get("subjectAltName", ()) if kind == "DNS"]
    domain = endpoint.host.removeprefix("manage.")
    told = f"{protocol}, its certificate is good for {days:.0f} more days"
    if f"*.{domain}" not in names:
        yield failed(
            f"{told}, but names no *.{domain} (it names {', '.join(names)})",
            "Browsers refuse the sessions' hosts: the service needs a wildcard certificate.",
        )
    elif days < _EXPIRES_SOON and not own:
        yield warned(told, "The service's operator has to renew it, or to see why nothing does.")
    else:
        yield passed(f"{told}, and names *.{domain}")
    return True


def _distrusted(endpoint: Endpoint, error: ssl.SSLCertVerificationError) -> Finding:
    if error.verify_code in (_EXPIRED, _NOT_YET):
        when = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
        return failed(
            f"the certificate of {endpoint.host} {when}, by this host's clock",
            "If the clock is right (see below), the service's operator has to renew it.",
        )
    if error.verify_code == _OTHER_NAME:
        return failed(
            f"the certificate is not for {endpoint.host}",
            "`proxy.domain` names another service, or something else answers at its address.",
        )
    store = f"the CA in {endpoint.ca_file}" if endpoint.ca_file else "this host's store of CAs"
    return failed(
        f"the certificate of {endpoint.host} is not from {store}: {error.verify_message}",
        "`proxy.ca_file` names the CA of the service; its operator or the cluster's support has it.",
    )


def _connected(endpoint: Endpoint, address: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    raw = socket.create_connection((address, endpoint.port), CALL_TIME)
    try:
        return context.wrap_socket(raw, server_hostname=endpoint.host)
    except BaseException:
        raw.close()
        raise


def _ask(endpoint: Endpoint, address: str, *, trusted: bool) -> Answer:
    """*health*, which takes no secret: so it can be asked of a service whose certificate is bad too, for
    the time that it tells."""
    context = tls_context(endpoint.ca_file)
    if not trusted:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with _connected(endpoint, address, context) as secure:
        secure.settimeout(CALL_TIME)
        request = f"GET /api/v1/health HTTP/1.1\r\nHost: {endpoint.host}:{endpoint.port}\r\n"
        began = time.monotonic()
        secure.sendall(f"{request}Accept: application/json\r\nConnection: close\r\n\r\n".encode())
        response = HTTPResponse(secure)
        response.begin()
        received, took = time.time(), time.monotonic() - began
        body = response.read(1 << 16)
        response.close()
    date = response.getheader("Date")
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    try:
        told = parsedate_to_datetime(date).timestamp() if date else None
    except ValueError:
        told = None
    known = found if isinstance(found, dict) else {}
    return Answer(response.status, told, known, text, received, took)


def _api(case: Case, endpoint: Endpoint, answer: Answer) -> Iterator[Finding]:
    found = answer.found
    if found.get("error") == "outside-networks":
        yield failed(
            "it answers the cluster's own hosts, and this one is not among them",
            "Run rps on a login node, or have the service's operator add this host's network.",
        )
    elif answer.status != 200 or found.get("status") != "ok":
        yield from _older(case, endpoint, answer)
    elif f"manage.{found.get('domain')}" != endpoint.host:
        yield warned(
            f"it says that its domain is {found.get('domain')}, and is called {endpoint.host} here",
            "`proxy.domain` should be the service's own.",
        )
    elif found.get("draining"):
        yield warned(
            "it is draining: it issues no new names for now, and sessions go on",
            "Try later; its operator ends that with `rps proxy drain --off`.",
        )
    else:
        version = f"rps {found.get('version')}"
        yield passed(f"it is ready ({version}), and answers in {answer.took:.3f} s")


def _older(case: Case, endpoint: Endpoint, answer: Answer) -> Iterator[Finding]:
    """The service that rps succeeds, with its CGI calls; a name that nobody has is asked for."""
    if case.the_settings().settings.proxy.protocol != "rps":
        older = Satellite(
            endpoint.host, endpoint.port, endpoint.connect, endpoint.ca_file, CALL_TIME
        )
        try:
            older.state("rps-doctor-asks")
        except (ServiceAway, ServiceRefused):
            pass
        else:
            yield passed(
                f"it is ready (the older service), and answers in {answer.took:.3f} s; "
                "docs/sessions.md tells what it cannot do"
            )
            return
    words = " ".join(answer.text.split())[:80]
    yield failed(
        f"what answers at {endpoint.host} is no Reverse Proxy Service: status {answer.status}, {words}",
        "Another web server has its name, or a proxy in front of it has lost it.",
    )
