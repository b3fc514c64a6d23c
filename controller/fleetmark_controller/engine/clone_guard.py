"""Guard against clones: a device whose identity two agents use is drained."""

from __future__ import annotations

from functools import partial

from fleetmark_controller.engine.transactions import Transactions
from fleetmark_controller.identity.clone_watch import CloneWatch
from fleetmark_controller.operations import device_admin as operations
from fleetmark_controller.scheduling.presence import Presence
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.devices import device_admin
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger

log = get_logger("fleetmark.controller")


class CloneGuard:
    """Checker of the boot id in every hello, before the hello has any other effect."""

    def __init__(self, reader: Reader, transactions: Transactions, presence: Presence) -> None:
        """Start without devices."""
        self._reader = reader
        self._transactions = transactions
        self._presence = presence
        self._watch = CloneWatch()

    async def admit(self, device_id: str, name: str, boot_id: str) -> None:
        """Admit an agent, unless another agent with the same identity is connected.

        The first proof of a shared identity drains the device.

        Raises:
            FleetmarkError: IDENTITY_IN_USE: another agent is connected with this identity.
        """
        if self._watch.hello(device_id, boot_id):
            log.warning(
                "shared identity detected",
                device=name,
                device_id=device_id,
                hint="Two agents use the identity of this device. It gets no job until an operator"
                " resumes it",
            )
            await self._transactions.run_operation(
                partial(operations.hold_shared_identity, device_id=device_id)
            )
        if not self._watch.is_shared(device_id):
            return
        care = await self._reader.run(lambda c: device_admin.get(c, device_id))
        if not care.drained_at:
            self._watch.forget(device_id)  # an operator has resumed it: start a new history
            return
        seat = self._presence.seat(device_id)
        if seat is not None and seat.session and seat.boot_id != boot_id:
            raise identity_in_use_error(name)


def identity_in_use_error(name: str) -> FleetmarkError:
    """Return the error for the second of two agents with one identity."""
    return FleetmarkError(
        ErrorKind.IDENTITY_IN_USE,
        f"another agent is connected with the identity of {name}",
        next_step="If this device is a copy of that one, stop its agent, run `agent new-identity`"
        f" and start it with an enrollment token; then run `controller fleet undrain {name}`",
    )
