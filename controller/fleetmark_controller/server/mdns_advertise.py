"""Advertise a controller on the local network (DNS-SD over multicast DNS).

The advertisement is only for discovery: devices trust the CA fingerprint in their token.
"""

from __future__ import annotations

import ipaddress
import logging
import socket

import ifaddr
from zeroconf import IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from fleetmark_protos.channel import SERVICE_TYPE

log = logging.getLogger("fleetmark.controller")


def addresses_of_host() -> list[str]:
    """Return the IPv4 addresses of this host that other machines may reach."""
    found = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    return [text for text in found if not ipaddress.ip_address(text).is_loopback]


class Advertisement:
    """The DNS-SD entry of one controller."""

    def __init__(self, name: str, addresses: list[str], port: int, ca_sha256: str) -> None:
        """Create an entry that is not announced before `begin`.

        Args:
            name: the controller id.
            addresses: IPv4 addresses.
            port: the port for callers with a certificate.
            ca_sha256: the fingerprint of the CA.
        """
        self._info = ServiceInfo(
            SERVICE_TYPE,
            f"{name}.{SERVICE_TYPE}",
            addresses=[socket.inet_aton(address) for address in addresses],
            port=port,
            properties={"v": "1", "ca": ca_sha256},
            server=f"fleetmark-{name}.local.",
        )
        self._zeroconf: AsyncZeroconf | None = None

    async def begin(self) -> None:
        """Announce the entry; log a warning if the network carries no multicast."""
        try:
            self._zeroconf = AsyncZeroconf(ip_version=IPVersion.V4Only)
            await self._zeroconf.async_register_service(self._info, allow_name_change=True)
        except OSError as error:
            log.warning("boards will not find this controller by themselves: %s", error)
        except Exception as error:
            # zeroconf's errors have no common base class, and none of them may stop a controller.
            log.warning("boards will not find this controller by themselves: %r", error)

    async def end(self) -> None:
        """Withdraw the entry, so that devices do not find a stopped controller."""
        if self._zeroconf is None:
            return
        try:
            # Two awaits: the first returns the task that sends the goodbyes.
            goodbye = await self._zeroconf.async_unregister_service(self._info)
            await goodbye
            await self._zeroconf.async_close()
        except Exception as error:
            log.debug("taking back the advertisement failed: %r", error)
