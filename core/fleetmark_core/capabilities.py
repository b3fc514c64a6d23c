"""Capabilities: the typed facts of a device, measured by its agent.

A field that is None is *unavailable*: the device does not offer that reading. None never means
zero. The wire format `protos/fleetmark_protos/v1/capabilities.proto` has the same fields.
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
    """The hardware model, from the device tree or DMI, and the container or virtual machine.

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
    """The processor; `usable_cores` is the number left by affinity and the tightest CPU quota.

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
    """Main memory; `limit_bytes` is the lowest cgroup or process limit that is below the total."""

    total_bytes: int
    swap_bytes: int
    limit_bytes: int | None = None


@dataclass(frozen=True, repr=False)
class Storage(SharedRepr):
    """The file system that holds the agent's home.

    `cache_bytes` is the size of the agent's cache of earlier jobs. A new job either reuses cached
    content, or the agent evicts it to make room.
    """

    total_bytes: int
    free_bytes: int
    cache_bytes: int = 0


@dataclass(frozen=True, repr=False)
class Accelerator(SharedRepr):
    """A processor besides the CPU that can run models: gpu, npu, tpu, dsp."""

    kind: str
    name: str
    vendor: str | None = None
    driver_version: str | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, repr=False)
class Sensor(SharedRepr):
    """A reading that the device offers: temperature, frequency, power, battery."""

    kind: str
    name: str
    source: str


@dataclass(frozen=True, repr=False)
class Software(SharedRepr):
    """Software that was found on the device and proved to run."""

    name: str
    version: str
    path: str
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, repr=False)
class Interpreter(SharedRepr):
    """A Python interpreter that jobs may use, with the wheel tags (PEP 425) that it accepts."""

    path: str
    version: str
    implementation: str
    abis: tuple[str, ...]
    platforms: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Control(SharedRepr):
    """A device setting that a run may change: governor, power mode, clocks, affinity, priority."""

    name: str
    writable: bool
    current: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Shortfall(SharedRepr):
    """A stronger sandbox feature that the device lacks: what, why, and how to get it."""

    what: str
    reason: str
    remedy: str


@dataclass(frozen=True, repr=False)
class Sandbox(SharedRepr):
    """The sandbox that jobs run in, proven by running it.

    `level` is one of `fleetmark_core.sandbox_levels.LEVELS`. `network` is how jobs are kept off the
    network: `namespace`, `tcp` (UDP stays open) or `open`. `user` is the number of the jobs' own
    user where the agent is root. `control_group` is the folder in which jobs get control groups.
    """

    level: str
    network: str = "open"
    user: int | None = None
    control_group: str | None = None
    shortfalls: tuple[Shortfall, ...] = ()


@dataclass(frozen=True, repr=False)
class Capabilities(SharedRepr):
    """All facts of one device, and the tags that follow from them."""

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
