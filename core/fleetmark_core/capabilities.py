"""What a board is and has: typed facts measured by its agent.

A field that is None is *unavailable*: the board does not offer that reading. It is never a zero.
The wire's twin is `protos/fleetmark_protos/v1/capabilities.proto`, field by field.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetmark_core.shared_repr import SharedRepr


@dataclass(frozen=True, repr=False)
class Os(SharedRepr):
    """The operating system: family (linux, macos, android), name, version, kernel and C library."""

    family: str
    name: str
    version: str
    kernel: str
    libc: str | None = None
    libc_version: str | None = None


@dataclass(frozen=True, repr=False)
class Board(SharedRepr):
    """The product, from the device tree or DMI, and what contains it.

    `soc`: what the device tree's `compatible` names after the device itself, the system on chip
    last: `rockchip,rk3588`.
    """

    model: str | None = None
    vendor: str | None = None
    container: str | None = None
    virtualization: str | None = None
    soc: str | None = None


@dataclass(frozen=True, repr=False)
class Cpu(SharedRepr):
    """The processor; `usable_cores` is what affinity and the tightest CPU quota leave.

    `quota_cores`: how many cores' time the tightest quota of the agent's control groups allows.
    """

    logical_cores: int
    usable_cores: int
    model: str | None = None
    vendor: str | None = None
    physical_cores: int | None = None
    max_frequency_hz: int | None = None
    features: tuple[str, ...] = ()
    quota_cores: float | None = None


@dataclass(frozen=True, repr=False)
class Memory(SharedRepr):
    """Main memory; `limit_bytes` is the lowest limit of cgroup or process below the total."""

    total_bytes: int
    swap_bytes: int
    limit_bytes: int | None = None


@dataclass(frozen=True, repr=False)
class Storage(SharedRepr):
    """The file system that holds the agent's home.

    `cache_bytes` are what the agent keeps of former jobs: a new one finds there what it needs, or
    the agent gives it up.
    """

    total_bytes: int
    free_bytes: int
    cache_bytes: int = 0


@dataclass(frozen=True, repr=False)
class Accelerator(SharedRepr):
    """A device besides the CPU that can run models: gpu, npu, tpu, dsp."""

    kind: str
    name: str
    vendor: str | None = None
    driver_version: str | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, repr=False)
class Sensor(SharedRepr):
    """A reading that the board offers: temperature, frequency, power, battery."""

    kind: str
    name: str
    source: str


@dataclass(frozen=True, repr=False)
class Software(SharedRepr):
    """Software that was found on the board and proved to run."""

    name: str
    version: str
    path: str
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Interpreter(SharedRepr):
    """A Python that jobs may use, with the tags (PEP 425) of the wheels that fit it."""

    path: str
    version: str
    implementation: str
    abis: tuple[str, ...]
    platforms: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Control(SharedRepr):
    """A setting of the board that a run may want to change: governor, affinity, priority."""

    name: str
    writable: bool
    current: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Shortfall(SharedRepr):
    """Something stronger that the board does not reach: what, why, and what would change that."""

    what: str
    reason: str
    remedy: str


@dataclass(frozen=True, repr=False)
class Sandbox(SharedRepr):
    """What jobs run in, proven by running it; `level` is one of `core.sandbox.LEVELS`.

    `network`: how jobs are kept from it: `namespace`, `tcp` (UDP stays open) or `open`. `user`:
    number of the jobs' own user, where the agent is root. `control_group`: folder in which jobs
    get control groups.
    """

    level: str
    network: str = "open"
    user: int | None = None
    control_group: str | None = None
    shortfalls: tuple[Shortfall, ...] = ()


@dataclass(frozen=True, repr=False)
class Capabilities(SharedRepr):
    """All facts of one board, and the tags that follow from them."""

    os: Os
    arch: str
    board: Board
    cpu: Cpu
    memory: Memory
    storage: Storage
    accelerators: tuple[Accelerator, ...] = ()
    sensors: tuple[Sensor, ...] = ()
    software: tuple[Software, ...] = ()
    interpreters: tuple[Interpreter, ...] = ()
    controls: tuple[Control, ...] = ()
    tags: tuple[str, ...] = ()
    sandbox: Sandbox | None = None
