"""What the session is told (events) and what it wants done (actions).

Plain values: the daemon and the simulator both produce the one and perform the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetmark_agent.session.messages import AgentMessage, AttemptRef, ControllerMessage, Progress
from fleetmark_agent.state.attempt_key import AttemptKey
from fleetmark_agent.state.ledger import Ledger
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.shared_repr import SharedRepr

# --- events ---


@dataclass(frozen=True, repr=False)
class Opened(SharedRepr):
    """A stream to a controller is open; nothing was said yet."""


@dataclass(frozen=True, repr=False)
class Received(SharedRepr):
    """The controller said something."""

    message: ControllerMessage


@dataclass(frozen=True, repr=False)
class Closed(SharedRepr):
    """The stream is gone, for whatever reason."""

    reason: str = ""


@dataclass(frozen=True, repr=False)
class Persisted(SharedRepr):
    """The ledger of this number is durable."""

    number: int


@dataclass(frozen=True, repr=False)
class PersistFailed(SharedRepr):
    """The ledger of this number could not be stored; the one before still is."""

    number: int
    reason: str


@dataclass(frozen=True, repr=False)
class JobRunning(SharedRepr):
    """The attempt's job has been started, or was found running."""

    key: AttemptKey


@dataclass(frozen=True, repr=False)
class JobProgressed(SharedRepr):
    """The attempt is further than before."""

    key: AttemptKey
    progress: Progress


@dataclass(frozen=True, repr=False)
class JobRefused(SharedRepr):
    """The attempt could not be prepared; no job of it was ever started."""

    key: AttemptKey
    reason: str
    retryable: bool


@dataclass(frozen=True, repr=False)
class JobEnded(SharedRepr):
    """Nothing of the attempt runs any more; records 1 to `last_seq`, all there are, are spooled."""

    key: AttemptKey
    last_seq: int


@dataclass(frozen=True, repr=False)
class JobStopped(SharedRepr):
    """Nothing of the attempt runs any more, as `StopJob` wanted; it has no final record.

    `reason` is set when nobody wanted it: a fault of the agent itself.
    """

    key: AttemptKey
    reason: str = ""


@dataclass(frozen=True, repr=False)
class UploadDone(SharedRepr):
    """The controller answered: it has records up to `through_seq`, and room for `credit_bytes`."""

    key: AttemptKey
    through_seq: int
    credit_bytes: int
    nothing_sent: bool = False
    """Only the credit was asked for."""


@dataclass(frozen=True, repr=False)
class UploadFailed(SharedRepr):
    """Records could not be handed over this time."""

    key: AttemptKey
    reason: str


@dataclass(frozen=True, repr=False)
class DeviceChanged(SharedRepr):
    """The device's lock is held by somebody (`free` False) or by nobody."""

    free: bool


@dataclass(frozen=True, repr=False)
class AdmissionChanged(SharedRepr):
    """Why no new attempt may begin (a full spool, say); empty when one may."""

    obstacle: str


@dataclass(frozen=True, repr=False)
class CapabilitiesFound(SharedRepr):
    """The board's facts, as they are known now."""

    capabilities: Capabilities


@dataclass(frozen=True, repr=False)
class Leaving(SharedRepr):
    """The agent is asked to end."""

    reason: str


@dataclass(frozen=True, repr=False)
class Tick(SharedRepr):
    """Time has passed."""


Event = (
    Opened
    | Received
    | Closed
    | Persisted
    | PersistFailed
    | JobRunning
    | JobProgressed
    | JobRefused
    | JobEnded
    | JobStopped
    | UploadDone
    | UploadFailed
    | DeviceChanged
    | AdmissionChanged
    | CapabilitiesFound
    | Leaving
    | Tick
)


# --- actions ---


@dataclass(frozen=True, repr=False)
class Send(SharedRepr):
    """Say this on the open stream; it may get lost with the stream."""

    message: AgentMessage


@dataclass(frozen=True, repr=False)
class Persist(SharedRepr):
    """Store the ledger, then tell: `Persisted` or `PersistFailed` with its number.

    Later numbers replace earlier ones and must not be overtaken by them.
    """

    number: int
    ledger: Ledger


@dataclass(frozen=True, repr=False)
class StartJob(SharedRepr):
    """Prepare, run and collect the attempt; or go on with it where a former process left off."""

    key: AttemptKey
    order: bytes


@dataclass(frozen=True, repr=False)
class StopJob(SharedRepr):
    """End the attempt's job, whatever it is at; then tell `JobStopped` (or what came first)."""

    key: AttemptKey
    reason: str


@dataclass(frozen=True, repr=False)
class Upload(SharedRepr):
    """Hand over records after `after_seq`, at most `max_bytes`, their files before them.

    With `max_bytes` 0 no record is sent; the answer tells the credit.
    """

    key: AttemptKey
    after_seq: int
    max_bytes: int


@dataclass(frozen=True, repr=False)
class Acknowledge(SharedRepr):
    """Remember in the spool up to where the controller has the records."""

    key: AttemptKey
    through_seq: int


@dataclass(frozen=True, repr=False)
class Trim(SharedRepr):
    """Delete the attempt's large files: the controller has them, or wants none of them."""

    key: AttemptKey


@dataclass(frozen=True, repr=False)
class Forget(SharedRepr):
    """Delete all that is left of the attempt."""

    key: AttemptKey


@dataclass(frozen=True, repr=False)
class Reconnect(SharedRepr):
    """Drop the stream and dial again, not before `after_s`."""

    reason: str
    after_s: float = 0.0


@dataclass(frozen=True, repr=False)
class ReadAlong(SharedRepr):
    """Send what the attempt's job writes while the stream lasts; or do so no more."""

    attempt: AttemptRef
    wanted: bool


@dataclass(frozen=True, repr=False)
class Quit(SharedRepr):
    """All is said: close the stream and end the process."""


Action = (
    Send
    | Persist
    | StartJob
    | StopJob
    | Upload
    | Acknowledge
    | Trim
    | Forget
    | Reconnect
    | ReadAlong
    | Quit
)
