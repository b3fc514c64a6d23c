"""HOST:PORT in both directions, and the order in which addresses are dialed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_core.network_address import dialing_order, join_address, split_address

IPV4 = st.ip_addresses(v=4).map(str)
IPV6 = st.ip_addresses(v=6).map(str)
ZONED = st.builds("fe80::{:x}%{}".format, st.integers(0, 0xFFFF), st.sampled_from(["eth0", "2"]))
NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,20}", fullmatch=True)


@given(IPV4 | IPV6 | ZONED | NAMES, st.integers(1, 65535))
def test_an_address_survives_both_directions(host: str, port: int) -> None:
    assert split_address(join_address(host, port)) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", "host:", ":7117", "host:0", "host:65536", "host:7117x", "host:-1", "a b:1"),
        *("fe80::1:7117", "::1:7117", "[::1]", "[::1]7117", "[]:1", "host:٣", "http://host:1"),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        split_address(text)


@given(st.text())
def test_no_text_makes_it_fail_otherwise(text: str) -> None:
    try:
        host, port = split_address(text)
    except ValueError:
        return
    assert host and 0 < port < 65536


def test_routable_addresses_come_first_and_families_alternate() -> None:
    given = ["192.0.2.1", "192.0.2.2", "fe80::1%eth0", "fd00::1", "169.254.0.1", "192.0.2.1"]
    assert dialing_order(given) == [
        *("192.0.2.1", "fd00::1", "192.0.2.2", "fe80::1%eth0", "169.254.0.1"),
    ]


@given(st.lists(IPV4 | IPV6 | ZONED, max_size=20))
def test_each_address_is_dialed_once(hosts: list[str]) -> None:
    assert sorted(dialing_order(hosts)) == sorted(set(hosts))
