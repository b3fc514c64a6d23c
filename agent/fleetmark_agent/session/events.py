"""Events that the session receives and actions that it returns.

They are plain values: the daemon and the simulator produce the events and perform the actions.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetmark_agent.session.messages import AgentMessage, AttemptRef, ControllerMessage, Progress
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.ledger import Ledger
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.shared_repr import SharedRepr

# --- events ---


@dataclass(frozen=True, repr=False)
class StreamOpened(SharedRepr):
    """Event: a stream to a controller is open; no message was exchanged yet."""


@dataclass(frozen=True, repr=False)
class MessageReceived(SharedRepr):
    """Event: a message from the controller arrived."""

    message: ControllerMessage


@dataclass(frozen=True, repr=False)
class StreamClosed(SharedRepr):
    """Event: the stream is closed, for any reason."""

    reason: str = ""


@dataclass(frozen=True, repr=False)
class Persisted(SharedRepr):
    """Event: the ledger with this number is durable."""

    number: int


@dataclass(frozen=True, repr=False)
class PersistFailed(SharedRepr):
    """Event: the ledger with this number could not be stored; the previous one is unchanged."""

    number: int
    reason: str


@dataclass(frozen=True, repr=False)
class JobRunning(SharedRepr):
    """Event: the attempt's job was started, or was found running."""

    key: LocalAttemptKey


@dataclass(frozen=True, repr=False)
class JobProgressed(SharedRepr):
    """Event: the attempt made progress."""

    key: LocalAttemptKey
    progress: Progress


@dataclass(frozen=True, repr=False)
class JobRefused(SharedRepr):
    """Event: the attempt could not be prepared; its job was never started."""

    key: LocalAttemptKey
    reason: str
    retryable: bool
    cause: FailureCause


@dataclass(frozen=True, repr=False)
class JobEnded(SharedRepr):
    """Event: no process of the attempt runs; all its records, 1 to `last_seq`, are spooled."""

    key: LocalAttemptKey
    last_seq: int


@dataclass(frozen=True, repr=False)
class JobStopped(SharedRepr):
    """Event: no process of the attempt runs, because of `StopJob`; it has no final record.

    `reason` is set if the stop was not requested but caused by a fault of the agent.
    """

    key: LocalAttemptKey
    reason: str = ""


@dataclass(frozen=True, repr=False)
class UploadDone(SharedRepr):
    """Event: the controller has records up to `through_seq` and grants `credit_bytes`."""

    key: LocalAttemptKey
    through_seq: int
    credit_bytes: int
    nothing_sent: bool = False
    """True if the upload only asked for credit."""


@dataclass(frozen=True, repr=False)
class UploadFailed(SharedRepr):
    """Event: an upload failed; it is retried later."""

    key: LocalAttemptKey
    reason: str


@dataclass(frozen=True, repr=False)
class DeviceChanged(SharedRepr):
    """Event: the device's file lock became free, or was taken by a process (`free` False)."""

    free: bool


@dataclass(frozen=True, repr=False)
class AdmissionChanged(SharedRepr):
    """Event: the reason why no new attempt may start (a full spool, for example) has changed.

    It is empty if an attempt may start.
    """

    obstacle: str


@dataclass(frozen=True, repr=False)
class CapabilitiesFound(SharedRepr):
    """Event: the device's capabilities were measured."""

    capabilities: Capabilities


@dataclass(frozen=True, repr=False)
class ShutdownRequested(SharedRepr):
    """Event: the agent was asked to exit."""

    reason: str


@dataclass(frozen=True, repr=False)
class TimerFired(SharedRepr):
    """Event: time has passed."""


Event = (
    StreamOpened
    | MessageReceived
    | StreamClosed
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
    | ShutdownRequested
    | TimerFired
)


# --- actions ---


@dataclass(frozen=True, repr=False)
class Send(SharedRepr):
    """Action: send the message on the open stream; it may be lost with the stream."""

    message: AgentMessage


@dataclass(frozen=True, repr=False)
class Persist(SharedRepr):
    """Action: store the ledger, then report `Persisted` or `PersistFailed` with its number.

    A later number replaces an earlier one; an earlier ledger must not overwrite a later one.
    """

    number: int
    ledger: Ledger


@dataclass(frozen=True, repr=False)
class StartJob(SharedRepr):
    """Action: prepare, run and collect the attempt, or resume it after an agent restart."""

    key: LocalAttemptKey
    order: bytes


@dataclass(frozen=True, repr=False)
class StopJob(SharedRepr):
    """Action: end the attempt's job in any phase, then report `JobStopped` or an earlier end."""

    key: LocalAttemptKey
    reason: str


@dataclass(frozen=True, repr=False)
class Upload(SharedRepr):
    """Action: upload records after `after_seq`, at most `max_bytes`, and their files before them.

    If `max_bytes` is 0, no record is sent and the response only updates the credit.
    """

    key: LocalAttemptKey
    after_seq: int
    max_bytes: int


@dataclass(frozen=True, repr=False)
class Acknowledge(SharedRepr):
    """Action: store in the spool that the controller has all records up to `through_seq`."""

    key: LocalAttemptKey
    through_seq: int


@dataclass(frozen=True, repr=False)
class DeleteLargeFiles(SharedRepr):
    """Action: delete the attempt's large files; the controller has them or does not want them."""

    key: LocalAttemptKey


@dataclass(frozen=True, repr=False)
class DeleteAttempt(SharedRepr):
    """Action: delete all remaining data of the attempt."""

    key: LocalAttemptKey


@dataclass(frozen=True, repr=False)
class Reconnect(SharedRepr):
    """Action: drop the stream and reconnect, not before `after_s` seconds."""

    reason: str
    after_s: float = 0.0


@dataclass(frozen=True, repr=False)
class SetLogTail(SharedRepr):
    """Action: start or stop streaming the output of the attempt's job, while the stream lasts."""

    attempt: AttemptRef
    wanted: bool


@dataclass(frozen=True, repr=False)
class Quit(SharedRepr):
    """Action: close the stream and exit; everything was sent."""


Action = (
    Send
    | Persist
    | StartJob
    | StopJob
    | Upload
    | Acknowledge
    | DeleteLargeFiles
    | DeleteAttempt
    | Reconnect
    | SetLogTail
    | Quit
)
