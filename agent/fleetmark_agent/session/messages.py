"""What an agent and its controller say, as plain dataclasses.

Only `net.grpc_codec` knows how these look on the wire; everything else of the agent works with
these. Durations end in `_s` here and are nanoseconds on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from fleetmark_agent.state.attempt_key import AttemptKey
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.records import Record
from fleetmark_core.shared_repr import SharedRepr


@dataclass(frozen=True, repr=False)
class AttemptRef(SharedRepr):
    """An attempt, named whole: every message about it carries all four."""

    device_id: str
    job_id: str
    epoch: int
    boot_id: str

    @property
    def key(self) -> AttemptKey:
        """What is left when device and process life are known."""
        return AttemptKey(self.job_id, self.epoch)


class AttemptState(Enum):
    """States that an agent reports; the value is the name on the wire."""

    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    UPLOADING = "UPLOADING"
    REFUSED = "REFUSED"
    ABORTED = "ABORTED"


@dataclass(frozen=True, repr=False)
class Progress(SharedRepr):
    """How far a job is; `total` 0 means that the end is not known."""

    phase: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, repr=False)
class AttemptReport(SharedRepr):
    """State of one attempt. `reason` and `retryable` matter when refused or aborted.

    Only a hello shows orders: for a controller that was restored from an older copy.
    """

    attempt: AttemptRef
    state: AttemptState
    progress: Progress | None = None
    reason: str = ""
    retryable: bool = False
    signed_order: bytes = b""


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
    """Presence, and the state of every held attempt."""

    sequence: int
    idle: bool
    attempts: tuple[AttemptReport, ...]
    temperature_c: float | None = None


@dataclass(frozen=True, repr=False)
class CapabilitiesChanged(SharedRepr):
    """The board's facts have changed since the hello."""

    capabilities: Capabilities


@dataclass(frozen=True, repr=False)
class Bye(SharedRepr):
    """The stream ends because its sender wants it; either side may say it."""

    reason: str
    retry_after_s: float = 0.0


@dataclass(frozen=True, repr=False)
class LogLines(SharedRepr):
    """A piece of what a job wrote, for those who read along; `offset` is its place in the file."""

    attempt: AttemptRef
    stream: str
    offset: int
    data: bytes
    end: bool = False


AgentMessage = Hello | Heartbeat | CapabilitiesChanged | AttemptReport | Bye | LogLines


# --- from the controller ---


@dataclass(frozen=True, repr=False)
class Verdict(SharedRepr):
    """What is to become of one attempt named in a hello."""

    attempt: AttemptRef
    stop: bool
    reason: str = ""


@dataclass(frozen=True, repr=False)
class Welcome(SharedRepr):
    """Answer to a hello: intervals, the controller's clock, a verdict on each attempt."""

    protocol: int
    controller_version: str
    controller_id: str
    heartbeat_idle_s: float
    heartbeat_running_s: float
    lease_s: float
    controller_time_unix_ns: int = 0
    features: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    catalog_sha256: str = ""


@dataclass(frozen=True, repr=False)
class HeartbeatAck(SharedRepr):
    """The controller has seen the heartbeat of this number."""

    sequence: int
    controller_time_unix_ns: int = 0


@dataclass(frozen=True, repr=False)
class Offer(SharedRepr):
    """Work: an attempt and the bytes of its order."""

    attempt: AttemptRef
    order: bytes


@dataclass(frozen=True, repr=False)
class Stop(SharedRepr):
    """End the attempt; or, if it has ended without a result, forget it."""

    attempt: AttemptRef
    reason: str = ""


@dataclass(frozen=True, repr=False)
class Tail(SharedRepr):
    """Somebody wants to read along what a job writes, or nobody does any more."""

    attempt: AttemptRef
    wanted: bool


ControllerMessage = Welcome | HeartbeatAck | Offer | Stop | Bye | Tail


# --- calls of their own ---


@dataclass(frozen=True, repr=False)
class Append(SharedRepr):
    """Records of one attempt, in order of seq; none of them asks only for credit."""

    attempt: AttemptRef
    records: tuple[Record, ...] = field(default=())


@dataclass(frozen=True, repr=False)
class Appended(SharedRepr):
    """What is stored for good, and how many more bytes are welcome."""

    through_seq: int
    credit_bytes: int
