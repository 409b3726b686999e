"""TLS contexts that verify servers, TLS 1.2 or newer."""

import os
import re
from typing import Any, Dict, Optional

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")  # a link that `openssl rehash` made


def tls_context(ca_file: Optional[str] = None, ca_data: Optional[str] = None) -> Any:
    """Return a context that trusts this CA alone, or else the system's."""
    return _verifying({"cafile": ca_file, "cadata": ca_data})


def by_directory() -> Any:
    """Return a context that reads a CA of the system's directory when a server's certificate needs it.

    `tls_context` reads a file of all of them, in 27 ms of CPU (144 CAs of Debian 12, OpenSSL 3.0). A CA may
    be in that file alone: use `tls_context` before you say that a certificate is not trusted. None: there
    is no such directory, or the user has named a file (SSL_CERT_FILE).
    """
    import ssl

    paths = ssl.get_default_verify_paths()
    directory = paths.capath
    # Python 3.6 has no error of its own for a certificate that is not trusted.
    if (
        directory is None
        or paths.openssl_cafile_env in os.environ
        or not hasattr(ssl, "SSLCertVerificationError")
    ):
        return None
    try:
        if not any(_HASHED.fullmatch(name) for name in os.listdir(directory)):
            return None
    except OSError:
        return None
    return _verifying({"capath": directory})


def _verifying(trusted: Dict[str, Optional[str]]) -> Any:
    import ssl

    context = ssl.create_default_context(**trusted)  # type: ignore[arg-type]
    versions = getattr(ssl, "TLSVersion", None)
    if versions is not None:
        context.minimum_version = versions.TLSv1_2
    else:  # Python 3.6, whose own least is that of its OpenSSL
        context.options |= ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1
    return context
