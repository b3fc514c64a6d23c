"""Search for controllers among the entries of other services and damaged ones."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence

import pytest
import zeroconf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetmark_agent.startup import mdns_browse
from fleetmark_protos.channel import SERVICE_TYPE

NAME = f"controller-1.{SERVICE_TYPE}"
NOTHING = "no controller is advertised on the local network"
FOREIGN = [
    f"a\x1bb.{SERVICE_TYPE}",
    "foo.",
    "",
    ".",
    "x._other._tcp.local.",
    f"{'a' * 70}.{SERVICE_TYPE}",
    f"\ud800.{SERVICE_TYPE}",
]


class Network:
    """Multicast DNS with one controller; `zeroconf`'s own rules for names apply."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.asked: list[str] = []

    def get_service_info(
        self, type_: str, name: str, timeout: float
    ) -> zeroconf.ServiceInfo | None:
        self.asked.append(name)
        address = socket.inet_aton("127.0.0.1")
        info = zeroconf.ServiceInfo(type_, name, addresses=[address], port=self.port)
        return info if name.lower() == NAME.lower() else None

    def close(self) -> None:
        return


Search = Callable[[Sequence[str]], tuple[tuple[str, str], list[str]]]


@pytest.fixture
def port() -> Iterator[int]:
    """A port on which a controller accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch, port: int) -> Search:
    """Search among these names; returns the result and the names that were resolved."""

    def run(names: Sequence[str]) -> tuple[tuple[str, str], list[str]]:
        network = Network(port)

        def browse(zc: zeroconf.Zeroconf, type_: str, listener: zeroconf.ServiceListener) -> None:
            for name in names:
                listener.add_service(zc, type_, name)
                listener.update_service(zc, type_, name)

        monkeypatch.setattr(mdns_browse, "open_zeroconf", lambda: network)
        monkeypatch.setattr(mdns_browse, "ServiceBrowser", browse)
        return mdns_browse.find(patience_s=30.0 if NAME in names else 0.2), network.asked

    return run


@pytest.mark.parametrize("name", FOREIGN)
def test_an_entry_with_an_invalid_name_hides_no_controller(
    search: Search, port: int, name: str
) -> None:
    assert search([name, NAME])[0] == (f"127.0.0.1:{port}", "")
    assert search([name])[0] == ("", NOTHING)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.text(max_size=80) | st.text(max_size=70).map(lambda n: f"{n}.{SERVICE_TYPE}")))
def test_any_entries(search: Search, port: int, names: list[str]) -> None:
    assert search([*names, NAME])[0] == (f"127.0.0.1:{port}", "")


def test_each_name_is_resolved_once(search: Search) -> None:
    other = f"other.{SERVICE_TYPE}"
    found, asked = search([other, other.upper(), "foo.", other, NAME])
    assert found[0]
    assert asked == [other, "foo.", NAME]


def test_a_network_that_fails_for_one_name(
    search: Search, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    resolve = Network.get_service_info

    def fail(
        network: Network, type_: str, name: str, timeout: float
    ) -> zeroconf.ServiceInfo | None:
        if name != NAME:
            raise OSError(101, "Network is unreachable")
        return resolve(network, type_, name, timeout)

    monkeypatch.setattr(Network, "get_service_info", fail)
    assert search([f"other.{SERVICE_TYPE}", NAME])[0] == (f"127.0.0.1:{port}", "")
