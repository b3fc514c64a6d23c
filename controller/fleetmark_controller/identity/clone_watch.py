"""Tells two agents that share one identity from one agent that starts anew.

An agent makes its boot id when its process starts. A process that has ended never comes back, so a
boot id that returns after another one was seen belongs to a second process that lives: a copied
home, or a card that was cloned. A single return proves nothing: after a controller was stopped for
a while, the hello of an ended process may be read after that of its successor, and the successor
then comes again. That makes two returns at most.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

RETURNS = 3
"""How often replaced boot ids must return until a clone is proven."""
_REPLACED = 8
"""How many replaced boot ids are remembered for each device."""


@dataclass
class _History:
    newest: str
    replaced: OrderedDict[str, None] = field(default_factory=OrderedDict)
    returns: int = 0


class CloneWatch:
    """The boot ids of all devices that said hello in this controller's life."""

    def __init__(self) -> None:
        """No device has been seen yet."""
        self._histories: dict[str, _History] = {}
        self._shared: set[str] = set()

    def hello(self, device_id: str, boot_id: str) -> bool:
        """Note a hello; return whether it is the first proof that two agents share the identity."""
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
        """Return whether two agents were seen with this identity since it was forgotten last."""
        return device_id in self._shared

    def forget(self, device_id: str) -> None:
        """Begin anew with a device: an operator has decided about it."""
        self._shared.discard(device_id)
        self._histories.pop(device_id, None)
