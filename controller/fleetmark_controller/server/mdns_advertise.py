"""Advertisement of a controller on the local network (DNS-SD over multicast DNS, IPv4 and IPv6).

An advertisement only helps to find the controller: devices trust the CA fingerprint in their token.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Iterable

from zeroconf import IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from fleetmark_protos.channel import SERVICE_TYPE

log = logging.getLogger("fleetmark.controller")
_UNFOUND = "devices will not find this controller by themselves"


def advertised(addresses: Iterable[str]) -> list[str]:
    """Return the addresses by which other machines may reach this host, without repetitions."""
    return [
        text
        for text in dict.fromkeys(text.partition("%")[0] for text in addresses)
        if not ipaddress.ip_address(text).is_loopback
    ]


class Advertisement:
    """The DNS-SD entry of one controller."""

    def __init__(
        self, controller_id: str, addresses: Iterable[str], port: int, ca_sha256: str
    ) -> None:
        """Prepare the entry; nothing is sent before `begin`."""
        self.name = f"fleetmark-{controller_id}.local"
        """The name under `.local` that this host has while the entry is published."""
        self._addresses = advertised(addresses)
        self._info = ServiceInfo(
            SERVICE_TYPE,
            f"{controller_id}.{SERVICE_TYPE}",
            addresses=[_packed(address) for address in self._addresses],
            port=port,
            properties={"v": "1", "ca": ca_sha256},
            server=f"{self.name}.",
        )
        self._zeroconf: AsyncZeroconf | None = None

    async def start(self) -> None:
        """Send it. A failure is logged and stops nothing."""
        if not self._addresses:
            log.warning("%s: this host has no network address", _UNFOUND)
            return
        try:
            self._zeroconf = _open()
            await self._zeroconf.async_register_service(self._info, allow_name_change=True)
        except OSError as error:
            log.warning("%s: %s", _UNFOUND, error)
        except Exception as error:
            # zeroconf's own errors have no common base; none of them may stop a controller.
            log.warning("%s: %r", _UNFOUND, error)
        else:
            log.info("advertised on the local network addresses=%s", ",".join(self._addresses))

    async def end(self) -> None:
        """Withdraw it, so that no device finds a controller that is gone."""
        if self._zeroconf is None:
            return
        try:
            # Two awaits: the first returns the task that sends the goodbyes.
            goodbye = await self._zeroconf.async_unregister_service(self._info)
            await goodbye
            await self._zeroconf.async_close()
        except Exception as error:
            log.debug("withdrawing the advertisement failed: %r", error)


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
            log.debug("no multicast DNS on %s: %r", version, error)
    return AsyncZeroconf(ip_version=IPVersion.V6Only)
