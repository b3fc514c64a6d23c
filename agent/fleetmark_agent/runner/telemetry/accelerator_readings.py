"""Clocks and load of GPUs and NPUs while a job runs, as the kernel or NVIDIA's library tells them.

| reading | source |
|---|---|
| load of a Rockchip NPU | /sys/kernel/debug/rknpu/load, which only root may read |
| load of a Jetson's GPU | /sys/devices/…/load, in thousandths |
| clocks of GPUs and NPUs | /sys/class/devfreq |
| clocks of NVIDIA GPUs, and why they are lowered | libnvidia-ml |

A run has the lowest, mean and highest value of each. Loaded only beside a job.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fleetmark_agent.fingerprint import sysfs
from fleetmark_agent.runner.telemetry import nvml

RKNPU_LOAD = "sys/kernel/debug/rknpu/load"
_JETSON_LOADS = (
    *("sys/devices/gpu.0/load", "sys/devices/platform/gpu.0/load"),
    *("sys/devices/platform/bus@0/*.gpu/load", "sys/devices/platform/*.gpu/load"),
)
_CLOCKED = re.compile(r"npu|gpu|mali|gv11b|gp10b|ga10b|gb10b", re.IGNORECASE)
_CORE = re.compile(r"(?:Core\d+|load):\s*(\d{1,3})\s*%", re.IGNORECASE)
_MOST_READINGS = 64
_EACH_SAMPLES = 60

Reader = Callable[[], "float | None"]


class AcceleratorReadings:
    """Readings of one device. What can be read is found once, at creation."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Find the readings that the device offers now."""
        found = dict(_readers(root))
        if root == Path("/"):
            found.update(nvml.clocks())
        self._readers = dict(list(found.items())[:_MOST_READINGS])
        self._reasons = nvml.throttle_reasons() if root == Path("/") else {}
        self._seen: dict[str, list[float]] = {}
        self._lowered: dict[str, int] = {}
        self._count = 0

    def sample(self) -> None:
        """Read all values once."""
        self._count += 1
        for name, read in self._readers.items():
            value = read()
            if value is not None:
                low, total, high, count = self._seen.get(name, [value, 0.0, value, 0])
                self._seen[name] = [min(low, value), total + value, max(high, value), count + 1]
        for name, bits in self._reasons.items():
            self._lowered[name] = self._lowered.get(name, 0) | (bits() or 0)

    def is_due(self) -> bool:
        """Return whether the summary is to be written now: the job's end may come unnoticed."""
        count = self._count
        return bool(self._seen or self._lowered) and (
            count & (count - 1) == 0 or count % _EACH_SAMPLES == 0
        )

    def summary(self) -> dict[str, Any]:
        """Return the lowest, mean and highest value of each reading, and reasons for low clocks."""
        found: dict[str, Any] = {
            name: {"min": low, "mean": round(total / count, 2), "max": high}
            for name, (low, total, high, count) in self._seen.items()
        }
        found.update({f"{name} throttle_reasons": bits for name, bits in self._lowered.items()})
        return found


def npu_load_percent(root: Path) -> float | None:
    """Return the mean load of the cores of a Rockchip NPU."""
    loads = [int(value) for value in _CORE.findall(sysfs.text(root / RKNPU_LOAD) or "")]
    # The word `load:` only precedes the figure where the NPU has a single core.
    return round(sum(loads) / len(loads), 1) if loads else None


def _readers(root: Path) -> Iterator[tuple[str, Reader]]:
    if npu_load_percent(root) is not None:
        yield "rknpu load_percent", lambda: npu_load_percent(root)
    for pattern in _JETSON_LOADS:
        path = next(root.glob(pattern), None)
        if path is not None and sysfs.whole(path) is not None:
            yield "gpu load_percent", _scaled(path, 0.1)
            break
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        path = folder / "cur_freq"
        name = sysfs.printable(folder.name, 60)
        if name and _CLOCKED.search(name) and sysfs.whole(path) is not None:
            yield f"{name} clock_mhz", _scaled(path, 1e-6)


def _scaled(path: Path, unit: float) -> Reader:
    def value() -> float | None:
        found = sysfs.whole(path)
        return None if found is None else round(found * unit, 3)

    return value
