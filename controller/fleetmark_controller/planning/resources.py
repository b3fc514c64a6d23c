"""Predict the resources that a job needs on a device. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleetmark_catalog.resolve import Configuration
from fleetmark_core.lockfile import Lockfile
from fleetmark_core.resource_model import ResourceNeeds, Run, predict


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


def needs_of(
    lock: Lockfile, configuration: Configuration, device_id: str, speeds: Speeds
) -> ResourceNeeds:
    """Return the predicted needs of a configuration on a device, by its earlier speed if known."""
    model, runtime = lock.job.get("model", {}), lock.job.get("runtime", {})
    known = CalibrationKey(
        device_id,
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
    return predict(lock, run, speeds.get(known, 0))
