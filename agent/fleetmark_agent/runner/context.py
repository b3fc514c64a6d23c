"""State that all attempts on a device share. It is small, because an idle agent holds it too."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_agent.config.settings import AgentSettings
from fleetmark_agent.runner.telemetry.temperature import LastingThermometer
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.session.messages import AttemptRef
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.spool import Spool
from fleetmark_agent.state.trust_store import TrustStore
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.shared_repr import SharedRepr

if TYPE_CHECKING:
    import asyncio

    from fleetmark_agent.cache.blob_cache import Cache


@dataclass(repr=False)
class RunnerContext(SharedRepr):
    """Settings, identity and services that all attempts on this device share."""

    settings: AgentSettings
    device_id: str
    boot_id: str
    capabilities: Capabilities
    spool: Spool
    download: Callable[[str, int, AttemptRef], AsyncIterator[bytes]]
    """Generator function for a blob's bytes; arguments: its sha256, the offset and the attempt."""
    clock: Callable[[], dict[str, Any]]
    transfers: asyncio.Lock
    """Held during bulk transfers, and during a run, which a transfer would disturb."""

    @cached_property
    def trust(self) -> TrustStore:
        """Trust anchors of this device."""
        return TrustStore(self.settings.home)

    @cached_property
    def thermometer(self) -> LastingThermometer:
        """The device's temperature and the history of its sensors."""
        return LastingThermometer(Path(self.settings.system_root))

    @cached_property
    def cache(self) -> Cache:
        """Blobs and environments of the device; leftovers are removed on first use."""
        from fleetmark_agent.cache.blob_cache import Cache

        settings = self.settings
        folder = settings.home / "cache"
        cache = Cache(folder, settings.cache_limit_bytes, settings.min_free_bytes)
        cache.clean()
        return cache

    @property
    def attempts(self) -> Path:
        """Folder of all workspaces."""
        return self.settings.home / "attempts"

    @property
    def device_lock(self) -> Path:
        """Lock file that is held while any process of a job is alive."""
        return self.settings.home / "device.lock"

    @property
    def trace(self) -> Path:
        """File with the start and end of each attempt's job, as seen by the device itself."""
        return self.settings.home / "trace.jsonl"


def clean_attempts(folder: Path, held: set[str]) -> None:
    """Remove workspaces of attempts that are no longer held: their results are delivered."""
    if not folder.is_dir():
        return
    for entry in os.scandir(folder):
        key = LocalAttemptKey.from_name(entry.name)
        if key is not None and entry.name not in held:
            Workspace(folder, key).remove()
