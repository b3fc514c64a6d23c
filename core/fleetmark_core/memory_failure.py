"""A job that ran out of memory: how it is recognized, and the figures that are reported. Pure.

The agent sees the job's exit code, its signal, its last error message, the kernel's counters of
killed processes and the limits of the sandbox. Runtimes report a failed allocation in their own
words:

| Source | Message |
|---|---|
| ONNX Runtime, BFC arena | `Failed to allocate memory for requested buffer of size 4294967296` |
| C++ | `std::bad_alloc` |
| Python | `MemoryError` |
| NumPy | `Unable to allocate 4.00 GiB for an array with shape …` |
| TensorFlow Lite with XNNPACK | `failed to allocate 4294967296 bytes for … operator` |
| OpenVINO, oneDNN | `could not allocate memory`, `Can not allocate 4294967296 bytes` |
| OpenCV | `Insufficient memory … Failed to allocate 4294967296 bytes` |
| PyTorch | `DefaultCPUAllocator: not enough memory: you tried to allocate 4294967296 bytes` |
| CUDA | `CUDA out of memory. Tried to allocate 2.00 GiB` |
| C library | `Cannot allocate memory` (ENOMEM), also of `mmap` and `fork` |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fleetmark_core.resource_model import size

OUT_OF_MEMORY = (
    r"bad[_ ]alloc|\bMemoryError\b|\bENOMEM\b|out of memory|(not enough|insufficient) memory"
    r"|memory allocation failed|memory exhausted"
    r"|(failed|unable|not able|tried) to allocate(?! tensors)"
    r"|(cannot|can not|could not|can't|couldn't) allocate(?! tensors)"
)
"""Equals `OUT_OF_MEMORY` of fleetmark_harness.exit_codes. A model whose tensors cannot be allocated
for another reason, such as an unknown shape, is not out of memory."""
MOST_BYTES = 1 << 50
"""Larger requests result from an overflow; they say nothing about the memory that a job needs."""

_OUT_OF_MEMORY = re.compile(OUT_OF_MEMORY, re.IGNORECASE)
_EARLIER = re.compile(r"(?:failed|unable) to allocate \d+ bytes", re.IGNORECASE)
"""A message of a library before the last error, which names only the operation that failed."""
_ACCELERATOR = re.compile(
    r"\bcuda|\bgpu\b|\bhip\b|opencl|vulkan|device memory|tensorrt", re.IGNORECASE
)
_REQUESTED = re.compile(
    r"(?P<named>(?:size|bytes)(?: of)?\W{0,3})?(?<![\w.])(?P<number>\d{1,25}(?:\.\d{1,10})?)"
    r"\s{0,2}(?P<unit>bytes?|[kmgt]i?b|b)?(?![\w.]*\w)",
    re.IGNORECASE,
)
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True)
class MemoryFailure:
    """The figures of a job that ran out of memory; None: unknown.

    `requested_bytes` is the allocation that failed. `used_bytes` is the job's peak. `limit_bytes`
    is the limit that applied to the job: of its sandbox or of a control group. `available_bytes` is
    the memory that was free on the device when the job started. `is_accelerator`: the memory of an
    accelerator was exhausted, to which the limits do not apply.
    """

    requested_bytes: int | None = None
    used_bytes: int | None = None
    limit_bytes: int | None = None
    available_bytes: int | None = None
    is_accelerator: bool = False

    def text(self) -> str:
        """Return the failure as text with all known figures: what was asked, what there is."""
        parts = []
        if self.requested_bytes is not None:
            parts.append(f"requested {size(self.requested_bytes)} at once")
        if self.used_bytes:
            parts.append(f"used up to {size(self.used_bytes)}")
        if self.is_accelerator:
            return _sentence("the memory of an accelerator is exhausted", parts)
        if self.limit_bytes:
            parts.append(f"may use {size(self.limit_bytes)}")
        elif self.available_bytes is not None:
            parts.append(f"started with {size(self.available_bytes)} available")
        return _sentence("out of memory", parts)

    def needed_bytes(self) -> int | None:
        """Return a lower bound of what the job needs; None if the figures give none."""
        if self.is_accelerator:
            return None
        found = [self.limit_bytes or 0]
        if self.requested_bytes is not None and self.requested_bytes <= MOST_BYTES:
            found.append(self.requested_bytes + (self.used_bytes or 0))
        return max(found) or None

    def as_provenance(self) -> dict[str, Any]:
        """Return the known figures by name; `parse_memory_failure` reads them."""
        values = {name: getattr(self, name) for name in _FIGURES}
        known = {name: value for name, value in values.items() if value is not None}
        return {**known, **({"is_accelerator": True} if self.is_accelerator else {})}


_FIGURES = ("requested_bytes", "used_bytes", "limit_bytes", "available_bytes")


def parse_memory_failure(values: object) -> MemoryFailure | None:
    """Return the failure that a device reported; None if it reported none. Drop wrong figures."""
    if not isinstance(values, dict):
        return None
    found: dict[str, int] = {}
    for name in _FIGURES:
        value = values.get(name)
        if type(value) is int and 0 < value <= MOST_BYTES:
            found[name] = value
    return MemoryFailure(**found, is_accelerator=values.get("is_accelerator") is True)


def is_out_of_memory(message: str) -> bool:
    """Return whether an error message says that memory could not be allocated."""
    return _OUT_OF_MEMORY.search(message) is not None


def is_of_accelerator(message: str) -> bool:
    """Return whether the memory that could not be allocated is that of an accelerator."""
    return _ACCELERATOR.search(message) is not None


def earlier_message(written: str) -> str:
    """Return the last line of a program's output with which a library reports a lack of memory."""
    lines = [line.strip() for line in written.splitlines() if _EARLIER.search(line)]
    return lines[-1] if lines else ""


def requested_bytes(message: str) -> int | None:
    """Return the size of the allocation that failed; None if the message does not say it.

    A number counts if it has a unit, or if `size` or `bytes` is in front of it.
    """
    start = re.search("alloc", message, re.IGNORECASE)
    for found in _REQUESTED.finditer(message, start.start() if start else len(message)):
        unit = (found["unit"] or "").lower()
        if not unit and not found["named"]:
            continue
        factor = (1024 if "i" in unit else 1000) ** _POWERS.get(unit[:1], 0)
        number = found["number"]
        return int(float(number) * factor) if "." in number else int(number) * factor
    return None


def _sentence(what: str, parts: list[str]) -> str:
    if not parts:
        return what
    listed = " and ".join(([", ".join(parts[:-1])] if parts[1:] else []) + parts[-1:])
    return f"{what}: it {listed}"
