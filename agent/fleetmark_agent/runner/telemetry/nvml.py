"""Energy of NVIDIA GPUs, from NVIDIA's management library if it is installed.

The library `libnvidia-ml.so.1` comes with the driver and is loaded with ctypes, so that Fleetmark
needs no further dependency. Functions and units are those of NVIDIA's NVML API reference:
nvmlDeviceGetTotalEnergyConsumption gives millijoules since the driver was loaded,
nvmlDeviceGetPowerUsage milliwatts.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from fleetmark_agent.runner.telemetry.power_source import COUNTER, GPU, POWER, PowerSupply

_LIBRARY = "libnvidia-ml.so.1"
_MOST_DEVICES = 64


def sources(load: Callable[[str], Any] = ctypes.CDLL) -> list[PowerSupply]:
    """Return one source per GPU; empty without a library, a driver or a reading."""
    try:
        library = load(_LIBRARY)
        if library.nvmlInit_v2() != 0:
            return []
        count = ctypes.c_uint(0)
        if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
    except (OSError, AttributeError):
        return []
    found = []
    for number in range(min(count.value, _MOST_DEVICES)):
        source = _source(library, number)
        if source is not None:
            found.append(source)
    return found


def _source(library: Any, number: int) -> PowerSupply | None:
    handle = ctypes.c_void_p()
    try:
        if library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(handle)) != 0:
            return None
        for kind, function, type_ in (
            (COUNTER, library.nvmlDeviceGetTotalEnergyConsumption, ctypes.c_ulonglong),
            (POWER, library.nvmlDeviceGetPowerUsage, ctypes.c_uint),
        ):
            reader = _reader(function, handle, type_)
            if reader() is not None:
                return PowerSupply(f"nvml gpu {number}", GPU, kind, 1e-3, reader)
    except AttributeError:
        return None
    return None


def _reader(function: Any, handle: ctypes.c_void_p, type_: Any) -> Callable[[], int | None]:
    def value() -> int | None:
        reading = type_(0)
        return int(reading.value) if function(handle, ctypes.byref(reading)) == 0 else None

    return value
