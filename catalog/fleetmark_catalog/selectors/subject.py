"""The view of a device that selectors evaluate: its name, labels and facts, by selector key."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from fleetmark_core.capabilities import Capabilities

ALIASES = {
    "aarch64": "arm64",
    "arm64e": "arm64",
    "amd64": "x86_64",
    "x64": "x86_64",
    "armv7l": "armv7",
    "armhf": "armv7",
    "armv6l": "armv6",
    "i386": "x86",
    "i686": "x86",
}
"""Other names of architectures. Both sides of a comparison are converted with this table."""

ONLINE = "online"
"""Holds while a device is connected to its controller; wins over a label of this name."""

VOCABULARY = frozenset(
    {"arm64", "armv7", "armv6", "x86", "x86_64", "riscv64", *ALIASES, ONLINE}
    | {"linux", "macos", "android", "windows"}
    | {"rpi3", "rpi4", "rpi5", "cm4", "jetson", "jetson-orin", "rk3588", "bcm2711", "tegra234"}
    | {"cuda", "tensorrt", "gpu", "npu", "tpu"}
    | {"onnxruntime", "tflite-runtime", "ai-edge-litert", "container", "vm"}
)
"""Words that are valid even if no current device has them."""

_SIZE = "size"
_NUMBER = "number"
_TEXT = "text"
_VERSION = "version"
_UNITS = {
    **{"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12},
    **{"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40},
    **{"hz": 1, "khz": 10**3, "mhz": 10**6, "ghz": 10**9},
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)")


@dataclass(frozen=True)
class Fact:
    """The type of a fact and its accessor; no values mean that the device does not offer it."""

    kind: str
    values: Callable[[Capabilities], tuple[str | int | float, ...]]


def _maybe(*values: str | int | None) -> tuple[str | int | float, ...]:
    return tuple(value for value in values if value is not None and value != "")


def _socs(compatible: str | None) -> tuple[str, ...]:
    """Return the names without their vendors: `rk3588` of `rockchip,rk3588`."""
    return tuple(word.partition(",")[2] or word for word in (compatible or "").split())


FACTS: dict[str, Fact] = {
    "arch": Fact(_TEXT, lambda c: _maybe(c.arch)),
    "os": Fact(_TEXT, lambda c: _maybe(c.os.family, c.os.name)),
    "os_version": Fact(_VERSION, lambda c: _maybe(c.os.version)),
    "kernel": Fact(_VERSION, lambda c: _maybe(c.os.kernel)),
    "libc": Fact(_TEXT, lambda c: _maybe(c.os.libc)),
    "libc_version": Fact(_VERSION, lambda c: _maybe(c.os.libc_version)),
    "board": Fact(_TEXT, lambda c: _maybe(c.board.model)),
    "vendor": Fact(_TEXT, lambda c: _maybe(c.board.vendor)),
    "soc": Fact(_TEXT, lambda c: _socs(c.board.soc)),
    "container": Fact(_TEXT, lambda c: _maybe(c.board.container)),
    "virtualization": Fact(_TEXT, lambda c: _maybe(c.board.virtualization)),
    "cpu": Fact(_TEXT, lambda c: _maybe(c.cpu.model)),
    "cpu_vendor": Fact(_TEXT, lambda c: _maybe(c.cpu.vendor)),
    "cpu_feature": Fact(_TEXT, lambda c: c.cpu.features),
    "cores": Fact(_NUMBER, lambda c: _maybe(c.cpu.usable_cores)),
    "logical_cores": Fact(_NUMBER, lambda c: _maybe(c.cpu.logical_cores)),
    "frequency": Fact(_NUMBER, lambda c: _maybe(c.cpu.max_frequency_hz)),
    "memory": Fact(_SIZE, lambda c: _maybe(_usable_memory(c))),
    "swap": Fact(_SIZE, lambda c: _maybe(c.memory.swap_bytes)),
    "storage": Fact(_SIZE, lambda c: _maybe(c.storage.total_bytes)),
    "free": Fact(_SIZE, lambda c: _maybe(c.storage.free_bytes)),
    "python": Fact(_VERSION, lambda c: tuple(i.version for i in c.interpreters)),
    "accelerator": Fact(
        _TEXT, lambda c: tuple(w for a in c.accelerators for w in _maybe(a.kind, a.name))
    ),
    "sensor": Fact(_TEXT, lambda c: tuple(sorted({s.kind for s in c.sensors}))),
}
"""Facts by the key that selectors use."""


def _usable_memory(capabilities: Capabilities) -> int:
    memory = capabilities.memory
    limit = memory.limit_bytes
    return memory.total_bytes if limit is None else min(limit, memory.total_bytes)


@dataclass(frozen=True)
class Subject:
    """One device as selectors see it."""

    name: str
    labels: dict[str, str]
    capabilities: Capabilities
    online: bool | None = None
    """True if it is connected; None if the caller does not know: then it does not match `online`.
    """

    @cached_property
    def tags(self) -> frozenset[str]:
        """All words that apply to the device, in canonical form."""
        facts = self.capabilities
        words = {*facts.tags, facts.arch, facts.os.family, *(s.name for s in facts.software)}
        return frozenset(canonical(word) for word in words if word)

    def words(self) -> set[str]:
        """Return all keys that this device can be compared by."""
        return {"name", *FACTS, *self.labels, *(s.name for s in self.capabilities.software)}

    def lookup(self, key: str) -> tuple[str, tuple[str | int | float, ...]] | None:
        """Return type and values of `key`, or None if the device has nothing of this name.

        A key is the name, a fact, a label or the version of a software, in this order.
        """
        if key == "name":
            return _TEXT, (self.name,)
        if key in FACTS:
            return FACTS[key].kind, FACTS[key].values(self.capabilities)
        if key in self.labels:
            return _TEXT, (self.labels[key],)
        versions = tuple(
            s.version for s in self.capabilities.software if canonical(s.name) == canonical(key)
        )
        return (_VERSION, versions) if versions else None


def canonical(word: str) -> str:
    """Return the word in lower case, with one word per architecture."""
    lower = word.strip().lower()
    return ALIASES.get(lower, lower)


def readable_size(size_bytes: float) -> str:
    """Return a byte count as text like `3.7 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size_bytes) < 1024 or unit == "GiB":
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= 1024
    raise AssertionError


def quantity(text: str) -> float | None:
    """Return the number that `4GiB`, `1.5GHz` or `8` represents, or None for other text."""
    match = _QUANTITY.fullmatch(text.strip())
    factor = _UNITS.get(match[2].lower()) if match else None
    return None if match is None or factor is None else float(match[1]) * factor
