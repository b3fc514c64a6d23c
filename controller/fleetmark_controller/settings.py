"""The controller's settings: flags over config.toml over defaults."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fleetmark_cli.homes import ConfigError, read_config
from fleetmark_cli.nearest import hint
from fleetmark_protos.channel import DEFAULT_PORT
from fleetmark_protos.errors import ErrorKind, FleetmarkError


@dataclass(frozen=True)
class Settings:
    """What `controller serve` runs with; each is a key of config.toml."""

    listen: str = f"127.0.0.1:{DEFAULT_PORT}"
    mirror: str = ""
    """Folder of files named by sha256, asked before any network."""
    catalogs: tuple[str, ...] = ()
    """Folders with further components."""
    heartbeat_idle_s: float = 15.0
    heartbeat_running_s: float = 5.0
    lease_s: float = 30.0
    credit_bytes: int = 8 * 1024 * 1024
    """How many bytes of records a device may send ahead."""
    max_upload_bytes: int = 4 * 1024**3
    ageing_s: float = 600.0
    """One step of `--priority` is worth this much waiting."""
    cool_down_s: float = 0.0
    """Least rest of a board between two jobs."""
    quarantine_after: int = 3
    """So many jobs that failed one after another quarantine a board; 0: never."""
    health_check: str = "fashion-mnist"
    """Benchmark that a quarantined board must pass to return; empty: only people release it."""
    health_check_retry_s: float = 600.0
    """Pause before the next try of a health check that the board did not pass."""
    power_cycle: tuple[str, ...] = ()
    """Command that switches a board off and on; `{name}`, `{device_id}` and `{label:KEY}` are
    filled in. Run before each health check of a quarantined board."""
    power_cycle_timeout_s: float = 120.0


def load_settings(home: Path, **flags: Any) -> Settings:
    """Settings of `home`; flags that are None or empty do not count.

    Raises:
        FleetmarkError: CONFIGURATION, naming file and key.
    """
    path = home / "config.toml"
    try:
        values = read_config(home)
    except ConfigError as error:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION, str(error), next_step="Mend the file"
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
        if not isinstance(given, wanted) or isinstance(given, bool):
            raise FleetmarkError(
                ErrorKind.CONFIGURATION,
                f"{key} is {value!r}, expected {type(default).__name__}",
                str(path),
            )
        chosen[key] = given
    chosen |= {key: value for key, value in flags.items() if value}
    return Settings(**chosen)


def check_listen(address: str) -> tuple[str, int]:
    """Host and port of a loopback address.

    Raises:
        FleetmarkError: USAGE (not HOST:PORT) or ADDRESS_REFUSED (not loopback).
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise FleetmarkError(ErrorKind.USAGE, f"{address!r} is not HOST:PORT")
    bare = host.strip("[]")
    if bare == "localhost":
        bare = "127.0.0.1"
    try:
        loopback = ipaddress.ip_address(bare).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise FleetmarkError(
            ErrorKind.ADDRESS_REFUSED,
            f"will not listen on {host}: without enrolment and TLS anybody there could send code"
            " to your boards, so only loopback is allowed",
            next_step=f"Use --listen 127.0.0.1:{port}",
        )
    return (f"[{bare}]" if ":" in bare else bare), int(port)
