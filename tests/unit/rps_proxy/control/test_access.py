"""Permitted callers, rate limits, and permitted targets of routes."""

from __future__ import annotations

import socket

import pytest

from rps_proxy.control.access import Access, own_addresses
from rps_proxy.networks import plain
from rps_proxy.refusals import RefusedError
from rps_proxy.settings.sections import Networks


def access(
    redeem: tuple[str, ...],
    issue: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
    announce: tuple[str, ...] = (),
) -> Access:
    networks = Networks(
        issue=issue, issue_key_file=None, redeem=redeem, announce=announce, exclude=exclude
    )
    return Access(networks)


def verdict(rules: Access, address: str) -> str:
    try:
        rules.check_target(plain(address))
    except RefusedError as refusal:
        return refusal.code
    return "target"


ALL = ("0.0.0.0/0", "::/0")
OWN = sorted(own_addresses() - {"127.0.0.1", "::1"})


@pytest.mark.parametrize(
    ("redeem", "address", "said"),
    [
        (("10.1.0.0/16",), "10.1.2.3", "target"),
        (("10.1.0.0/16",), "::ffff:10.1.2.3", "target"),
        (("10.1.0.0/16",), "10.2.0.1", "outside-networks"),
        (("10.1.0.0/16",), "fd00::1", "outside-networks"),
        (("fd00:1::/32",), "fd00:1::5", "target"),
        (("fd00:1::/32",), "FD00:1:0::5", "target"),
        (("fd00:1::/32",), "fd00:2::5", "outside-networks"),
        (("10.1.2.3",), "10.1.2.3", "target"),
        (ALL, "8.8.8.8", "target"),
        (ALL, "127.0.0.1", "excluded-address"),
        (ALL, "127.9.9.9", "excluded-address"),
        (ALL, "::1", "excluded-address"),
        (ALL, "::ffff:127.0.0.1", "excluded-address"),
        (ALL, "169.254.169.254", "excluded-address"),
        (ALL, "::ffff:169.254.169.254", "excluded-address"),
        (ALL, "fe80::1", "excluded-address"),
        (ALL, "fe80::1%eth0", "excluded-address"),
        (ALL, "0.0.0.0", "excluded-address"),
        (ALL, "224.0.0.1", "excluded-address"),
        (("127.0.0.0/8",), "127.0.0.1", "target"),
        (("127.0.0.2",), "127.0.0.2", "target"),
        (("0.0.0.0/0", "127.0.0.2"), "127.0.0.3", "excluded-address"),
        (("::1",), "::1", "target"),
        (("169.254.0.0/16",), "169.254.1.1", "target"),
        (("126.0.0.0/7",), "127.0.0.1", "excluded-address"),
    ],
)
def test_targets(redeem: tuple[str, ...], address: str, said: str) -> None:
    assert verdict(access(redeem), address) == said


@pytest.mark.skipif(not OWN, reason="this machine has loopback addresses alone")
def test_the_services_own_machine_is_no_target_unless_named() -> None:
    for address in OWN:
        assert verdict(access(ALL), address) == "excluded-address"
        if not address.startswith("fe80"):
            assert verdict(access((*ALL, address)), address) == "target"


def test_own_addresses_are_those_that_one_can_listen_on() -> None:
    found = own_addresses()
    assert "127.0.0.1" in found
    for address in found:
        if address.startswith("fe80"):  # needs its zone
            continue
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family) as listener:
            listener.bind((address, 0))


@pytest.mark.parametrize("address", ["10.1.0.7", "::ffff:10.1.0.7"])
def test_the_excluded_stay_out(address: str) -> None:
    rules = access(("10.1.0.0/16", "10.1.0.7"), exclude=("10.1.0.0/28",))
    assert verdict(rules, address) == "excluded-address"
    rules.check_redeem(plain(address))  # an agent from before may still renew


def test_who_asks_and_who_redeems_are_two_things() -> None:
    rules = access(("10.1.0.0/16",), issue=("10.2.0.0/16", "fd00::/8"))
    for address in ("10.2.0.1", "fd00::1"):
        rules.check_issue(address)
        rules.check_either(address)
        with pytest.raises(RefusedError, match="outside-networks"):
            rules.check_redeem(address)
    rules.check_either("10.1.0.1")
    with pytest.raises(RefusedError, match="outside-networks"):
        rules.check_issue("10.1.0.1")
    with pytest.raises(RefusedError, match="outside-networks"):
        rules.check_either("10.3.0.1")
