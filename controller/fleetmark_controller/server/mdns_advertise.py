"""Advertisement of a controller on the local network (DNS-SD over multicast DNS, IPv4 and IPv6).

An advertisement only helps to find the controller: devices trust the CA fingerprint in their token.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable

from zeroconf import IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from fleetmark_controller.home.device_address import HostAddress, is_container_bridge
from fleetmark_core.log import get_logger
from fleetmark_protos.channel import SERVICE_TYPE

log = get_logger("fleetmark.controller")
_NOT_FOUND = "Devices do not find this controller; start each agent with --controller HOST:PORT"
_REFRESH_S = 60.0


def advertised(addresses: Iterable[HostAddress]) -> list[str]:
    """Return the addresses by which other machines may reach this host, without repetitions.

    Addresses of bridges to containers are left out if there are others.
    """
    bridged: dict[str, bool] = {}
    for address in addresses:
        text = address.text.partition("%")[0]
        parsed = ipaddress.ip_address(text)
        if not (parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast):
            is_bridged = is_container_bridge(address.interface)
            bridged[text] = is_bridged and bridged.get(text, True)
    return [text for text, is_bridged in bridged.items() if not is_bridged] or list(bridged)


class Advertisement:
    """The DNS-SD entry of one controller."""

    def __init__(
        self,
        controller_id: str,
        find_addresses: Callable[[], Iterable[HostAddress]],
        port: int,
        ca_sha256: str,
    ) -> None:
        """Prepare the entry; nothing is sent before `refresh`.

        Args:
            controller_id: the name of the entry.
            find_addresses: returns the addresses of this host; it may raise OSError.
            port: the port of the session server.
            ca_sha256: the fingerprint of the controller's CA.
        """
        self.name = f"fleetmark-{controller_id}.local"
        """The name under `.local` that this host has while the entry is published."""
        self._controller_id = controller_id
        self._find_addresses = find_addresses
        self._port = port
        self._ca_sha256 = ca_sha256
        self._published: set[str] = set()
        self._info: ServiceInfo | None = None
        self._zeroconf: AsyncZeroconf | None = None
        self._warning = ""

    async def keep_current(self, interval_s: float = _REFRESH_S) -> None:
        """Publish the addresses of this host whenever they change, until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            await self.refresh()

    async def refresh(self) -> None:
        """Publish the addresses of this host if they are new. A failure is logged, not raised."""
        try:
            addresses = advertised(self._find_addresses())
            if not addresses:
                await self.end()
                self._warn("this host has no network address")
            elif set(addresses) != self._published:
                # zeroconf uses only the interfaces that exist when it is opened.
                await self.end()
                await self._publish(addresses)
        except OSError as error:
            self._warn(str(error))
        except Exception as error:
            # zeroconf's own errors have no common base; none of them may stop a controller.
            self._warn(repr(error))
        if self._zeroconf is not None and not self._published:
            await self.end()

    async def end(self) -> None:
        """Withdraw it, so that no device finds a controller that is gone."""
        zeroconf, info, self._zeroconf = self._zeroconf, self._info, None
        if zeroconf is None or info is None:
            return
        try:
            if self._published:
                self._published = set()
                # Two awaits: the first returns the task that sends the goodbyes.
                goodbye = await zeroconf.async_unregister_service(info)
                await goodbye
        except Exception as error:
            log.debug("advertisement not withdrawn", error=repr(error))
        try:
            await zeroconf.async_close()
        except Exception as error:
            log.debug("multicast DNS not closed", error=repr(error))

    async def _publish(self, addresses: list[str]) -> None:
        self._info = ServiceInfo(
            SERVICE_TYPE,
            f"{self._controller_id}.{SERVICE_TYPE}",
            addresses=[_packed(address) for address in addresses],
            port=self._port,
            properties={"v": "1", "ca": self._ca_sha256},
            server=f"{self.name}.",
        )
        self._zeroconf = _open()
        await self._zeroconf.async_register_service(self._info, allow_name_change=True)
        self._published, self._warning = set(addresses), ""
        log.info("controller advertised", addresses=addresses)

    def _warn(self, cause: str) -> None:
        """Log a warning, unless it repeats the last one."""
        if cause != self._warning:
            log.warning("controller not advertised", error=cause, hint=_NOT_FOUND)
        self._warning = cause


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _open() -> AsyncZeroconf:
    """Open multicast DNS on both families; on one where the other one is disabled.

    Raises:
        OSError or RuntimeError: neither family works.
    """
    for version in (IPVersion.All, IPVersion.V4Only):
        try:
            return AsyncZeroconf(ip_version=version)
        except (OSError, RuntimeError) as error:
            log.debug("multicast DNS not opened", family=version.name, error=repr(error))
    return AsyncZeroconf(ip_version=IPVersion.V6Only)
