"""The controller's settings: flags override config.toml, which overrides the defaults."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fleetmark_cli.paths import ConfigError, read_config
from fleetmark_controller.home.catalog_copies import is_replaced
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log_format import LOG_FORMATS
from fleetmark_core.suggest import hint
from fleetmark_protos.channel import DEFAULT_PORT, HANDSHAKE_TIMEOUT_S


@dataclass(frozen=True)
class ControllerSettings:
    """Settings of `controller serve`; each is a key of config.toml.

    docs/reference/configuration.md is made of the texts below.
    """

    listen: str = f"[::]:{DEFAULT_PORT}"
    """Address HOST:PORT on which devices and commands are served. `[::]` and `0.0.0.0` both stand
    for every IPv4 and IPv6 address of this host."""
    entry_port: int = 0
    """Port for new devices, renewal and health, on the same address; 0: the one after that of
    `listen`."""
    advertise: bool = True
    """True if devices on the local network find this controller by multicast DNS."""
    mirror: str = ""
    """Folder of files named by SHA-256, which is searched before the network."""
    catalogs: tuple[str, ...] = ()
    """Folders with further components."""
    heartbeat_idle_s: float = 15.0
    """Pause between two heartbeats of a device without a job."""
    heartbeat_running_s: float = 5.0
    """Pause between two heartbeats of a device that runs a job."""
    lease_s: float = 30.0
    """A device that is silent for so long is offline, and what it ran is lost. Longer than both
    heartbeats."""
    credit_bytes: int = 8 * 1024 * 1024
    """How many bytes of records a device may send before they are acknowledged."""
    max_upload_bytes: int = 4 * 1024**3
    """Size of one file that a device or an operator uploads."""
    attempt_bytes: int = 8 * 1024**3
    """Size of all files of one attempt. Its lockfile limits their number."""
    device_bytes_per_day: int = 64 * 1024**3
    """How much one device may upload in a day, so that none fills the controller's disk alone."""
    refusals_per_minute: int = 10
    """After so many refused enrollments an address is refused for the rest of a minute."""
    handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S
    """Maximum time for a new connection to complete TLS and begin HTTP/2."""
    calls_per_device: int = 64
    """How many calls one device may have open at the same time, on all its connections together."""
    calls_per_operator: int = 1000
    """How many calls one operator may have open at the same time."""
    certificate_life_s: float = 30 * 86_400.0
    """How long a device's certificate is valid; it is renewed after two thirds of that."""
    catalog_key: str = ""
    """Public key of a catalog key that is kept on another machine. Empty: one is made here."""
    release_life_s: float = 90 * 86_400.0
    """How long a release is valid; a controller with the catalog key renews it after two thirds."""
    ageing_s: float = 600.0
    """One step of `--priority` equals this much waiting time."""
    cool_down_s: float = 0.0
    """Shortest pause of a device between two jobs."""
    quarantine_after: int = 3
    """So many jobs that a device lets fail one after another quarantine it; 0: never."""
    health_check: str = "fashion-mnist"
    """Benchmark that a quarantined device must pass to return. Empty: only operators release it."""
    health_check_retry_s: float = 600.0
    """Pause before the next try of a health check that the device did not pass."""
    power_cycle: tuple[str, ...] = ()
    """Command that switches a device off and on, run before each health check of a quarantined
    device; `{name}`, `{device_id}` and `{label:KEY}` are filled in."""
    power_cycle_timeout_s: float = 120.0
    """How long the command `power_cycle` may take."""

    log_format: str = "auto"
    """Form of log lines on stderr: `text`, `json`, or `auto`, which is text on a terminal and JSON
    lines otherwise."""

    @property
    def mirror_folder(self) -> Path | None:
        """The folder of the mirror, or None."""
        return Path(self.mirror) if self.mirror else None


_DAY_S = 86_400.0
RANGES: Mapping[str, tuple[float, float]] = {
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


CHOICES: Mapping[str, tuple[str, ...]] = {"log_format": LOG_FORMATS}
"""Allowed values of settings that have only a few."""


def load_settings(home: Path, **flags: Any) -> ControllerSettings:
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
    types = {f.name: f for f in fields(ControllerSettings)}
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
        fault = _why_invalid(key, given)
        if fault:
            raise FleetmarkError(ErrorKind.CONFIGURATION, f"{key} is {fault}", str(path))
        chosen[key] = given
    chosen |= {key: value for key, value in flags.items() if value}
    for key, allowed in CHOICES.items():
        if key in chosen and chosen[key] not in allowed:
            raise FleetmarkError(
                ErrorKind.CONFIGURATION,
                f"{key} is {chosen[key]!r}, expected {', '.join(allowed)}",
                next_step=f"Correct the flag, the environment variable or {path}",
            )
    settings = ControllerSettings(**chosen)
    longest_s = max(settings.heartbeat_idle_s, settings.heartbeat_running_s)
    if settings.lease_s <= longest_s:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            f"lease_s is {settings.lease_s:g}, but devices send a heartbeat every {longest_s:g} s",
            str(path),
            "Make lease_s larger than heartbeat_idle_s and heartbeat_running_s",
        )
    return settings


def check_settings(settings: ControllerSettings, home: Path) -> None:
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


def _why_invalid(key: str, value: object) -> str:
    """Return what is wrong with a value that has the right type, or an empty string."""
    if isinstance(value, (int, float)) and key in RANGES:
        least, most = RANGES[key]
        # A comparison with nan is never true.
        if not least <= value <= most:
            return f"{value!r:.80}, expected {least:g} to {most:,.10g}"
    if isinstance(value, tuple) and not all(isinstance(item, str) for item in value):
        return f"{list(value)!r:.80}, expected a list of strings"
    texts = value if isinstance(value, tuple) else (value,)
    if any(isinstance(text, str) and not text.isprintable() for text in texts):
        return f"{value!r:.80}, which contains control characters"
    return ""


def check_listen(address: str) -> tuple[str, int]:
    """Return the host, without brackets, and the port of an address to listen on.

    Port 0 means any free port.

    Raises:
        FleetmarkError: USAGE: the address is not HOST:PORT with a literal address or `localhost`.
    """
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if bare == "localhost":
        bare = "127.0.0.1"
    try:
        parsed = ipaddress.ip_address(bare)
    except ValueError:
        parsed = None
    if (
        parsed is None
        or bracketed is not (parsed.version == 6)
        or not (port.isascii() and port.isdecimal() and len(port) <= 5)
        or int(port) > 65535
    ):
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{address!r} is not HOST:PORT",
            "--listen",
            f"Like [::]:{DEFAULT_PORT}, which is every address of this host, or"
            f" 192.0.2.10:{DEFAULT_PORT}",
        )
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Return whether only this host can reach an address."""
    return ipaddress.ip_address(host).is_loopback


def is_every_address(host: str) -> bool:
    """Return whether `host` means every address of this host."""
    return ipaddress.ip_address(host).is_unspecified
