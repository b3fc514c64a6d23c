"""The messages between agent and controller, as plain dataclasses.

Only `net.grpc_codec` knows their wire format; all other modules of the agent use these classes.
Durations end in `_s` here and are nanoseconds on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.records import Record
from fleetmark_core.shared_repr import SharedRepr


@dataclass(frozen=True, repr=False)
class AttemptRef(SharedRepr):
    """The full reference of an attempt; every message about an attempt carries all four fields."""

    device_id: str
    job_id: str
    epoch: int
    boot_id: str

    @property
    def key(self) -> LocalAttemptKey:
        """Key of the attempt within this device and this life of the agent process."""
        return LocalAttemptKey(self.job_id, self.epoch)


class ReportedState(Enum):
    """States that an agent reports; the value is the name on the wire."""

    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    UPLOADING = "UPLOADING"
    REFUSED = "REFUSED"
    ABORTED = "ABORTED"


@dataclass(frozen=True, repr=False)
class Progress(SharedRepr):
    """Progress of a job; `total` 0 means that the total is unknown."""

    phase: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, repr=False)
class AttemptReport(SharedRepr):
    """State of one attempt; `reason`, `retryable` and `cause` apply to REFUSED and ABORTED.

    Only a hello carries `signed_order`: for a controller that was restored from an older backup.
    """

    attempt: AttemptRef
    state: ReportedState
    progress: Progress | None = None
    reason: str = ""
    retryable: bool = False
    signed_order: bytes = b""
    cause: FailureCause | None = None


# --- from the agent ---


@dataclass(frozen=True, repr=False)
class Hello(SharedRepr):
    """First message of a stream."""

    agent_version: str
    features: tuple[str, ...]
    device_id: str
    name: str
    boot_id: str
    labels: dict[str, str]
    capabilities: Capabilities
    highest_epoch: int
    attempts: tuple[AttemptReport, ...]
    idle: bool
    locks: tuple[bytes, ...] = ()


@dataclass(frozen=True, repr=False)
class Heartbeat(SharedRepr):
    """Sign of life with the state of every held attempt."""

    sequence: int
    idle: bool
    attempts: tuple[AttemptReport, ...]
    temperature_c: float | None = None


@dataclass(frozen=True, repr=False)
class CapabilitiesChanged(SharedRepr):
    """The device's capabilities have changed since the hello."""

    capabilities: Capabilities


@dataclass(frozen=True, repr=False)
class Bye(SharedRepr):
    """The sender ends the stream; either side may send it."""

    reason: str
    retry_after_s: float = 0.0


@dataclass(frozen=True, repr=False)
class LogLines(SharedRepr):
    """A chunk of a job's output for an operator who follows it; `offset` is its file position."""

    attempt: AttemptRef
    stream: str
    offset: int
    data: bytes
    end: bool = False


AgentMessage = Hello | Heartbeat | CapabilitiesChanged | AttemptReport | Bye | LogLines


# --- from the controller ---


@dataclass(frozen=True, repr=False)
class AttemptDirective(SharedRepr):
    """The controller's decision about one attempt of a hello: continue or stop."""

    attempt: AttemptRef
    stop: bool
    reason: str = ""


@dataclass(frozen=True, repr=False)
class Welcome(SharedRepr):
    """Response to a hello: intervals, the controller's clock and a decision on each attempt."""

    protocol: int
    controller_version: str
    controller_id: str
    heartbeat_idle_s: float
    heartbeat_running_s: float
    lease_s: float
    controller_time_unix_ns: int = 0
    features: tuple[str, ...] = ()
    verdicts: tuple[AttemptDirective, ...] = ()
    catalog_sha256: str = ""


@dataclass(frozen=True, repr=False)
class HeartbeatAck(SharedRepr):
    """Response to the heartbeat with this sequence number."""

    sequence: int
    controller_time_unix_ns: int = 0


@dataclass(frozen=True, repr=False)
class Offer(SharedRepr):
    """An offered attempt and the bytes of its order."""

    attempt: AttemptRef
    order: bytes


@dataclass(frozen=True, repr=False)
class Stop(SharedRepr):
    """Request to end the attempt or, if it has ended without a result, to forget it."""

    attempt: AttemptRef
    reason: str = ""


@dataclass(frozen=True, repr=False)
class Tail(SharedRepr):
    """Request to start or stop streaming a job's output."""

    attempt: AttemptRef
    wanted: bool


ControllerMessage = Welcome | HeartbeatAck | Offer | Stop | Bye | Tail


# --- unary calls ---


@dataclass(frozen=True, repr=False)
class Append(SharedRepr):
    """Records of one attempt in order of seq; an empty tuple only asks for credit."""

    attempt: AttemptRef
    records: tuple[Record, ...] = field(default=())


@dataclass(frozen=True, repr=False)
class Appended(SharedRepr):
    """Response to `Append`: the highest seq stored durably, and the credit for further bytes."""

    through_seq: int
    credit_bytes: int
