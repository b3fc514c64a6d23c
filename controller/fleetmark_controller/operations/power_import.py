"""Import the energy that a power analyzer measured into a stored run."""

from __future__ import annotations

import sqlite3

from fleetmark_controller.evaluation.ptdaemon import Power
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.store.results import runs
from fleetmark_controller.store.security import audit

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
    """Store the log with the run, and replace the energy figures that the device measured."""
    del effects
    figures = runs.counts(connection, run_id)
    runs.set_energy(
        connection,
        run_id,
        {
            "energy_j": power.energy_j,
            "power_mean_w": power.mean_w,
            "energy_per_query_j": power.energy_j / figures.queries if figures.queries else None,
            "energy_per_sample_j": power.energy_j / figures.samples if figures.samples else None,
            "energy_source": SOURCE,
            "energy_unavailable": None,
            "energy_official": 1,
        },
        log,
    )
    audit.add(
        connection, now_ns, who, "run.import_power", run_id, log=log.sha256, energy_j=power.energy_j
    )
