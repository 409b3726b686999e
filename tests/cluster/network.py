"""The cluster's network inside the router's namespace, with its firewall."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.hosts import Host

OUTSIDE = "203.0.113."
CLUSTER = "10.77.0."
ADDRESSES = {
    "comet-mgr": ("10.77.0.2",),
    "comet-ln2": ("10.77.0.10",),
    "comet-ln3": ("10.77.0.13",),
    "tscc-stratus": ("10.77.0.11",),
    "tscc-login1": ("10.77.0.12",),
    "proxy": ("10.77.0.20", "10.77.0.21"),  # of Comet, and of Stratus and TSCC
    "comet-14-01": ("10.77.0.101",),
    "comet-14-02": ("10.77.0.102",),
    "outside": ("203.0.113.50",),
    "laptop": ("203.0.113.60",),  # of alice, with a home directory of its own
}
LAPTOP = "laptop"
LOGINS = ("comet-ln2", "comet-ln3", "tscc-stratus", "tscc-login1")
NODES = ("comet-14-01", "comet-14-02")
SITES = {
    "comet": "comet-user-content.sdsc.edu",
    "stratus": "tscc-user-content.sdsc.edu",
    "tscc": "tscc-user-content.sdsc.edu",
}
# The services' domains, and the proxy's address for each.
DOMAINS = {
    SITES["comet"]: ADDRESSES["proxy"][0],
    SITES["tscc"]: ADDRESSES["proxy"][1],
}


def hosts_file() -> str:
    """Return /etc/hosts of all hosts, in place of a name server."""
    lines = ["127.0.0.1 localhost"]
    lines += [f"{addresses[0]} {name}.local {name}" for name, addresses in ADDRESSES.items()]
    lines += [f"{address} manage.{domain}" for domain, address in DOMAINS.items()]
    return "".join(f"{line}\n" for line in lines)


def set_up_router(router: Host, firewall: Path) -> None:
    """Set up two switches and the router's addresses, and the firewall between."""
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


@contextmanager
def cut(router: Host, address: str) -> Iterator[None]:
    """Drop all packets from and to an address outside, for the length of the block."""
    element = ["inet", "cluster", "cut", f"{{ {address} }}"]
    router.run(["nft", "add", "element", *element], check=True)
    try:
        yield
    finally:
        router.run(["nft", "delete", "element", *element], check=True)


def connect(host: Host, router: Host) -> None:
    """Connect the host to its switch by a veth pair."""
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
    # Enter the network namespace alone: the machine's process ids are not valid on the host.
    subprocess.run(
        ["nsenter", f"--target={host.pid}", "--net", "ip", "-batch", "-"],
        input="".join(f"{line}\n" for line in commands), text=True, check=True,
    )  # fmt: skip
