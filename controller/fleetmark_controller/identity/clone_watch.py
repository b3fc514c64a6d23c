"""Distinguish two agents that share one identity from one agent that restarts.

An agent creates its boot id when its process starts. A process that has ended does not return, so
a boot id that returns after another one was seen belongs to a second live process: a copied home,
or a cloned SD card. A single return proves nothing: after the controller was stopped for a while,
the hello of an ended process may be read after the hello of its successor, and then the successor
returns. That explains two returns at most.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

RETURNS = 3
"""Number of returns of replaced boot ids that prove a clone."""
_REPLACED = 8
"""Number of replaced boot ids that are remembered for each device."""


@dataclass
class _History:
    newest: str
    replaced: OrderedDict[str, None] = field(default_factory=OrderedDict)
    returns: int = 0


class CloneWatch:
    """Boot ids of all devices that sent a hello since this controller started."""

    def __init__(self) -> None:
        """Start without devices."""
        self._histories: dict[str, _History] = {}
        self._shared: set[str] = set()

    def hello(self, device_id: str, boot_id: str) -> bool:
        """Record a hello; return whether it is the first proof of two agents with one identity."""
        history = self._histories.setdefault(device_id, _History(boot_id))
        if boot_id == history.newest:
            return False
        if boot_id in history.replaced:
            history.returns += 1
            del history.replaced[boot_id]
        history.replaced[history.newest] = None
        if len(history.replaced) > _REPLACED:
            history.replaced.popitem(last=False)
        history.newest = boot_id
        if history.returns < RETURNS or device_id in self._shared:
            return False
        self._shared.add(device_id)
        return True

    def is_shared(self, device_id: str) -> bool:
        """Return whether two agents used this identity since it was last forgotten."""
        return device_id in self._shared

    def forget(self, device_id: str) -> None:
        """Delete the history of a device after an operator has decided about it."""
        self._shared.discard(device_id)
        self._histories.pop(device_id, None)
