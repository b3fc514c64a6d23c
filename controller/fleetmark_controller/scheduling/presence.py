"""Presence: sessions, heartbeats and leases, by a monotonic clock that the caller reads.

*Suspect* is a state of the session (its stream is down, or late), never of an attempt. A lease
that runs out makes the device offline and its attempts lost; nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial

from fleetmark_controller.scheduling.model import Seen


class Status(Enum):
    """How present a device is."""

    ONLINE = "online"
    SUSPECT = "suspect"
    OFFLINE = "offline"


@dataclass
class Seat:
    """What is known of one device now."""

    device_id: str
    boot_id: str = ""
    session: int = 0  # number of the open stream; 0: none
    idle: bool = False
    lease_until_ns: int = 0
    expired: bool = True
    worked: bool = False
    """Whether it was given work in this controller's life."""
    rests_since_ns: int = 0
    """When it was first idle again after its last work."""
    refusals: int = 0
    """How many attempts it refused one after another, each worth another try."""
    refused_epoch: int = 0
    """The newest of them: a refusal may be said twice."""


class Presence:
    """Seats of all devices."""

    def __init__(self, lease_ns: int) -> None:
        """`lease_ns`: how long a silent device is still counted on."""
        self.lease_ns = lease_ns
        self._seats: dict[str, Seat] = {}
        self._free: dict[str, None] = {}  # kept in step: of thousands of boards few ever change
        self._sessions = 0

    def seat(self, device_id: str) -> Seat | None:
        """The device's seat, if it has been seen in this controller's life."""
        return self._seats.get(device_id)

    def expect(self, device_id: str, now_ns: int) -> None:
        """After a restart: give a device that holds live attempts a full lease to come back."""
        seat = self._seats.setdefault(device_id, Seat(device_id))
        seat.lease_until_ns, seat.expired = now_ns + self.lease_ns, False

    def connected(self, device_id: str, boot_id: str, idle: bool, now_ns: int) -> int:
        """A stream opened with a hello; returns the session's number. An older one is dead now."""
        self._sessions += 1
        seat = self._seats.setdefault(device_id, Seat(device_id))
        seat.boot_id, seat.session = boot_id, self._sessions
        self._set_idle(seat, idle, now_ns)
        seat.lease_until_ns, seat.expired = now_ns + self.lease_ns, False
        self._note(seat)
        return self._sessions

    def current(self, device_id: str, session: int) -> bool:
        """Whether this stream is the device's newest."""
        seat = self._seats.get(device_id)
        return seat is not None and seat.session == session

    def alive(self, device_id: str, session: int, now_ns: int) -> None:
        """Anything that is heard on the device's newest stream extends its lease."""
        if self.current(device_id, session):
            seat = self._seats[device_id]
            seat.lease_until_ns, seat.expired = now_ns + self.lease_ns, False

    def heartbeat(self, device_id: str, session: int, idle: bool, now_ns: int) -> bool:
        """Extend the lease; True if the device has become idle by it."""
        if not self.current(device_id, session):
            return False
        self.alive(device_id, session, now_ns)
        seat = self._seats[device_id]
        became_idle = idle and not seat.idle
        self._set_idle(seat, idle, now_ns)
        self._note(seat)
        return became_idle

    def occupied(self, device_id: str) -> None:
        """Work was sent: the device is not idle until it says so again."""
        seat = self._seats.get(device_id)
        if seat is not None:
            seat.idle, seat.worked, seat.rests_since_ns = False, True, 0
            self._note(seat)

    def refused(self, device_id: str, epoch: int) -> None:
        """The device refused an attempt that is worth another try: it gets a rest before it."""
        seat = self._seats.get(device_id)
        if seat is not None and epoch > seat.refused_epoch:
            seat.refusals, seat.refused_epoch, seat.worked = seat.refusals + 1, epoch, True

    def took(self, device_id: str) -> None:
        """The device began a job: whatever it refused before counts no more."""
        seat = self._seats.get(device_id)
        if seat is not None:
            seat.refusals = 0

    def disconnected(self, device_id: str, session: int) -> None:
        """The stream ended. What the device does now is unknown, so it is not idle."""
        seat = self._seats.get(device_id)
        if seat is not None and seat.session == session:
            seat.session, seat.idle = 0, False
            self._note(seat)

    def dismissed(self, device_id: str) -> None:
        """The device counts no more: its stream is as good as ended, and its lease is over."""
        seat = self._seats.get(device_id)
        if seat is not None:
            seat.session, seat.idle, seat.expired, seat.lease_until_ns = 0, False, True, 0
            self._note(seat)

    def seen(self, now_ns: int) -> Mapping[str, Seen]:
        """What the scheduler needs to know of each device, longest known first.

        It is worked out when it is asked for, by this clock: of thousands of devices a dispatch
        concerns a few. Another thread may ask; it then sees what was said meanwhile, too.
        """
        return _Moment(self._seats, partial(self._seen, now_ns=now_ns))

    def free(self) -> Collection[str]:
        """Devices that are connected and have reported idle: those of whenever it is looked at."""
        return self._free.keys()

    def online(self) -> int:
        """How many devices have an open stream."""
        return sum(1 for seat in self._seats.values() if seat.session)

    def online_ids(self, now_ns: int) -> frozenset[str]:
        """Return the ids of the devices that are online now."""
        names = list(self._seats)
        return frozenset(n for n in names if self.status(n, now_ns) is Status.ONLINE)

    def status(self, device_id: str, now_ns: int) -> Status:
        """Online: stream open and lease running; suspect: one of the two; else offline."""
        seat = self._seats.get(device_id)
        if seat is None or now_ns >= seat.lease_until_ns:
            return Status.OFFLINE
        return Status.ONLINE if seat.session else Status.SUSPECT

    def expire(self, now_ns: int) -> list[str]:
        """Devices whose lease has just run out; each is named once."""
        gone = [s for s in self._seats.values() if not s.expired and now_ns >= s.lease_until_ns]
        for seat in gone:
            seat.expired, seat.idle, seat.session = True, False, 0
            self._note(seat)
        return [seat.device_id for seat in gone]

    def _seen(self, seat: Seat, now_ns: int) -> Seen:
        rested = now_ns - seat.rests_since_ns if seat.rests_since_ns else 0
        return Seen(
            status=self.status(seat.device_id, now_ns).value,
            idle=bool(seat.session) and seat.idle,
            rested_ns=rested if seat.worked else None,
            refusals=seat.refusals,
        )

    def _note(self, seat: Seat) -> None:
        if seat.session and seat.idle:
            self._free[seat.device_id] = None
        else:
            self._free.pop(seat.device_id, None)

    @staticmethod
    def _set_idle(seat: Seat, idle: bool, now_ns: int) -> None:
        seat.idle = idle
        if idle and not seat.rests_since_ns:
            seat.rests_since_ns = now_ns


class _Moment(Mapping[str, Seen]):
    """See `Presence.seen`."""

    def __init__(self, seats: Mapping[str, Seat], look: Callable[[Seat], Seen]) -> None:
        self._seats = seats
        self._look = look

    def __getitem__(self, device_id: str) -> Seen:
        return self._look(self._seats[device_id])

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._seats))

    def __len__(self) -> int:
        return len(self._seats)
