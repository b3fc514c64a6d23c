"""Makes a controller known on the local network (DNS-SD over multicast DNS).

What is said here is for finding alone: boards trust the CA fingerprint in their token.
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
    """IPv4 addresses of this host by which others may reach it."""
    found = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
    return [text for text in found if not ipaddress.ip_address(text).is_loopback]


class Advertisement:
    """One controller's entry."""

    def __init__(self, name: str, addresses: list[str], port: int, ca_sha256: str) -> None:
        """Nothing is said before `begin`."""
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
        """Say it; without a network that carries multicast, only the log says that it failed."""
        try:
            self._zeroconf = AsyncZeroconf(ip_version=IPVersion.V4Only)
            await self._zeroconf.async_register_service(self._info, allow_name_change=True)
        except OSError as error:
            log.warning("boards will not find this controller by themselves: %s", error)
        except Exception as error:
            # zeroconf's own errors have no common base; none of them may stop a controller.
            log.warning("boards will not find this controller by themselves: %r", error)

    async def end(self) -> None:
        """Take it back, so that nobody finds what is gone."""
        if self._zeroconf is None:
            return
        try:
            # Two awaits: the first returns the task that sends the goodbyes.
            goodbye = await self._zeroconf.async_unregister_service(self._info)
            await goodbye
            await self._zeroconf.async_close()
        except Exception as error:
            log.debug("taking back the advertisement failed: %r", error)
