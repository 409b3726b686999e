"""Explain why TLS with the service failed: certificate, CA file, other program."""

from __future__ import annotations

import ssl

from rps_core.node.agent.tls import tls_context
from rps_core.node.agent.words import one_line
from rps_core.proxy_client.personal import is_personal, restart_advice
from rps_core.state.record import Endpoint
from rps_core.values import dataclass

_EXPIRED, _NOT_YET, _OTHER_NAME = 10, 9, 62  # X509_V_ERR_* of OpenSSL's x509_vfy.h


@dataclass(frozen=True, slots=True)
class TlsFailure:
    """A failure that no later attempt repairs: what was found, and what to do."""

    text: str
    advice: str


def tls_failure(endpoint: Endpoint, error: BaseException | None) -> TlsFailure | None:
    """Explain a connection's error; None: it is not of TLS, or temporary.

    The advice for a personal service is to restart it: it writes its CA file and gets its certificate then.
    """
    failure = _failure(endpoint, error)
    if failure is not None and is_personal(endpoint):
        return TlsFailure(failure.text, restart_advice(endpoint))
    return failure


def _failure(endpoint: Endpoint, error: BaseException | None) -> TlsFailure | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _distrusted(endpoint, error)
    if not isinstance(error, OSError | ValueError):
        return None
    if endpoint.ca_file:
        try:
            tls_context(endpoint.ca_file)
        except (OSError, ValueError) as reason:
            return TlsFailure(
                f"the CA file {endpoint.ca_file} cannot be used: {_words(reason)}",
                "Set `proxy.ca_file` to a PEM file with the CA of the service's certificate.",
            )
    # Who closes the connection during the handshake may be restarted.
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return TlsFailure(
            f"TLS with {endpoint.host} failed: {_words(error)}",
            "Check `proxy.port`, and whether another program uses the service's port.",
        )
    return None


def _distrusted(endpoint: Endpoint, error: ssl.SSLCertVerificationError) -> TlsFailure:
    if error.verify_code in (_EXPIRED, _NOT_YET):
        when = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
        return TlsFailure(
            f"the certificate of {endpoint.host} {when}, by this host's clock",
            "If the clock is right (`rps doctor` compares it with the service's), ask the service's operator "
            "to renew it.",
        )
    if error.verify_code == _OTHER_NAME:
        return TlsFailure(
            f"the certificate is not for {endpoint.host}",
            "Check `proxy.domain`. If it is right, another server has the service's address.",
        )
    store = f"the CA in {endpoint.ca_file}" if endpoint.ca_file else "this host's CA store"
    return TlsFailure(
        f"the certificate of {endpoint.host} is not signed by {store}: {error.verify_message}",
        "Set `proxy.ca_file` to the service's CA file, from its operator or the cluster's support. If a "
        f"company's TLS proxy answers in its place, ask for {endpoint.host} to be exempt from it.",
    )


def _words(error: Exception) -> str:
    # OpenSSL's reason alone, without the line of _ssl.c.
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return one_line(getattr(error, "strerror", None) or str(error))
