"""Many addresses of one controller are dialed at the same time; the first that answers is taken."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from fleetmark_agent.startup.dial import MAX_ADDRESSES, first_reachable
from fleetmark_agent.startup.mdns_browse import with_zones


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which 127.0.0.1 alone listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def other_hosts(count: int) -> list[str]:
    """Loopback addresses on which the port of the fixture is closed."""
    return [f"127.0.1.{number}" for number in range(1, count + 1)]


@pytest.mark.parametrize("others", [0, 8, 9, 40])
def test_the_last_of_many_addresses_is_found(others: int, port: int) -> None:
    assert first_reachable([*other_hosts(others), "127.0.0.1"], port) == "127.0.0.1"


def test_addresses_that_never_answer_delay_the_others_by_a_step_each(port: int) -> None:
    """A listener whose queue is full does not answer at all, as behind a firewall that drops."""
    silent = []
    with socket.socket() as full:
        full.bind(("127.0.0.2", port))
        full.listen(0)
        try:
            for _ in range(8):
                silent.append(socket.socket())
                silent[-1].setblocking(False)
                silent[-1].connect_ex(("127.0.0.2", port))
            assert first_reachable(["127.0.0.2", "127.0.0.1"], port, limit_s=60.0) == "127.0.0.1"
        finally:
            for each in silent:
                each.close()


def test_no_answer_is_an_empty_text(port: int) -> None:
    assert first_reachable([], port) == ""
    assert first_reachable(other_hosts(3), port) == ""
    assert first_reachable(["nonsense", "256.1.1.1", "fe80::1%nosuch", "::ffff:x"], port) == ""


def test_an_advertisement_cannot_make_a_device_dial_without_end(port: int) -> None:
    assert first_reachable([*other_hosts(MAX_ADDRESSES), "127.0.0.1"], port) == ""


def test_link_local_addresses_get_the_zone_of_an_interface() -> None:
    index = socket.if_nametoindex("lo")
    found = with_zones(
        [f"fe80::1%{index}", "fe80::2", "fe80::3%99999", "fd00::1", "192.0.2.1", "x"],
        ["eth0", "eth1"],
    )
    assert found == [
        *("fe80::1%lo", "fe80::2%eth0", "fe80::2%eth1", "fe80::3%99999", "fd00::1", "192.0.2.1"),
    ]
