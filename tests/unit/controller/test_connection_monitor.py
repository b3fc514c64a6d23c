"""Which connections are closed under pressure, and how ports and identities share the room."""

from __future__ import annotations

import pytest

from fleetmark_controller.identity.model import Caller, IdentityKind
from fleetmark_controller.identity.registry import Registry
from fleetmark_controller.server.connection_monitor import (
    Connection,
    remote_of_peer,
    select_connections,
    source_of,
)
from fleetmark_controller.server.rlimits import ConnectionShares, share_connections
from fleetmark_core.clock import NS_PER_S
from fleetmark_core.errors import ErrorKind, FleetmarkError

OLD, YOUNG, NOW = 0, 9 * NS_PER_S, 10 * NS_PER_S


def connections(host: str, count: int, seen_ns: int = OLD, first: int = 1) -> list[Connection]:
    return [
        Connection(number, number, 7117, (host, number), seen_ns + number)
        for number in range(first, first + count)
    ]


def remotes(found: list[Connection]) -> set[str]:
    return {connection.remote[0] for connection in found}


@pytest.mark.parametrize(
    ("peer", "remote"),
    [
        ("ipv4:192.0.2.1:1234", ("192.0.2.1", 1234)),
        ("ipv6:%5B2001:db8::1%5D:80", ("2001:db8::1", 80)),
        ("ipv6:[::ffff:192.0.2.1]:80", ("192.0.2.1", 80)),
        ("ipv6:%5Bfe80::1%25eth0%5D:80", ("fe80::1", 80)),
        ("unix:/run/x", None),
        ("ipv4:192.0.2.1", None),
        ("", None),
    ],
)
def test_grpc_peers(peer: str, remote: tuple[str, int] | None) -> None:
    assert remote_of_peer(peer) == remote


def test_a_network_of_ipv6_is_one_source() -> None:
    assert source_of("2001:db8::1") == source_of("2001:db8::ffff") != source_of("2001:db8:0:1::1")
    assert source_of("192.0.2.1") == "192.0.2.1" != source_of("192.0.2.2")


def test_below_half_of_the_room_nothing_is_closed() -> None:
    assert select_connections(connections("192.0.2.1", 50), set(), 100, NOW) == []


def test_the_oldest_of_the_largest_source_are_closed_first() -> None:
    large, small = connections("192.0.2.1", 50), connections("192.0.2.2", 10, first=100)
    chosen = select_connections([*small, *large], set(), 100, NOW)
    assert chosen == large[:10]


def test_sources_of_equal_size_lose_as_much() -> None:
    many = [c for host in range(8) for c in connections(f"192.0.2.{host}", 10, first=host * 10)]
    chosen = select_connections(many, set(), 100, NOW)
    assert len(chosen) == 30
    assert len(remotes(chosen)) == 8


def test_proven_connections_stay_and_so_does_a_fleet_behind_one_address() -> None:
    fleet = connections("192.0.2.1", 70)
    proven = {connection.remote for connection in fleet}
    idle = connections("192.0.2.1", 20, first=100)
    chosen = select_connections([*fleet, *idle], proven, 100, NOW)
    assert chosen == idle[:5]
    # Not even where they fill the port.
    assert select_connections(fleet, proven, 70, NOW) == []
    assert select_connections([*fleet, *idle[:1]], proven, 70, NOW) == idle[:1]


def test_young_connections_may_finish_their_handshake_while_there_is_room() -> None:
    young = connections("192.0.2.1", 80, YOUNG)
    assert select_connections(young, set(), 100, NOW) == []
    crowd = connections("192.0.2.1", 90, YOUNG)
    assert len(select_connections(crowd, set(), 100, NOW)) == 40


def test_ports_leave_descriptors_for_the_store() -> None:
    assert share_connections(1024) == ConnectionShares(session=768, entry=128)
    large = share_connections(65_536)
    assert large is not None
    assert large.session + large.entry == 65_536 - 1024
    assert share_connections(None) is share_connections(-1) is None


class OpenCall:
    expires_ns = 0

    def __init__(self, peer: str = "ipv4:192.0.2.1:1") -> None:
        self.peer = peer

    def end(self, error: FleetmarkError) -> None:
        raise AssertionError(error)


def test_an_identity_has_so_many_calls_and_not_more() -> None:
    registry = Registry({IdentityKind.DEVICE: 2})
    device, other = (Caller(IdentityKind.DEVICE, name, name, None) for name in ("a", "b"))
    first, second = OpenCall(), OpenCall("ipv4:192.0.2.2:2")
    registry.add_call(device, first)
    registry.add_call(device, second)
    with pytest.raises(FleetmarkError, match="calls_per_device") as refused:
        registry.add_call(device, OpenCall())
    assert refused.value.kind is ErrorKind.BACK_PRESSURE
    registry.add_call(other, OpenCall())
    assert registry.connections() == {"ipv4:192.0.2.1:1", "ipv4:192.0.2.2:2"}
    registry.closed("a", first)
    registry.add_call(device, OpenCall())
    operator = Caller(IdentityKind.OPERATOR, "p", "p", None)
    for _ in range(3):
        registry.add_call(operator, OpenCall())
