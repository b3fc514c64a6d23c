"""Import the energy that an external power meter measured into a stored run."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from fleetmark_controller.evaluation import energy
from fleetmark_controller.evaluation.power_meter.meter_energy import MARK_S, MeterEnergy
from fleetmark_controller.evaluation.power_meter.options import MeterOptions
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.store.results import runs
from fleetmark_controller.store.security import audit
from fleetmark_core.clock import iso
from fleetmark_core.errors import ErrorKind, FleetmarkError

ROLE = "power_meter"
_STEM, _SUFFIX = "power-meter", ".log"
_BEFORE = ("energy_j", "power_mean_w", "energy_source", "energy_unavailable")


@dataclass(frozen=True)
class MeterLog:
    """A log that was read: its blob, the operator's options, and the run's energy."""

    sha256: str
    size_bytes: int
    options: MeterOptions
    energy: MeterEnergy


@dataclass(frozen=True)
class ImportPlan:
    """What an import does: the new columns of the run.

    `is_known` if the run has them already. `conflict` says which energy the import would replace,
    other than that of the device; it is empty if there is none.
    """

    columns: dict[str, Any]
    is_known: bool
    conflict: str


def plan_import(
    stored: runs.StoredEnergy, counts: runs.Counts, log: MeterLog, who: str, now_ns: int
) -> ImportPlan:
    """Decide what the import of a log does. Pure."""
    options = log.options.as_document()
    known = stored.meter
    is_same_log = known is not None and known["log_sha256"] == log.sha256
    if known is not None and is_same_log and known.get("options") == options:
        return ImportPlan({**stored.columns, "energy_meter": known}, True, "")
    conflict = energy_of_a_log(stored)
    if is_same_log and not stored.is_official:
        conflict = "has the energy of this log with other options"
    meter = log.options.meter or log.energy.title
    found = log.energy
    columns = energy.run_columns(
        found.energy_j,
        f"external: {meter} ({log.options.scope})",
        counts.duration_s,
        counts.queries,
        counts.samples,
    )
    document = {
        "format": 1,
        **found.as_document(counts.duration_s or 0.0),
        "meter": meter,
        "scope": log.options.scope,
        "uncertainty_method": uncertainty_method(found, log.options),
        "log_sha256": log.sha256,
        "log_bytes": log.size_bytes,
        "options": options,
        "imported_at": iso(now_ns),
        "imported_by": who,
        "before": device_figures(stored),
    }
    added = {
        "energy_official": 0,
        "energy_uncertainty_j": found.uncertainty_j,
        "energy_meter": document,
    }
    return ImportPlan({**columns, **added}, False, conflict)


def device_figures(stored: runs.StoredEnergy) -> dict[str, Any] | None:
    """Return the energy figures of the device's own sensors, from before any import of a log.

    They are None if an older version replaced them by those of PTDaemon.
    """
    if stored.meter is not None:
        before: dict[str, Any] | None = stored.meter.get("before")
        return before
    return None if stored.is_official else {name: stored.columns[name] for name in _BEFORE}


def energy_of_a_log(stored: runs.StoredEnergy) -> str:
    """Return which energy of another log a run has, as the end of a sentence; empty if none."""
    if stored.is_official:
        return "has the official energy of PTDaemon"
    if stored.meter is not None:
        return f"has the energy of another log (SHA-256 {stored.meter['log_sha256'][:16]}…)"
    return ""


def uncertainty_method(found: MeterEnergy, options: MeterOptions) -> str:
    """Return how the parts of the uncertainty were computed, as one line."""
    accuracy = options.accuracy_percent
    meter = "the meter's accuracy is unknown" if accuracy is None else f"meter ±{accuracy:g} %"
    sampling = "too few readings for an estimate of the sampling"
    if found.sampling_j is not None:
        sampling = "estimate of the sampling by every second reading only"
    return (
        f"sum of parts: interval shifted by up to ±{found.offset_uncertainty_s + MARK_S:.3g} s;"
        f" {sampling}; {meter}"
    )


def import_log(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    who: str,
    run_id: str,
    log: MeterLog,
    *,
    replace: bool,
) -> ImportPlan:
    """Store the log with the run, and replace the energy figures that the device measured.

    The same log with the same options changes nothing. The figures of the device stay in the
    document of the meter (`before`), and those of its sensors in the provenance.

    Raises:
        FleetmarkError: BAD_POWER_LOG: the run has the energy of another log, and `replace` is
            false.
    """
    del effects
    stored = runs.energy(connection, run_id)
    plan = plan_import(stored, runs.counts(connection, run_id), log, who, now_ns)
    if plan.is_known:
        return plan
    if plan.conflict and not replace:
        raise conflict_error(run_id, plan.conflict)
    name = runs.free_file_name(connection, run_id, ROLE, _STEM, _SUFFIX)
    file = runs.RunFile(name, ROLE, log.sha256, log.size_bytes)
    runs.set_energy(connection, run_id, plan.columns, file)
    audit.add(
        connection,
        now_ns,
        who,
        "run.import_meter_log",
        run_id,
        log=log.sha256,
        options=log.options.as_document(),
        energy_j=log.energy.energy_j,
        uncertainty_j=log.energy.uncertainty_j,
        replaced=plan.conflict,
    )
    return plan


def conflict_error(run_id: str, conflict: str) -> FleetmarkError:
    """Return the error of an import that would replace the energy of another log."""
    return FleetmarkError(
        ErrorKind.BAD_POWER_LOG, f"the run {conflict}", f"run {run_id}", "Use --replace"
    )
