"""The controller's settings: flags override config.toml, which overrides the defaults."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fleetmark_cli.paths import ConfigError, read_config
from fleetmark_controller.home.catalog_copies import is_replaced
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.suggest import hint
from fleetmark_protos.channel import DEFAULT_PORT, HANDSHAKE_TIMEOUT_S


@dataclass(frozen=True)
class Settings:
    """Settings of `controller serve`; each is a key of config.toml."""

    listen: str = f"0.0.0.0:{DEFAULT_PORT}"
    """Address and port for callers with a certificate."""
    entry_port: int = 0
    """Port for enrollment, renewal and health, on the same address. 0: the one after `listen`'s."""
    advertise: bool = True
    """Whether to announce this controller to devices on the local network (not on loopback)."""
    mirror: str = ""
    """Folder of files named by SHA-256 that is tried before any network."""
    catalogs: tuple[str, ...] = ()
    """Folders with further components."""
    heartbeat_idle_s: float = 15.0
    heartbeat_running_s: float = 5.0
    lease_s: float = 30.0
    credit_bytes: int = 8 * 1024 * 1024
    """How many bytes of records a device may send before they are acknowledged."""
    max_upload_bytes: int = 4 * 1024**3
    attempt_bytes: int = 8 * 1024**3
    """Maximum total size of the files of one attempt. Its lockfile limits their number."""
    device_bytes_per_day: int = 64 * 1024**3
    """Maximum bytes that one device may upload per day, so that it cannot fill the disk alone."""
    refusals_per_minute: int = 10
    """Number of refused enrollments or renewals that block an address for the rest of a minute."""
    handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S
    """Maximum time for a new connection to complete TLS and begin HTTP/2."""
    calls_per_device: int = 64
    """Maximum number of open calls of one device, over all its connections."""
    calls_per_operator: int = 1000
    """Maximum number of open calls of one operator."""
    certificate_life_s: float = 30 * 86_400.0
    """Lifetime of a device's certificate. It is renewed after two thirds of this time."""
    catalog_key: str = ""
    """Public key of a catalog key that is kept on another machine. Empty: a key is created here."""
    release_life_s: float = 90 * 86_400.0
    """How long devices accept a release. With the key on this host, it is renewed after two thirds
    of this time.
    """
    ageing_s: float = 600.0
    """One step of `--priority` equals this much waiting time."""
    cool_down_s: float = 0.0
    """Minimum rest of a device between two jobs."""
    quarantine_after: int = 3
    """Number of consecutive failed jobs that quarantine a device. 0: never."""
    health_check: str = "fashion-mnist"
    """Benchmark that a quarantined device must pass to return. Empty: only operators release it."""
    health_check_retry_s: float = 600.0
    """Pause before a health check is repeated on a device that did not pass."""
    power_cycle: tuple[str, ...] = ()
    """Command that switches a device off and on; `{name}`, `{device_id}` and `{label:KEY}` are
    filled in. It runs before each health check of a quarantined device.
    """
    power_cycle_timeout_s: float = 120.0

    @property
    def mirror_folder(self) -> Path | None:
        """The folder of the mirror, or None."""
        return Path(self.mirror) if self.mirror else None


_DAY_S = 86_400.0
_RANGES: Mapping[str, tuple[float, float]] = {
    "entry_port": (0, 65_535),
    "heartbeat_idle_s": (0.05, 3600.0),
    "heartbeat_running_s": (0.05, 3600.0),
    "lease_s": (0.5, _DAY_S),
    "credit_bytes": (1024, 1024**3),
    "max_upload_bytes": (1024, 1 << 50),
    "attempt_bytes": (1024, 1 << 50),
    "device_bytes_per_day": (1024, 1 << 60),
    "refusals_per_minute": (1, 1_000_000),
    "handshake_timeout_s": (0.5, 120.0),
    "calls_per_device": (8, 1_000_000),
    "calls_per_operator": (8, 1_000_000),
    "certificate_life_s": (5.0, 3650 * _DAY_S),
    "release_life_s": (60.0, 3650 * _DAY_S),
    "ageing_s": (0.1, 365 * _DAY_S),
    "cool_down_s": (0.0, _DAY_S),
    "quarantine_after": (0, 1_000_000),
    "health_check_retry_s": (0.1, 30 * _DAY_S),
    "power_cycle_timeout_s": (1.0, _DAY_S),
}
"""Minimum and maximum of each number. Other values make a fleet hang, spin or refuse devices."""


