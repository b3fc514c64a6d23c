"""Actions that must happen after an operation's commit, and only then."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.store.jobs.attempts import AttemptKey


@dataclass(frozen=True)
class OfferEffect:
    """Instruction to send an order to its device.

    Sending it twice is harmless, because the epoch is the same.
    """

    key: AttemptKey
    order: bytes


@dataclass(frozen=True)
class StopEffect:
    """Instruction to a device to stop an attempt if it runs, and to forget it."""

    key: AttemptKey
    reason: str


@dataclass(frozen=True)
class AttemptEnd:
    """The end of an attempt, for the log."""

    key: AttemptKey
    campaign_id: str
    outcome: AttemptOutcome
    reason: str


@dataclass(frozen=True)
class TailEffect:
    """Instruction to a device to start or stop sending the output of an attempt."""

    key: AttemptKey
    wanted: bool


@dataclass
class Effects:
    """The effects of an operation, collected by the operation and applied by its caller."""

    offers: list[OfferEffect] = field(default_factory=list)
    stops: list[StopEffect] = field(default_factory=list)
    verify: list[AttemptKey] = field(default_factory=list)
    ended: list[AttemptEnd] = field(default_factory=list)
    jobs: set[str] = field(default_factory=set)
    identities: set[str] = field(default_factory=set)
    """Identities that are new or whose state changed."""
    blobs: list[bytes] = field(default_factory=list)
    """Contents to be stored as blobs, too."""
    schedule: bool = False
    """True if a device became free or a job became ready, so that the scheduler must run."""
