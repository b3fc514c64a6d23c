"""Whether a job fits a board, by what it is predicted to need. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleetmark_catalog.resolve import Configuration
from fleetmark_core.lockfile import Lock
from fleetmark_core.resource_model import Needs, Run, predict


@dataclass(frozen=True)
class Known:
    """A model in one form on one runtime of one device (by its id), in one scenario."""

    device: str
    model: str
    precision: str
    runtime: str
    scenario: str


Speeds = Mapping[Known, int]
"""Nanoseconds a sample, of what a board has run before."""


def needs_of(lock: Lock, configuration: Configuration, device_id: str, speeds: Speeds) -> Needs:
    """What a configuration needs on a device, with the speed that it has shown."""
    model, runtime = lock.job.get("model", {}), lock.job.get("runtime", {})
    known = Known(
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