def load_settings(home: Path, **flags: Any) -> Settings:
    """Load the settings of `home`; ignore flags that are None or empty.

    Raises:
        FleetmarkError: CONFIGURATION, naming file and key: not TOML, an unknown key, a value of
            another type or out of its range, or values that contradict one another.
    """
    path = home / "config.toml"
    try:
        values = read_config(home)
    except ConfigError as error:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION, str(error), next_step="Correct the file"
        ) from error
    types = {f.name: f for f in fields(Settings)}
    chosen: dict[str, Any] = {}
    for key, value in values.items():
        if key not in types:
            raise FleetmarkError(
                ErrorKind.CONFIGURATION, f"unknown key {key!r}", str(path), hint(key, types)
            )
        default = types[key].default
        wanted = (int, float) if isinstance(default, float) else type(default)
        given = tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value
        if not isinstance(given, wanted) or isinstance(given, bool) != isinstance(default, bool):
            raise FleetmarkError(
                ErrorKind.CONFIGURATION,
                f"{key} is {value!r}, expected {type(default).__name__}",
                str(path),
            )
        fault = _fault(key, given)
        if fault:
            raise FleetmarkError(ErrorKind.CONFIGURATION, f"{key} is {fault}", str(path))
        chosen[key] = given
    chosen |= {key: value for key, value in flags.items() if value}
    settings = Settings(**chosen)
    longest_s = max(settings.heartbeat_idle_s, settings.heartbeat_running_s)
    if settings.lease_s <= longest_s:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            f"lease_s is {settings.lease_s:g}, but devices send a heartbeat every {longest_s:g} s",
            str(path),
            "Make lease_s larger than heartbeat_idle_s and heartbeat_running_s",
        )
    return settings


def check_settings(settings: Settings, home: Path) -> None:
    """Check the address and the folders that the settings name.

    A missing catalog folder is accepted if a restored `home` has a copy of it.

    Raises:
        FleetmarkError: USAGE or CONFIGURATION, naming the setting.
    """
    _, port = check_listen(settings.listen)
    if settings.entry_port and settings.entry_port == port:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            f"entry_port and listen both use port {port}",
            next_step="Set entry_port to another port",
        )
    if port == 65_535 and not settings.entry_port:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            "listen uses port 65535, so there is no next port for the enrollment of devices",
            next_step="Set entry_port, or listen on a lower port",
        )
    catalogs = [place for place in settings.catalogs if not is_replaced(home, place)]
    for name, place in [("mirror", settings.mirror), *(("catalog", place) for place in catalogs)]:
        if place and not Path(place).is_dir():
            raise FleetmarkError(
                ErrorKind.CONFIGURATION,
                f"{name}: folder {place} does not exist",
                next_step="Create it",
            )


def _fault(key: str, value: object) -> str:
    """Return the fault of a value that has the right type, or an empty string."""
    if isinstance(value, (int, float)) and key in _RANGES:
        least, most = _RANGES[key]
        # NaN fails this check, because every comparison with NaN is false.
        if not least <= value <= most:
            return f"{value!r:.80}, expected {least:g} to {most:,.10g}"
    if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
        return f"{list(value)!r:.80}, expected a list of strings"
    texts = value if isinstance(value, tuple) else (value,)
    if any(isinstance(text, str) and not text.isprintable() for text in texts):
        return f"{value!r:.80}, which contains control characters"
    return ""


def check_listen(address: str) -> tuple[str, int]:
    """Return host (IPv6 in brackets) and port of a listen address.

    Raises:
        FleetmarkError: USAGE: it is not HOST:PORT with a literal address or `localhost`.
    """
    host, _, port = address.rpartition(":")
    bare = host.strip("[]")
    if bare == "localhost":
        bare = "127.0.0.1"
    try:
        parsed = ipaddress.ip_address(bare)
    except ValueError:
        parsed = None
    if parsed is None or not port.isdecimal() or len(port) > 5 or not int(port) <= 65535:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{address!r} is not HOST:PORT",
            "--listen",
            f"Example: 0.0.0.0:{DEFAULT_PORT} listens on all IPv4 addresses of this host",
        )
    return (f"[{bare}]" if ":" in bare else bare), int(port)


def is_loopback(host: str) -> bool:
    """Return whether only this host can reach an address."""
    return ipaddress.ip_address(host.strip("[]")).is_loopback


def is_every_address(host: str) -> bool:
    """Return whether an address is the wildcard for all addresses of this host."""
    return ipaddress.ip_address(host.strip("[]")).is_unspecified


def own_address(host: str) -> str:
    """Return the address at which programs on this host reach a server that listens on `host`."""
    if not is_every_address(host):
        return host
    return "[::1]" if ":" in host else "127.0.0.1"


def board_address(host: str) -> str:
    """Return the address at which other machines reach a server that listens on `host`.

    For a wildcard address, this is the host's address on its main link.
    """
    if not is_every_address(host):
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing: it only asks the routing table.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
