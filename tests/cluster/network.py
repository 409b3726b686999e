"""The cluster's network, all of it inside the router's namespace, with a firewall to the outside."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cluster.hosts import Host

OUTSIDE = "203.0.113."
CLUSTER = "10.77.0."
ADDRESSES = {
    "comet-mgr": ("10.77.0.2",),
    "comet-ln2": ("10.77.0.10",),
    "tscc-stratus": ("10.77.0.11",),
    "tscc-login1": ("10.77.0.12",),
    "proxy": ("10.77.0.20", "10.77.0.21"),  # of Comet, and of Stratus and TSCC
    "comet-14-01": ("10.77.0.101",),
    "comet-14-02": ("10.77.0.102",),
    "outside": ("203.0.113.50",),
}
LOGINS = ("comet-ln2", "tscc-stratus", "tscc-login1")
NODES = ("comet-14-01", "comet-14-02")
SITES = {
    "comet": "comet-user-content.sdsc.edu",
    "stratus": "tscc-user-content.sdsc.edu",
    "tscc": "tscc-user-content.sdsc.edu",
}
# The services' domains, and the proxy's address that serves each.
DOMAINS = {
    SITES["comet"]: ADDRESSES["proxy"][0],
    SITES["tscc"]: ADDRESSES["proxy"][1],
}


def hosts_file() -> str:
    """/etc/hosts of all, in place of a name server."""
    lines = ["127.0.0.1 localhost"]
    lines += [f"{addresses[0]} {name}.local {name}" for name, addresses in ADDRESSES.items()]
    lines += [f"{address} manage.{domain}" for domain, address in DOMAINS.items()]
    return "".join(f"{line}\n" for line in lines)


def set_up_router(router: Host, firewall: Path) -> None:
    """Two switches, each with an address of the router's, and the firewall between them."""
    commands = ["link set lo up"]
    for switch, network in (("cluster", CLUSTER), ("outside", OUTSIDE)):
        commands += [
            f"link add {switch} type bridge forward_delay 0",
            f"address add {network}1/24 dev {switch}",
            f"link set {switch} up",
        ]
    _ip(router, commands)
    router.run(["sysctl", "--quiet", "net.ipv4.ip_forward=1"], check=True)
    router.run(["nft", "--file", "-"], input=firewall.read_text(), check=True)


def connect(host: Host, router: Host) -> None:
    """A cable from the host to its switch."""
    addresses = ADDRESSES[host.name]
    index = list(ADDRESSES).index(host.name)
    inside = addresses[0].startswith(CLUSTER)
    _ip(router, [
        f"link add cable{index} type veth peer name eth0 netns {host.pid}",
        f"link set cable{index} master {'cluster' if inside else 'outside'}",
        f"link set cable{index} up",
    ])  # fmt: skip
    _ip(host, [
        "link set lo up",
        *(f"address add {address}/24 dev eth0" for address in addresses),
        "link set eth0 up",
        f"route add default via {CLUSTER if inside else OUTSIDE}1",
    ])  # fmt: skip


def _ip(host: Host, commands: list[str]) -> None:
    # The network alone is entered: on the host, the process ids of the machine mean nothing.
    subprocess.run(
        ["nsenter", f"--target={host.pid}", "--net", "ip", "-batch", "-"],
        input="".join(f"{line}\n" for line in commands), text=True, check=True,
    )  # fmt: skip
