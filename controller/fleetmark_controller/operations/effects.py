"""What must happen after an operation's commit, and only then."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetmark_controller.store.jobs.attempts import AttemptKey


@dataclass(frozen=True)
class OfferEffect:
    """Send this order to its device. Sending twice is harmless: the epoch is the same."""

    key: AttemptKey
    order: bytes


@dataclass(frozen=True)
class StopEffect:
    """Tell the device to stop the attempt if it runs, and to forget it."""

    key: AttemptKey
    reason: str


@dataclass(frozen=True)
class TailEffect:
    """Somebody wants to read along what an attempt writes, or nobody does any more."""

    key: AttemptKey
    wanted: bool


@dataclass
class Effects:
    """Collected by an operation, carried out by its caller."""

    offers: list[OfferEffect] = field(default_factory=list)
    stops: list[StopEffect] = field(default_factory=list)
    verify: list[AttemptKey] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    identities: set[str] = field(default_factory=set)
    """Identities that are new or count differently now."""
    blobs: list[bytes] = field(default_factory=list)
    """Contents that belong among the blobs, too."""
    schedule: bool = False
    """Whether something became free or waiting, so that the scheduler should look."""
