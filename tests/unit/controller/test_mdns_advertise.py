"""The advertisement of a controller follows the addresses of its host."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zeroconf import IPVersion, ServiceInfo

from fleetmark_controller.home.device_address import HostAddress
from fleetmark_controller.server import mdns_advertise
from fleetmark_controller.server.mdns_advertise import Advertisement, advertised


def addresses(*lines: str) -> list[HostAddress]:
    return [HostAddress(*line.split()) for line in lines]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["docker0 172.17.0.1", "eth0 192.0.2.9"], ["192.0.2.9"]),
        (["docker0 172.17.0.1", "veth12 fe80::2", "eth0 fe80::1"], ["fe80::1"]),
        (["lo 127.0.0.1", "docker0 172.17.0.1"], ["172.17.0.1"]),
        (["br-0123456789ab 172.18.0.1", "br-lan 192.0.2.1"], ["192.0.2.1"]),
        (["eth0 192.0.2.9", "br-lan 198.51.100.1"], ["192.0.2.9", "198.51.100.1"]),
        (["eth0 0.0.0.0", "eth0 ::", "eth0 224.0.0.1"], []),
        (["eth0 fe80::1%eth0", "eth0 fd00::1", "eth1 fd00::1"], ["fe80::1", "fd00::1"]),
    ],
    ids=[
        *("a bridge", "link-local instead of a bridge", "a bridge alone", "a bridge of the LAN"),
        *("two networks", "no addresses", "zones and repetitions"),
    ],
)
def test_addresses_by_which_devices_reach_the_controller(
    lines: list[str], found: list[str]
) -> None:
    assert advertised(addresses("lo 127.0.0.1", "lo ::1", *lines)) == found


@given(
    st.lists(
        st.tuples(st.sampled_from(["lo", "eth0", "docker0", "veth1"]), st.ip_addresses().map(str))
    )
)
def test_any_addresses(pairs: list[tuple[str, str]]) -> None:
    found = advertised(HostAddress(*pair) for pair in pairs)
    assert len(found) == len(set(found)) and set(found) <= {text for _, text in pairs}
    if any(name == "eth0" for name, text in pairs if text in found):
        assert set(found) <= {text for name, text in pairs if name in ("lo", "eth0")}


class Network:
    """Multicast DNS that records what is published. `fault` is raised by each registration."""

    def __init__(self) -> None:
        self.published: list[list[str]] = []
        self.log: list[str] = []
        self.open = 0
        self.fault: Exception | None = None
        self.unregister_fault: Exception | None = None

    def zeroconf(self, ip_version: IPVersion) -> Any:
        self.open += 1
        return self

    async def async_register_service(self, info: ServiceInfo, allow_name_change: bool) -> None:
        self.log.append("register")
        if self.fault:
            raise self.fault
        self.published.append(info.parsed_addresses())

    async def async_unregister_service(self, info: ServiceInfo) -> Awaitable[None]:
        self.log.append("unregister")
        if self.unregister_fault:
            raise self.unregister_fault
        return asyncio.sleep(0)

    async def async_close(self) -> None:
        self.open -= 1


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    network = Network()
    monkeypatch.setattr(mdns_advertise, "AsyncZeroconf", network.zeroconf)
    return network


def advertisement(find: Callable[[], list[HostAddress]]) -> Advertisement:
    return Advertisement("controller-1", find, 7117, "ab" * 32)


def test_a_controller_that_starts_before_the_network_is_advertised_later(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    host = addresses("lo 127.0.0.1")
    entry = advertisement(lambda: host)

    async def run() -> None:
        for _ in range(3):
            await entry.refresh()
        assert network.published == [] and network.open == 0
        host.append(HostAddress("eth0", "192.0.2.9"))
        for _ in range(3):
            await entry.refresh()
        assert network.published == [["192.0.2.9"]], "an unchanged entry stays"
        host[1] = HostAddress("eth0", "192.0.2.10")
        await entry.refresh()
        assert network.published[1:] == [["192.0.2.10"]] and network.open == 1
        assert network.log == ["register", "unregister", "register"]
        eth0 = host.pop()
        await entry.refresh()
        assert network.open == 0
        host.append(eth0)
        await entry.refresh()
        assert network.published[2:] == [["192.0.2.10"]], "the interface may be a new one"
        await entry.end()

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert network.open == 0
    assert len(caplog.records) == 2, "a warning for each time without a network"


def test_the_order_of_addresses_is_no_change(network: Network) -> None:
    host = addresses("eth0 192.0.2.9", "eth0 fd00::1")
    entry = advertisement(lambda: host)

    async def run() -> None:
        await entry.refresh()
        host.reverse()
        await entry.refresh()

    asyncio.run(run())
    assert network.log == ["register"]


@pytest.mark.parametrize("fault", [OSError(101, "Network is unreachable"), RuntimeError("loop")])
def test_a_failed_advertisement_is_repeated(
    network: Network, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    entry = advertisement(lambda: addresses("eth0 192.0.2.9"))
    network.fault = fault

    async def run() -> None:
        await entry.refresh()
        await entry.refresh()
        assert network.open == 0, "a failure leaves nothing open"
        network.fault = None
        await entry.refresh()
        assert network.published == [["192.0.2.9"]]
        network.unregister_fault = fault
        await entry.end()
        await entry.end()

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert network.open == 0
    assert len(caplog.records) == 1


def test_an_error_of_the_address_list_ends_nothing(network: Network) -> None:
    answers: list[list[HostAddress] | OSError] = [
        OSError(24, "Too many open files"),
        addresses("eth0 192.0.2.9"),
    ]

    def find() -> list[HostAddress]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def run() -> None:
        entry = advertisement(find)
        task = asyncio.create_task(entry.keep_current(interval_s=0.0))
        while not network.published:
            assert not task.done()
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await entry.end()

    asyncio.run(run())
    assert network.published == [["192.0.2.9"]] and network.open == 0
