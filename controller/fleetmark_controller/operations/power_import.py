"""Import the energy that a power analyzer measured into a stored run."""

from __future__ import annotations

import sqlite3

from fleetmark_controller.evaluation import energy
from fleetmark_controller.evaluation.ptdaemon import Power
from fleetmark_controller.operations import meter_import
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.store.results import runs
from fleetmark_controller.store.security import audit
from fleetmark_core.clock import iso

NAME, ROLE, SOURCE = "spl.txt", "ptdaemon", "PTDaemon (board)"


def import_power(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    who: str,
    run_id: str,
    power: Power,
    log: runs.RunFile,
) -> None:
    """Store the log with the run, and replace the energy figures of the device or another meter.

    The figures of the device stay in the document of the meter (`before`); the audit log names the
    energy of another log that was replaced.
    """
    del effects
    stored = runs.energy(connection, run_id)
    known = runs.counts(connection, run_id)
    columns = energy.run_columns(
        power.energy_j, SOURCE, known.duration_s, known.queries, known.samples
    )
    document = {
        "format": 1,
        "meter": "PTDaemon",
        "scope": "board",
        "log_sha256": log.sha256,
        "log_bytes": log.size_bytes,
        "imported_at": iso(now_ns),
        "imported_by": who,
        "before": meter_import.device_figures(stored),
    }
    official = {"energy_official": 1, "energy_uncertainty_j": None, "energy_meter": document}
    runs.set_energy(connection, run_id, {**columns, "power_mean_w": power.mean_w, **official}, log)
    audit.add(
        connection,
        now_ns,
        who,
        "run.import_power",
        run_id,
        log=log.sha256,
        energy_j=power.energy_j,
        replaced=meter_import.energy_of_a_log(stored),
    )
