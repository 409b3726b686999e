"""The real Reverse Proxy Services on the proxy host, one per domain, unprivileged."""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.daemons import Daemon
from tests.cluster.hosts import Account, Host
from tests.cluster.network import ADDRESSES, DOMAINS, LOGINS, NODES
from tests.stands.waiting import until

_CONFIGURATION = """\
domain: {domain}
engine: embedded
listen: {{address: {address}, port: 443}}
directory: /srv/{domain}/service
tls: {{ca_directory: /srv/{domain}/ca}}
networks:
  issue: [{logins}, {nodes}] # nodes too: `rps start --here` in a shell on one
  redeem: [{nodes}]
feed: {{networks: [{logins}], key_file: /srv/{domain}/feed.key}}
"""
FEED_KEY = "0123456789abcdef" * 3


@dataclass(frozen=True)
class Service:
    """One service; `ca_file` is its CA certificate's path for this process too."""

    domain: str
    address: str
    daemon: Daemon
    ca_file: Path


def start(proxy: Host, account: Account, rps: Path) -> dict[str, Service]:
    """Start them, by domain. `rps` is the command of an installation."""
    # On this host port 443 needs no privilege.
    proxy.run(["sysctl", "--quiet", "net.ipv4.ip_unprivileged_port_start=443"], check=True)
    services = {domain: _start(proxy, account, rps, domain) for domain in DOMAINS}
    until(lambda: all(map(_listens, services.values())), "the services")
    return services


def _start(proxy: Host, account: Account, rps: Path, domain: str) -> Service:
    address = DOMAINS[domain]
    own = proxy.directory / domain
    own.mkdir()
    key_file = own / "feed.key"
    key_file.write_text(FEED_KEY)
    key_file.chmod(0o600)
    for path in (own, key_file):
        os.chown(path, account.uid, account.uid)
    configuration = proxy.directory / f"{domain}.yaml"
    configuration.write_text(
        _CONFIGURATION.format(
            domain=domain,
            address=address,
            logins=", ".join(ADDRESSES[name][0] for name in LOGINS),
            nodes=", ".join(ADDRESSES[name][0] for name in NODES),
        )
    )
    options = ("--config", f"/srv/{configuration.name}")
    printed = proxy.run([str(rps), "proxy", "ca", *options], account, capture_output=True)
    if printed.returncode != 0:
        raise RuntimeError(printed.stderr)
    ca_file = proxy.directory / f"{domain}.pem"
    shutil.copyfile(proxy.directory / Path(printed.stdout.strip()).relative_to("/srv"), ca_file)
    command = (str(rps), "proxy", "serve", *options)
    daemon = Daemon(proxy, f"rps-proxy-{domain}", command, account.name)
    daemon.start()
    return Service(domain, address, daemon, ca_file)


def _listens(service: Service) -> bool:
    def connect() -> bool:
        try:
            socket.create_connection((service.address, 443), timeout=5).close()
        except ConnectionRefusedError:
            return False
        return True

    if not service.daemon.runs:
        raise RuntimeError(f"{service.daemon.name} ended at once: {service.daemon.log}")
    return service.daemon.host.in_its_network(connect)
