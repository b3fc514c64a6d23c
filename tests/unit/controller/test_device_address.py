"""The host of the join line: what devices can reach comes first, and no host name is guessed."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.home.device_address import HostAddress, select_address
from fleetmark_controller.home.settings import check_listen
from fleetmark_core.errors import FleetmarkError

LOOPBACK = ["lo 127.0.0.1", "lo ::1"]
LOCAL = "fleetmark-1.local"


def chosen(routed: list[str], addresses: list[str]) -> str:
    return select_address(
        routed, [HostAddress(*text.split()) for text in LOOPBACK + addresses], LOCAL
    )


@pytest.mark.parametrize(
    ("routed", "addresses", "host"),
    [
        (["192.0.2.9"], ["eth0 198.51.100.1", "eth1 192.0.2.9"], "192.0.2.9"),
        ([], ["docker0 172.17.0.1", "eth0 fe80::1", "eth0 192.0.2.9"], "192.0.2.9"),
        ([], ["eth0 fd00::1", "eth0 192.0.2.9"], "192.0.2.9"),
        ([], ["docker0 172.17.0.1", "eth0 fd00::1"], "fd00::1"),
        ([], ["docker0 172.17.0.1"], "172.17.0.1"),
        (["fe80::1"], ["eth0 fd00::1", "eth0 fe80::1"], "fd00::1"),
        ([], ["eth0 fe80::1", "eth0 169.254.7.7"], "169.254.7.7"),
        ([], ["eth0 fe80::1"], LOCAL),
        ([], [], ""),
    ],
    ids=[
        *("default route", "interface", "IPv4 first", "bridges late", "a bridge at last"),
        *("no link-local route", "link-local IPv4", "link-local IPv6", "no network"),
    ],
)
def test_the_host_of_the_join_line(routed: list[str], addresses: list[str], host: str) -> None:
    assert chosen(routed, addresses) == host


@given(st.lists(st.ip_addresses().map(str), max_size=6))
def test_what_is_chosen_is_an_address_of_this_host(found: list[str]) -> None:
    host = chosen([], [f"eth{index} {text}" for index, text in enumerate(found)])
    assert host in {*found, LOCAL, ""}
    assert host in (LOCAL, "") or not ipaddress.ip_address(host).is_loopback


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        ("[::]:7117", ("::", 7117)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[fe80::1%eth0]:7117", ("fe80::1%eth0", 7117)),
    ],
)
def test_addresses_to_listen_on(address: str, listen: tuple[str, int]) -> None:
    assert check_listen(address) == listen


@pytest.mark.parametrize("address", ["::1:7117", "[127.0.0.1]:1", "host:1", "[::]", "[::]:70000"])
def test_other_texts_are_no_address_to_listen_on(address: str) -> None:
    with pytest.raises(FleetmarkError, match="is not HOST:PORT"):
        check_listen(address)
