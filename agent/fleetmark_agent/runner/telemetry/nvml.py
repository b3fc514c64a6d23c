"""Energy and clocks of NVIDIA GPUs, from NVIDIA's management library if it is installed.

The library `libnvidia-ml.so.1` comes with the driver and is loaded with ctypes, so that Fleetmark
needs no further dependency. Functions and units are those of NVIDIA's NVML API reference:
nvmlDeviceGetTotalEnergyConsumption gives millijoules since the driver was loaded,
nvmlDeviceGetPowerUsage milliwatts, nvmlDeviceGetClockInfo MHz, and
nvmlDeviceGetCurrentClocksThrottleReasons the bits of the reasons for which a clock is lowered.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fleetmark_agent.runner.telemetry.power_source import COUNTER, GPU, POWER, PowerSupply

_LIBRARY = "libnvidia-ml.so.1"
_MOST_DEVICES = 64
_CLOCKS = {"sm_mhz": 1, "memory_mhz": 2}
"""NVML's numbers of the clocks of the processors and of the memory."""


def sources(load: Callable[[str], Any] = ctypes.CDLL) -> list[PowerSupply]:
    """Return one source per GPU; empty without a library, a driver or a reading."""
    library, handles = _devices(load)
    found = (_source(library, number, handle) for number, handle in handles.items())
    return [source for source in found if source is not None]


def clocks(load: Callable[[str], Any] = ctypes.CDLL) -> dict[str, Callable[[], int | None]]:
    """Return a reader for each clock that a GPU has now, by name: `nvml gpu 0 sm_mhz`."""
    library, handles = _devices(load)
    found: dict[str, Callable[[], int | None]] = {}
    for number, handle in handles.items():
        for name, domain in _CLOCKS.items():
            reader = _clock_reader(library, handle, domain)
            if reader is not None and reader() is not None:
                found[f"nvml gpu {number} {name}"] = reader
    return found


def throttle_reasons(
    load: Callable[[str], Any] = ctypes.CDLL,
) -> dict[str, Callable[[], int | None]]:
    """Return a reader of the reasons for lower clocks, for each GPU that tells them."""
    library, handles = _devices(load)
    found: dict[str, Callable[[], int | None]] = {}
    for number, handle in handles.items():
        with suppress(AttributeError):
            function = library.nvmlDeviceGetCurrentClocksThrottleReasons
            reader = _reader(function, handle, ctypes.c_ulonglong)
            if reader() is not None:
                found[f"nvml gpu {number}"] = reader
    return found


def _devices(load: Callable[[str], Any]) -> tuple[Any, dict[int, ctypes.c_void_p]]:
    """Return the library and the GPUs by number; none without a library or a driver."""
    handles: dict[int, ctypes.c_void_p] = {}
    try:
        library = load(_LIBRARY)
        count = ctypes.c_uint(0)
        if library.nvmlInit_v2() == 0 and library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0:
            for number in range(min(count.value, _MOST_DEVICES)):
                handle = ctypes.c_void_p()
                wanted = ctypes.c_uint(number)
                if library.nvmlDeviceGetHandleByIndex_v2(wanted, ctypes.byref(handle)) == 0:
                    handles[number] = handle
    except (OSError, AttributeError):
        return None, {}
    return library, handles


def _source(library: Any, number: int, handle: ctypes.c_void_p) -> PowerSupply | None:
    with suppress(AttributeError):
        for kind, function, type_ in (
            (COUNTER, library.nvmlDeviceGetTotalEnergyConsumption, ctypes.c_ulonglong),
            (POWER, library.nvmlDeviceGetPowerUsage, ctypes.c_uint),
        ):
            reader = _reader(function, handle, type_)
            if reader() is not None:
                return PowerSupply(f"nvml gpu {number}", GPU, kind, 1e-3, reader)
    return None


def _clock_reader(
    library: Any, handle: ctypes.c_void_p, domain: int
) -> Callable[[], int | None] | None:
    try:
        function = library.nvmlDeviceGetClockInfo
    except AttributeError:
        return None
    return _reader(lambda of, to: function(of, ctypes.c_uint(domain), to), handle, ctypes.c_uint)


def _reader(function: Any, handle: ctypes.c_void_p, type_: Any) -> Callable[[], int | None]:
    def value() -> int | None:
        reading = type_(0)
        return int(reading.value) if function(handle, ctypes.byref(reading)) == 0 else None

    return value
