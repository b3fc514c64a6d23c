"""Runs: the stored results of finished attempts."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable
from typing import Any, NamedTuple

from fleetmark_controller.store.jobs import job_options


class RunFile(NamedTuple):
    """A raw file of a run; its bytes are the blob `sha256`."""

    name: str
    role: str
    sha256: str
    size_bytes: int


def add(connection: sqlite3.Connection, values: dict[str, Any], files: Iterable[RunFile]) -> None:
    """Store a run and its files.

    `values` are named after the columns of table run; lists and mappings are stored as JSON.
    """
    columns = {
        name: json.dumps(value, sort_keys=True, ensure_ascii=False)
        if isinstance(value, (dict, list, tuple))
        else value
        for name, value in values.items()
    }
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    connection.execute(f"INSERT INTO run ({names}) VALUES ({marks})", tuple(columns.values()))  # noqa: S608
    connection.executemany(
        "INSERT INTO run_file VALUES (?, ?, ?, ?, ?)", ((values["run_id"], *file) for file in files)
    )
    if values["official"]:
        connection.execute(
            "UPDATE job SET run_id = ? WHERE job_id = ?", (values["run_id"], values["job_id"])
        )


class Origin(NamedTuple):
    """The attempt that a run came from."""

    job_id: str
    device_id: str
    device_name: str
    order: bytes


def origin(connection: sqlite3.Connection, run_id: str) -> Origin:
    """Return the attempt that a stored run came from."""
    row = connection.execute(
        "SELECT run.job_id, device_id, name, order_document FROM run"
        " JOIN attempt USING (job_id, epoch) JOIN device USING (device_id) WHERE run.run_id = ?",
        (run_id,),
    ).fetchone()
    return Origin(row[0], row[1], row[2], bytes(row[3]))


class Counts(NamedTuple):
    """The divisors of a run's energy figures, and the time span of its measurement."""

    mode: str
    queries: int | None
    samples: int | None
    started_at: str | None
    duration_s: float | None


def counts(connection: sqlite3.Connection, run_id: str) -> Counts:
    """Return the counts and the time span of a stored run."""
    row = connection.execute(
        "SELECT mode, query_count, sample_count, started_at, duration_s FROM run WHERE run_id = ?",
        (run_id,),
    ).fetchone()
    return Counts(*row)


class StoredEnergy(NamedTuple):
    """The energy columns of a stored run; `meter` is the document of an external meter, or None."""

    columns: dict[str, Any]
    is_official: bool
    meter: dict[str, Any] | None


_ENERGY = (
    *("energy_j", "energy_per_query_j", "energy_per_sample_j", "power_mean_w", "energy_source"),
    *("energy_unavailable", "energy_uncertainty_j"),
)


def energy(connection: sqlite3.Connection, run_id: str) -> StoredEnergy:
    """Return the energy columns of a stored run."""
    *values, official, meter = connection.execute(
        f"SELECT {', '.join(_ENERGY)}, energy_official, energy_meter FROM run WHERE run_id = ?",  # noqa: S608
        (run_id,),
    ).fetchone()
    columns = dict(zip(_ENERGY, values, strict=True))
    return StoredEnergy(columns, bool(official), json.loads(meter) if meter else None)


def final_record(connection: sqlite3.Connection, run_id: str) -> bytes | None:
    """Return the payload of the final record of a stored run; see `core.records.Final`.

    It is None if no record has the sequence number that the attempt names.
    """
    row = connection.execute(
        "SELECT record.payload FROM run JOIN attempt USING (job_id, epoch)"
        " JOIN record ON record.job_id = run.job_id AND record.epoch = run.epoch"
        " AND record.seq = attempt.final_seq WHERE run.run_id = ?",
        (run_id,),
    ).fetchone()
    return None if row is None else bytes(row[0])


def free_file_name(
    connection: sqlite3.Connection, run_id: str, role: str, stem: str, suffix: str
) -> str:
    """Return a name for a file of a run that no file of another role has.

    A program may have an output of the first name, `stem` + `suffix`.
    """
    taken = {file.name.casefold() for file in files(connection, run_id) if file.role != role}
    numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    names = (f"{stem}{number}{suffix}" for number in numbers)
    return next(name for name in names if name.casefold() not in taken)


