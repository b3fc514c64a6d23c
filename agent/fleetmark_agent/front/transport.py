"""What a front needs of a connection to a device. SSH is one form of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from fleetmark_core.errors import ErrorKind, FleetmarkError


class Forward(NamedTuple):
    """A port of the controller, as the device reaches it: a UNIX socket, or a port of loopback."""

    controller_port: int
    loopback_port: int = 0
    """0 for the UNIX socket `PORT.sock` of the tunnel's folder."""


class Transport(Protocol):
    """An open connection to a device."""

    def run(self, script: str, data: Iterable[bytes] = (), timeout_s: float = 60.0) -> bytes:
        """Run a script for a POSIX shell on the device, and return its standard output.

        Args:
            script: the script. What it reads from standard input is `data`.
            data: the bytes of standard input, after the script.
            timeout_s: the script is aborted after this time.

        Raises:
            FleetmarkError: the connection is lost, or a limit on time or output was passed.
        """
        ...

    def forward(self, folder: str, host: str, ports: Iterable[int]) -> list[Forward]:
        """Let the device reach `ports` of `host`, by sockets in a fresh folder of the device.

        Raises:
            FleetmarkError: the device cannot forward ports.
        """
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait until the connection is lost; return whether it is still open."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def device_error(what: str, where: str = "", next_step: str = "") -> FleetmarkError:
    """Return the error for a device that a front cannot use."""
    return FleetmarkError(ErrorKind.DEVICE_UNUSABLE, what, where, next_step)
