"""Temperatures of a whole run, evaluated at its end without sensors that never changed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetmark_agent.fingerprint.thermal_sensors import hottest_c, stuck_sensors
from fleetmark_core.telemetry_columns import TELEMETRY_COLUMNS

_AT, _CELSIUS = (TELEMETRY_COLUMNS.index(name) for name in ("elapsed_ms", "temperature_c"))


def evaluate(
    rows: list[list[Any]],
    readings: list[list[Any]],
    notes: dict[str, Any],
    context: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the temperatures for the run's provenance, and correct the rows in place.

    Args:
        rows: samples by `TELEMETRY_COLUMNS`; their temperature is recomputed from the sensors that
            count.
        readings: of each row, in °C, the readings of the sensors in `notes`; empty in a log of an
            older agent, whose rows stay unchanged.
        notes: tables of the log; gets the reason if no temperature is left.
        context: facts recorded before the job: `temperatures_c` by sensor, `temperature_left_out`
            by name, and `stuck_sensors` during the cooldown.
    """
    names = [str(name) for name in _list(notes.pop("temperature_sensors", []))]
    left_out = _texts(context.get("temperature_left_out"))
    left_out |= _texts(notes.pop("temperature_left_out", {}))
    before = _table(context.get("temperatures_c"))
    looks = [
        (float(row[_AT] or 0) / 1000, dict(zip(names, values, strict=False)))
        for row, values in zip(rows, readings, strict=True)
    ]
    start = {name: before.get(name) for name in names}
    cooled = _texts(context.get("stuck_sensors"))
    changed = {n for n in names if len({look[n] for _, look in looks if n in look}) > 1}
    stuck = {name: why for name, why in cooled.items() if name not in changed}
    stuck |= stuck_sensors([(0.0, start), *looks], under_load=True)
    if names:
        for row, (_, found) in zip(rows, looks, strict=True):
            row[_CELSIUS] = hottest_c(found, stuck)
    start_c = hottest_c(before, stuck) if before else context.get("temperature_c")
    highest = max((row[_CELSIUS] for row in rows if row[_CELSIUS] is not None), default=None)
    # A job may end before its log begins.
    known = names or list(before)
    used = [name for name in known if name not in stuck]
    if known and not used:
        unavailable = notes.setdefault("unavailable", {})
        if isinstance(unavailable, dict):
            unavailable["temperature_c"] = "; ".join(f"{n}: {why}" for n, why in stuck.items())
    return {"start_c": start_c, "max_c": highest, "sensors": used, "left_out": left_out | stuck}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> dict[str, str]:
    return {str(key): str(text) for key, text in _table(value).items()}