def set_energy(
    connection: sqlite3.Connection, run_id: str, values: dict[str, Any], log: RunFile
) -> None:
    """Replace a run's energy columns with `values`; `log` is the file that they were read from."""
    values = {
        name: json.dumps(value, sort_keys=True, ensure_ascii=False)
        if isinstance(value, dict)
        else value
        for name, value in values.items()
    }
    marks = ", ".join(f"{name} = ?" for name in values)
    connection.execute(
        f"UPDATE run SET {marks} WHERE run_id = ?",  # noqa: S608 - names of our own
        (*values.values(), run_id),
    )
    connection.execute("INSERT OR REPLACE INTO run_file VALUES (?, ?, ?, ?, ?)", (run_id, *log))


class Repetition(NamedTuple):
    """One job of a configuration on a device, with its official run if it has one.

    `loadgen_validity` is None for an estimate.
    """

    job_id: str
    state: str
    repetition: int
    run_id: str | None
    loadgen_validity: str | None
    metric_value: float | None


def repetitions(connection: sqlite3.Connection, job_id: str, device_id: str) -> list[Repetition]:
    """Return all jobs with the same configuration and mode in the job's campaign on this device."""
    rows = connection.execute(
        """SELECT other.job_id, other.state, other.repetition, run.run_id,
        CASE WHEN run.estimate_reason IS NULL THEN run.loadgen_validity END, run.metric_value
        FROM job AS own JOIN job AS other USING (campaign_id, configuration_key)
        LEFT JOIN run ON run.job_id = other.job_id AND run.official = 1
        WHERE own.job_id = ?1 AND other.device_id = ?2 AND other.retried_as IS NULL
        AND json_extract(other.configuration, '$.mode')
            = json_extract(own.configuration, '$.mode')
        ORDER BY other.sequence""",
        (job_id, device_id),
    )
    return [Repetition(*row) for row in rows]


def has_official_like(connection: sqlite3.Connection, job_id: str, device_id: str) -> bool:
    """Return whether what `job_id` ran on a device has an official run, on any device.

    Configuration, mode and lockfile must be equal.
    """
    option = job_options.get(connection, job_id, device_id)
    if option is None:
        return False
    row = connection.execute(
        """SELECT 1 FROM run JOIN job AS done USING (job_id) JOIN job AS failed
        WHERE failed.job_id = ? AND official = 1 AND lock_sha256 = ?
        AND done.configuration_key = failed.configuration_key
        AND done.configuration ->> '$.mode' = failed.configuration ->> '$.mode' LIMIT 1""",
        (job_id, option.lock_sha256),
    ).fetchone()
    return row is not None


def set_repeat_interval(
    connection: sqlite3.Connection, run_ids: Iterable[str], half_percent: float | None
) -> None:
    """Store the confidence interval over these runs (half its width, in percent) with each run."""
    connection.executemany(
        "UPDATE run SET repeat_interval_percent = ? WHERE run_id = ?",
        ((half_percent, run_id) for run_id in run_ids),
    )


def add_reason(
    connection: sqlite3.Connection, run_ids: Iterable[str], why: dict[str, Any], condition: str
) -> None:
    """Add a reason to the condition of runs that are stored already, and set the condition."""
    for run_id in run_ids:
        (known,) = connection.execute(
            "SELECT condition_reasons FROM run WHERE run_id = ?", (run_id,)
        ).fetchone()
        reasons = [*json.loads(known), why]
        connection.execute(
            "UPDATE run SET condition = ?, condition_reasons = ? WHERE run_id = ?",
            (condition, json.dumps(reasons, sort_keys=True, ensure_ascii=False), run_id),
        )


def files(connection: sqlite3.Connection, run_id: str) -> list[RunFile]:
    """Return the raw files of a run, by name."""
    rows = connection.execute(
        "SELECT name, role, sha256, size_bytes FROM run_file WHERE run_id = ? ORDER BY name",
        (run_id,),
    )
    return [RunFile(*row) for row in rows]


def provenance(connection: sqlite3.Connection, run_id: str) -> str:
    """Return the provenance of a run, as JSON."""
    row = connection.execute("SELECT provenance FROM run WHERE run_id = ?", (run_id,)).fetchone()
    return str(row[0])
