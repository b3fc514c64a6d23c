"""A device as planning sees it, and the list of a fleet's devices. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

from fleetmark_catalog.selectors import Selector, Subject, Words, canonical
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.digest import canonical_json, sha256_hex
from fleetmark_core.serde import to_plain


@dataclass(frozen=True)
class Device:
    """A device as stored."""

    device_id: str
    name: str
    labels: dict[str, str]
    capabilities: Capabilities
    agent_version: str
    boot_id: str
    registered_at: str
    last_seen_at: str

    @cached_property
    def subject(self) -> Subject:
        """The device as a subject of selectors."""
        return Subject(self.name, self.labels, self.capabilities)

    def subject_now(self, online: Collection[str] | None) -> Subject:
        """Return the device as selectors see it at this moment; see `Roll.matching`."""
        if online is None:
            return self.subject
        return replace(self.subject, online=self.device_id in online)

    @cached_property
    def facts_sha256(self) -> str:
        """The digest of its capabilities. Devices with the same digest resolve alike."""
        return sha256_hex(canonical_json(to_plain(self.capabilities)))


class DeviceList(list[Device]):
    """A list of the fleet's devices. Derived values are cached, so the list must not be changed."""

    @cached_property
    def words(self) -> Words:
        """The words that a selector may use."""
        return Words(device.subject for device in self)

    @cached_property
    def _by_name(self) -> dict[str, list[Device]]:
        found: dict[str, list[Device]] = {}
        for device in self:
            found.setdefault(canonical(device.name), []).append(device)
        return found

    def matching(self, selector: Selector, online: Collection[str] | None = None) -> list[Device]:
        """Return the devices that a selector matches, in the same order.

        `online` are the ids of the devices that are connected now; None: not known.
        """
        names = selector.names()
        among: list[Device] = self
        if names is not None:
            # Look up named devices in the index: scanning thousands of devices would be slow.
            among = [device for name in sorted(names) for device in self._by_name.get(name, ())]
        # Subjects keep what is worked out of them: new ones are made only where that matters.
        now = online if selector.needs_presence else None
        found = [device for device in among if selector.matches(device.subject_now(now))]
        return found if names is None else sorted(found, key=lambda device: device.name)
