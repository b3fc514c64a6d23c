"""Presence of devices: sessions, heartbeats and leases, by a monotonic clock passed by the caller.

*Suspect* is a state of the session (its stream is down, or late), never of an attempt. Only a
lease that expires makes a device offline and its attempts lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial

from fleetmark_controller.scheduling.model import PresenceSnapshot


class Status(Enum):
    """The presence of a device."""

    ONLINE = "online"
    SUSPECT = "suspect"
    OFFLINE = "offline"


@dataclass
class DeviceSession:
    """The presence record of one device."""

    device_id: str
    boot_id: str = ""
    session: int = 0  # number of the open stream; 0: no stream is open
    idle: bool = False
    lease_until_ns: int = 0
    expired: bool = True
    worked: bool = False
    """True if the device received work since this controller started."""
    rests_since_ns: int = 0
    """Time at which the device was first idle again after its last work."""
    refusals: int = 0
    """Number of consecutive attempts that the device refused for a retryable reason."""
    refused_epoch: int = 0
    """Epoch of the newest refused attempt. A device may report a refusal twice."""


class Presence:
    """Presence records of all devices."""

    def __init__(self, lease_ns: int) -> None:
        """Start without devices.

        Args:
            lease_ns: how long a device without contact keeps its attempts.
        """
        self.lease_ns = lease_ns
        self._seats: dict[str, DeviceSession] = {}
        self._free: dict[str, None] = {}  # maintained on each change: only few devices change
        self._sessions = 0

    def seat(self, device_id: str) -> DeviceSession | None:
        """Return the device's record; None if it was not seen since this controller started."""
        return self._seats.get(device_id)

    def restore_lease(self, device_id: str, now_ns: int) -> None:
        """Give a device that holds live attempts a full lease to reconnect after a restart."""
        seat = self._seats.setdefault(device_id, DeviceSession(device_id))
        seat.lease_until_ns, seat.expired = now_ns + self.lease_ns, False

    def connected(self, device_id: str, boot_id: str, idle: bool, now_ns: int) -> int:
        """Register a stream that opened with a hello, and return its session number.

        The new session replaces an older session of the device.
        """
        self._sessions += 1
        seat = self._seats.setdefault(device_id, DeviceSession(device_id))
        seat.boot_id, seat.session = boot_id, self._sessions
        self._set_idle(seat, idle, now_ns)
        seat.lease_until_ns, seat.expired = now_ns + self.lease_ns, False
        self._note(seat)
        return self._sessions

    def current(self, device_id: str, session: int) -> bool:
        """Return whether this session is the device's newest."""
        seat = self._seats.get(device_id)
        return seat is not None and seat.session == session

    def alive(self, device_id: str, session: int, now_ns: int) -> None:
        """Extend the lease after any message on the device's newest stream."""
        if self.current(device_id, session):
            seat = self._seats[device_id]
            seat.lease_until_ns, seat.expired = now_ns + self.lease_ns, False

    def heartbeat(self, device_id: str, session: int, idle: bool, now_ns: int) -> bool:
        """Extend the lease; return whether the device became idle with this heartbeat."""
        if not self.current(device_id, session):
            return False
        self.alive(device_id, session, now_ns)
        seat = self._seats[device_id]
        became_idle = idle and not seat.idle
        self._set_idle(seat, idle, now_ns)
        self._note(seat)
        return became_idle

    def mark_busy(self, device_id: str) -> None:
        """Mark the device as not idle after work was sent, until it reports idle again."""
        seat = self._seats.get(device_id)
        if seat is not None:
            seat.idle, seat.worked, seat.rests_since_ns = False, True, 0
            self._note(seat)

    def refused(self, device_id: str, epoch: int) -> None:
        """Record a refusal for a retryable reason: the device rests before the next attempt."""
        seat = self._seats.get(device_id)
        if seat is not None and epoch > seat.refused_epoch:
            seat.refusals, seat.refused_epoch, seat.worked = seat.refusals + 1, epoch, True

    def reset_refusals(self, device_id: str) -> None:
        """Reset the refusals of a device that began a job."""
        seat = self._seats.get(device_id)
        if seat is not None:
            seat.refusals = 0

    def disconnected(self, device_id: str, session: int) -> None:
        """Close the session of a stream that ended.

        The state of the device is now unknown, so it is not idle.
        """
        seat = self._seats.get(device_id)
        if seat is not None and seat.session == session:
            seat.session, seat.idle = 0, False
            self._note(seat)

    def remove(self, device_id: str) -> None:
        """End the session and the lease of a device that is no longer admitted."""
        seat = self._seats.get(device_id)
        if seat is not None:
            seat.session, seat.idle, seat.expired, seat.lease_until_ns = 0, False, True, 0
            self._note(seat)

    def seen(self, now_ns: int) -> Mapping[str, PresenceSnapshot]:
        """Return the presence of each device, longest known first.

        Values are computed on access, for `now_ns`, because a dispatch concerns only a few of
        thousands of devices. Another thread may read the mapping; it then also sees later changes.
        """
        return _PresenceView(self._seats, partial(self._seen, now_ns=now_ns))

    def free(self) -> Collection[str]:
        """Return a live view of the devices that are connected and have reported idle."""
        return self._free.keys()

    def online(self) -> int:
        """Return how many devices have an open stream."""
        return sum(1 for seat in self._seats.values() if seat.session)

    def online_ids(self, now_ns: int) -> frozenset[str]:
        """Return the ids of the devices that are online now."""
        names = list(self._seats)
        return frozenset(n for n in names if self.status(n, now_ns) is Status.ONLINE)

    def status(self, device_id: str, now_ns: int) -> Status:
        """Return the status of a device.

        Online: a stream is open and the lease is valid. Suspect: the lease is valid, but no stream
        is open. Offline: the lease has expired.
        """
        seat = self._seats.get(device_id)
        if seat is None or now_ns >= seat.lease_until_ns:
            return Status.OFFLINE
        return Status.ONLINE if seat.session else Status.SUSPECT

    def expire(self, now_ns: int) -> list[str]:
        """Return the devices whose lease has expired since the last call."""
        gone = [s for s in self._seats.values() if not s.expired and now_ns >= s.lease_until_ns]
        for seat in gone:
            seat.expired, seat.idle, seat.session = True, False, 0
            self._note(seat)
        return [seat.device_id for seat in gone]

    def _seen(self, seat: DeviceSession, now_ns: int) -> PresenceSnapshot:
        rested = now_ns - seat.rests_since_ns if seat.rests_since_ns else 0
        return PresenceSnapshot(
            status=self.status(seat.device_id, now_ns).value,
            idle=bool(seat.session) and seat.idle,
            rested_ns=rested if seat.worked else None,
            refusals=seat.refusals,
        )

    def _note(self, seat: DeviceSession) -> None:
        if seat.session and seat.idle:
            self._free[seat.device_id] = None
        else:
            self._free.pop(seat.device_id, None)

    @staticmethod
    def _set_idle(seat: DeviceSession, idle: bool, now_ns: int) -> None:
        seat.idle = idle
        if idle and not seat.rests_since_ns:
            seat.rests_since_ns = now_ns


class _PresenceView(Mapping[str, PresenceSnapshot]):
    """Read-only view that computes a `PresenceSnapshot` on access; see `Presence.seen`."""

    def __init__(
        self, seats: Mapping[str, DeviceSession], look: Callable[[DeviceSession], PresenceSnapshot]
    ) -> None:
        self._seats = seats
        self._look = look

    def __getitem__(self, device_id: str) -> PresenceSnapshot:
        return self._look(self._seats[device_id])

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._seats))

    def __len__(self) -> int:
        return len(self._seats)
