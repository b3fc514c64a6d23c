"""What all attempts on a device share. Light: an idle agent holds one, and nothing of a runner."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_agent.config.settings import Settings
from fleetmark_agent.runner.telemetry.temperature import LastingThermometer
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.session.messages import AttemptRef
from fleetmark_agent.state.attempt_key import AttemptKey
from fleetmark_agent.state.spool import Spool
from fleetmark_agent.state.trust_store import TrustStore
from fleetmark_core.capabilities import Capabilities

if TYPE_CHECKING:
    import asyncio

    from fleetmark_agent.cache.blob_cache import Cache


@dataclass
class Site:
    """What all attempts on this device share."""

    settings: Settings
    device_id: str
    boot_id: str
    capabilities: Capabilities
    spool: Spool
    download: Callable[[str, int, AttemptRef], AsyncIterator[bytes]]
    """A blob's bytes: its sha256, from where, for which attempt."""
    clock: Callable[[], dict[str, Any]]
    transfers: asyncio.Lock
    """Held by whoever moves bulk data; a run holds it, so that nothing else is moved meanwhile."""

    @cached_property
    def trust(self) -> TrustStore:
        """What this board trusts."""
        return TrustStore(self.settings.home)

    @cached_property
    def thermometer(self) -> LastingThermometer:
        """The device's temperature, and what is known of its sensors."""
        return LastingThermometer(Path(self.settings.system_root))

    @cached_property
    def cache(self) -> Cache:
        """The device's blobs and environments; cleaned when the first attempt asks for it."""
        from fleetmark_agent.cache.blob_cache import Cache

        settings = self.settings
        folder = settings.home / "cache"
        cache = Cache(folder, settings.cache_limit_bytes, settings.min_free_bytes)
        cache.clean()
        return cache

    @property
    def attempts(self) -> Path:
        """The folder of all workspaces."""
        return self.settings.home / "attempts"

    @property
    def device_lock(self) -> Path:
        """Held while anything of a job lives."""
        return self.settings.home / "device.lock"

    @property
    def trace(self) -> Path:
        """When each attempt's job began and ended, as the device itself saw it."""
        return self.settings.home / "trace.jsonl"


def clean_attempts(folder: Path, held: set[str]) -> None:
    """Remove workspaces that belong to no held attempt: their results are delivered."""
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        key = AttemptKey.from_name(entry.name)
        if key is not None and entry.name not in held:
            Workspace(folder, key).remove()
