"""Parameters of a performance run that a search found on its device: rate or expected latency."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fleetmark_controller.planning.memory_history import predict_from_history
from fleetmark_controller.planning.model import JobOption
from fleetmark_controller.planning.resources import memory_key
from fleetmark_controller.store.devices import devices
from fleetmark_controller.store.jobs import lockfiles
from fleetmark_controller.store.jobs.jobs import Job
from fleetmark_controller.store.results import memory_peaks, search_results
from fleetmark_core.modes import ACCURACY, FIND
from fleetmark_core.order import parse_order
from fleetmark_core.resource_model import MULTISTREAM_SAMPLES, Run

TUNED = "told"
"""Key in the configuration of a replay: the tuned parameters of the original run."""
RATE, _LATENCY = "target_qps", "target_latency_ms"
_PARAMETERS = {
    "Server": RATE,
    "Offline": RATE,
    "SingleStream": _LATENCY,
    "MultiStream": _LATENCY,
}


def parameters_at_dispatch(job: Job, order: bytes) -> dict[str, Any]:
    """Return the parameters in an attempt's order beyond those of the job itself."""
    own = job.configuration["parameters"]
    return {name: value for name, value in parse_order(order).parameters.items() if name not in own}


def resolve_run_parameters(
    connection: sqlite3.Connection, job: Job, option: JobOption
) -> tuple[Mapping[str, Any], JobOption]:
    """Return the parameters of an order for a job on a device, and the option with the resources.

    The parameters are those of the job. If the job does not set its rate or latency, the newest
    search of the same lockfile on the device provides it; for a replay, the original run does
    (`TUNED`). Memory and output are then predicted again, because LoadGen creates its queries
    beforehand.
    """
    configuration = job.configuration
    parameters: dict[str, Any] = configuration["parameters"]
    name = _PARAMETERS.get(configuration["scenario"])
    if name is None or name in parameters or configuration["mode"] in (ACCURACY, FIND):
        return parameters, option
    figure = (
        configuration[TUNED].get(name)
        if TUNED in configuration
        else search_results.newest(connection, option.device_id, option.lock_sha256, configuration)
    )
    if not figure:
        return parameters, option
    parameters = {**parameters, name: figure}
    run = Run(
        configuration["scenario"], configuration["mode"], configuration["profile"], parameters
    )
    device = devices.get(connection, option.device_id)
    needs = predict_from_history(
        lockfiles.get(connection, option.lock_sha256),
        run,
        _pace_ns(configuration["scenario"], figure),
        []
        if device is None
        else memory_peaks.of_key(connection, memory_key(option.lock_sha256, device.capabilities)),
    )
    return parameters, replace(
        option,
        memory_bytes=needs.memory_bytes,
        output_bytes=max(option.output_bytes, needs.output_bytes),
    )


def _pace_ns(scenario: str, figure: float) -> int:
    """Return the nanoseconds per sample at the rate or latency that was found."""
    if scenario in ("Server", "Offline"):
        return max(1, int(1e9 / figure))
    samples = MULTISTREAM_SAMPLES if scenario == "MultiStream" else 1
    return max(1, int(figure * 1e6 / samples))
