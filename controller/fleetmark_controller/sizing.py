"""Whether a job fits a board, by what it is predicted to need. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fleetmark_catalog.core.footprint import Needs, Run, predict
from fleetmark_catalog.core.lock import Lock
from fleetmark_catalog.resolve import Configuration
from fleetmark_controller.store.speeds import Known

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
