"""`rps proxy check`: find what would keep the service from starting."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rps_core.errors import ServiceError
from rps_proxy import parent_domains as parents
from rps_proxy.api.keys import SharedKey
from rps_proxy.cli.engine import check_engine
from rps_proxy.engines.embedded.routes import Routes
from rps_proxy.engines.external import external
from rps_proxy.hostnames import Hosts
from rps_proxy.pages.appearance import appearance
from rps_proxy.pages.render import Pages
from rps_proxy.settings.model import Settings
from rps_proxy.tls.authority import Authority
from rps_proxy.tls.certificates import from_files, from_pem, not_verified
from rps_proxy.tls.contexts import upstream_context


def check(settings: Settings) -> list[str]:
    """Check certificate, keys, audit log and the engine's configuration.

    Changes nothing; the service may run.

    Returns:
        The warnings.

    Raises:
        UsageError: the certificate is not usable.
        ServiceError: something else is not usable, or this is not the service's account.
    """
    _check_account(settings.service_directory)
    domain = parents.warning(settings.domain)
    warnings = [] if domain is None else [domain]
    pem: bytes | None = None
    if settings.tls.certificate is not None and settings.tls.key is not None:
        certificate, key = Path(settings.tls.certificate), Path(settings.tls.key)
        found = from_files(certificate.expanduser(), key.expanduser(), settings.domain)
        pem = found.pem
        fault = not_verified(found.context, settings.domain)
        if fault is not None:
            warnings.append(
                f"could not verify {certificate} with this host's CAs: {fault}. Append its chain to "
                "the file, or install its CA in browsers."
            )
    for file, use in (
        (settings.networks.issue_key_file, "issuing names"),
        (settings.feed.key_file, "the feed"),
    ):
        if file is not None:
            SharedKey(Path(file), use)
    _check_audit(settings.audit.file)
    look, _, faults = appearance(settings)
    warnings += faults
    if settings.engine_kind != "embedded":
        _check_engine(settings, pem, Pages(look))
    return warnings


def _check_account(directory: Path) -> None:
    try:
        owner = directory.stat().st_uid
    except OSError:
        return  # the service never ran, or the directory is unreadable, which a later check reports
    if os.geteuid() != owner:
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = str(owner)
        raise ServiceError(
            f"Cannot check as this account: {directory} belongs to {name}, who may read other files.",
            f"Run this as that account: `sudo -u {name} rps proxy check`.",
        )


def _check_audit(file: str | None) -> None:
    """Check without opening the file, which would be created for the wrong account."""
    if file is None:
        return
    path = Path(file).expanduser()
    writable = path if path.exists() else path.parent
    if not os.access(writable, os.W_OK):
        raise ServiceError(
            f"Cannot write the audit log {path}: {writable} is missing or not writable for this account.",
            "Create its directory for the service's account (`audit.file`).",
        )


def _check_engine(settings: Settings, pem: bytes | None, pages: Pages) -> None:
    """Have the engine check its files, written to a temporary directory."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        own = Authority(directory / "ca", "check", settings.domain)
        if pem is None:
            leaf = own.issue((settings.domain, f"*.{settings.domain}"), 1)
            pem = from_pem(leaf.certificate + leaf.key, settings.domain).pem
        trial = replace(
            settings,
            engine_directory=str(directory / "engine"),
            # Only root and members may give a directory to the engine's group.
            haproxy=replace(settings.haproxy, group=None),
            apache=replace(settings.apache, group=None),
        )
        hosts = Hosts(settings.domain, settings.listen.public_port or settings.listen.port)
        routes = Routes(hosts, upstream_context(own.certificate), settings.advanced.connect_timeout)
        engine = external(trial, pem, own.certificate, routes, pages)
        try:
            check_engine(trial)
        finally:
            engine.close()
