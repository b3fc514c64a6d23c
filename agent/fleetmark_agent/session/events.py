"""What the session is told (events) and what it wants done (actions).

Plain values: the daemon and the simulator both produce the one and perform the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetmark_agent.session.messages import AgentMessage, AttemptRef, ControllerMessage, Progress
from fleetmark_agent.state.attempt_key import AttemptKey
from fleetmark_agent.state.ledger import Ledger
from fleetmark_core.capabilities import Capabilities

# --- events ---


@dataclass(frozen=True)
class Opened:
    """A stream to a controller is open; nothing was said yet."""


@dataclass(frozen=True)
class Received:
    """The controller said something."""

    message: ControllerMessage


@dataclass(frozen=True)
class Closed:
    """The stream is gone, for whatever reason."""

    reason: str = ""


@dataclass(frozen=True)
class Persisted:
    """The ledger of this number is durable."""

    number: int


@dataclass(frozen=True)
class PersistFailed:
    """The ledger of this number could not be stored; the one before still is."""

    number: int
    reason: str


@dataclass(frozen=True)
class JobRunning:
    """The attempt's job has been started, or was found running."""

    key: AttemptKey


@dataclass(frozen=True)
class JobProgressed:
    """The attempt is further than before."""

    key: AttemptKey
    progress: Progress


@dataclass(frozen=True)
class JobRefused:
    """The attempt could not be prepared; no job of it was ever started."""

    key: AttemptKey
    reason: str
    retryable: bool


@dataclass(frozen=True)
class JobEnded:
    """Nothing of the attempt runs any more; records 1 to `last_seq`, all there are, are spooled."""

    key: AttemptKey
    last_seq: int


@dataclass(frozen=True)
class JobStopped:
    """Nothing of the attempt runs any more, as `StopJob` wanted; it has no final record.

    `reason` is set when nobody wanted it: a fault of the agent itself.
    """

    key: AttemptKey
    reason: str = ""


@dataclass(frozen=True)
class UploadDone:
    """The controller answered: it has records up to `through_seq`, and room for `credit_bytes`."""

    key: AttemptKey
    through_seq: int
    credit_bytes: int
    nothing_sent: bool = False
    """Only the credit was asked for."""


@dataclass(frozen=True)
class UploadFailed:
    """Records could not be handed over this time."""

    key: AttemptKey
    reason: str


@dataclass(frozen=True)
class DeviceChanged:
    """The device's lock is held by somebody (`free` False) or by nobody."""

    free: bool


@dataclass(frozen=True)
class AdmissionChanged:
    """Why no new attempt may begin (a full spool, say); empty when one may."""

    obstacle: str


@dataclass(frozen=True)
class CapabilitiesFound:
    """The board's facts, as they are known now."""

    capabilities: Capabilities


@dataclass(frozen=True)
class Leaving:
    """The agent is asked to end."""

    reason: str


@dataclass(frozen=True)
class Tick:
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


@dataclass(frozen=True)
class Send:
    """Say this on the open stream; it may get lost with the stream."""

    message: AgentMessage


@dataclass(frozen=True)
class Persist:
    """Store the ledger, then tell: `Persisted` or `PersistFailed` with its number.

    Later numbers replace earlier ones and must not be overtaken by them.
    """

    number: int
    ledger: Ledger


@dataclass(frozen=True)
class StartJob:
    """Prepare, run and collect the attempt; or go on with it where a former process left off."""

    key: AttemptKey
    order: bytes


@dataclass(frozen=True)
class StopJob:
    """End the attempt's job, whatever it is at; then tell `JobStopped` (or what came first)."""

    key: AttemptKey
    reason: str


@dataclass(frozen=True)
class Upload:
    """Hand over records after `after_seq`, at most `max_bytes`, their files before them.

    With `max_bytes` 0 no record is sent; the answer tells the credit.
    """

    key: AttemptKey
    after_seq: int
    max_bytes: int


@dataclass(frozen=True)
class Acknowledge:
    """Remember in the spool up to where the controller has the records."""

    key: AttemptKey
    through_seq: int


@dataclass(frozen=True)
class Trim:
    """Delete the attempt's large files: the controller has them, or wants none of them."""

    key: AttemptKey


@dataclass(frozen=True)
class Forget:
    """Delete all that is left of the attempt."""

    key: AttemptKey


@dataclass(frozen=True)
class Reconnect:
    """Drop the stream and dial again, not before `after_s`."""

    reason: str
    after_s: float = 0.0


@dataclass(frozen=True)
class ReadAlong:
    """Send what the attempt's job writes while the stream lasts; or do so no more."""

    attempt: AttemptRef
    wanted: bool


@dataclass(frozen=True)
class Quit:
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
