"""Predict the resources that a job needs on a device. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleetmark_catalog.resolve import Configuration
from fleetmark_controller.planning.device import Device
from fleetmark_controller.planning.memory_history import (
    MemoryHistory,
    MemoryKey,
    predict_from_history,
)
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.lockfile import Lockfile
from fleetmark_core.resource_model import ResourceNeeds, Run


@dataclass(frozen=True)
class CalibrationKey:
    """Key of a measured speed: one model, precision and runtime on one device, in one scenario."""

    device: str
    model: str
    precision: str
    runtime: str
    scenario: str


Speeds = Mapping[CalibrationKey, int]
"""Nanoseconds per sample in earlier runs."""


def memory_key(lock_sha256: str, device: Capabilities) -> MemoryKey:
    """Return the key of the memory peaks that count for a lockfile on a device."""
    return MemoryKey(lock_sha256, device.arch, device.cpu.usable_cores)


def needs_of(
    lock: Lockfile,
    lock_sha256: str,
    configuration: Configuration,
    device: Device,
    speeds: Speeds,
    history: MemoryHistory,
) -> ResourceNeeds:
    """Return the predicted needs of a configuration on a device, by earlier runs if there are any.

    Args:
        lock: the lockfile of the configuration on the device.
        lock_sha256: the digest of `lock`.
        configuration: the configuration.
        device: the device.
        speeds: times per sample in earlier runs.
        history: memory peaks of earlier runs.
    """
    model, runtime = lock.job.get("model", {}), lock.job.get("runtime", {})
    known = CalibrationKey(
        device.device_id,
        str(model.get("name", "")),
        str(model.get("precision", "")),
        str(runtime.get("package", "")),
        configuration.scenario,
    )
    run = Run(
        configuration.scenario,
        configuration.mode,
        configuration.profile,
        configuration.parameters,
    )
    peaks = history.get(memory_key(lock_sha256, device.capabilities), ())
    return predict_from_history(lock, run, speeds.get(known, 0), peaks)
