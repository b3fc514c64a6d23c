"""Last steps of an attempt: the outputs and logs of its job become records.

All records are written to disk as a plan before the first one enters the spool, so that a restarted
agent continues with exactly the same records.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleetmark_agent.runner import memory_failure
from fleetmark_agent.runner.error_text import error_text
from fleetmark_agent.runner.job_result import JobResult, evaluate_exit
from fleetmark_agent.runner.telemetry import temperature_log
from fleetmark_agent.runner.workspace import POWER_ROLE, Workspace
from fleetmark_agent.state.spool import Spool
from fleetmark_core.atomic_file import sync_file, sync_folder, write_atomic
from fleetmark_core.digest import canonical_json, sha256_file
from fleetmark_core.lockfile import DeclaredOutput
from fleetmark_core.records import MAX_PAYLOAD_BYTES, Final, record_digest, seal
from fleetmark_core.regular_file import open_regular, read_regular
from fleetmark_core.telemetry_columns import TELEMETRY_COLUMNS

_LARGEST_READING = 1e18
_ROWS_PER_RECORD = 1000
_FEWEST_COLUMNS = 7
"""Number of columns that the first agents wrote: a job may be older than its collecting agent."""
_LATEST_MS = 10_000.0
_MAX_RESULT_BYTES = 64 * 1024
_TAIL_BYTES = 16 * 1024
"""Number of bytes at the end of stderr that are searched for an error."""
_MAX_SAMPLES_BYTES = 4 * 1024**3


def make_plan(
    workspace: Workspace,
    outputs: tuple[DeclaredOutput, ...],
    timeout_s: float,
    provenance: dict[str, Any],
) -> None:
    """Hash the outputs, make them durable, and write the plan with all records.

    Raises:
        OSError: the disk is full or fails; the call can be repeated.
    """
    context = workspace.read_json(workspace.context) or {}
    outcome = workspace.read_json(workspace.outcome)
    entries: list[tuple[str, bytes]] = []
    for event in context.get("events", []):
        entries.append(("event", canonical_json(event)))
    keep_power(workspace)
    rows, readings, notes = _telemetry_rows(workspace.telemetry)
    temperatures = temperature_log.evaluate(rows, readings, notes, context)
    _since_the_start(rows, notes, outcome)
    for start in range(0, len(rows), _ROWS_PER_RECORD):
        part = {"columns": list(TELEMETRY_COLUMNS), "rows": rows[start : start + _ROWS_PER_RECORD]}
        entries.append(("telemetry", canonical_json(part)))
    missing: list[str] = []
    for output in outputs:
        path = workspace.out / output.name
        if output.role == POWER_ROLE:
            # A program must not supply an output under the role of the agent's own power readings.
            continue
        if _is_plain(path):
            entries.append(("file", _file_record(path, output.name, output.role)))
        elif output.required:
            missing.append(output.name)
    own = (
        (workspace.stdout, "stdout"),
        (workspace.stderr, "stderr"),
        (workspace.device_power, POWER_ROLE),
    )
    for path, role in own:
        if _is_plain(path) and path.stat().st_size:
            entries.append(("file", _file_record(path, path.name, role)))
    for folder in (workspace.out, workspace.root):
        if folder.is_dir():
            sync_folder(folder)
    written = _end_of(workspace.stderr)
    reported = error_text(written)
    lack = memory_failure.find(outcome, reported, written, context.get("available_memory_bytes"))
    result = evaluate_exit(outcome, missing, timeout_s, reported, lack)
    digests = [record_digest(seq, kind, payload) for seq, (kind, payload) in enumerate(entries, 1)]
    whole = {
        **provenance,
        **context.get("provenance", {}),
        "program_result": _program_result(workspace, outputs),
        "temperatures": temperatures,
        "competing_load": _competing_load(rows),
        "telemetry": notes,
        "peak_memory_bytes": (outcome or {}).get("peak_memory_bytes"),
        "cpu_s": _cpu_s(outcome),
        **_failure(result),
    }
    final = Final(
        count=len(entries) + 1,
        digest=seal(digests),
        outcome=result.outcome,
        reason=result.reason,
        exit_code=result.exit_code,
        retryable=result.retryable,
        started_unix_ns=result.started_unix_ns,
        duration_ns=result.duration_ns,
        provenance=whole,
    )
    entries.append(("final", _fitting(final)))
    lines = [json.dumps([kind, payload.decode()]) for kind, payload in entries]
    write_atomic(workspace.plan, "\n".join(lines).encode())


def _failure(result: JobResult) -> dict[str, Any]:
    """Return the provenance of a failure.

    It is not in fields of its own, because older controllers reject unknown fields.
    """
    if result.cause is None:
        return {}
    values: dict[str, Any] = {"cause": result.cause.value, "signal": result.signal_number}
    if result.memory is not None:
        values["memory"] = result.memory.as_provenance()
    return {"failure": values}


def keep_power(workspace: Workspace) -> None:
    """Copy the complete power readings to a file of their own: the sampler may still be writing.

    Raises:
        OSError: the disk is full; the call can be repeated.
    """
    try:
        data = read_regular(workspace.power, _MAX_SAMPLES_BYTES)
    except FileNotFoundError:
        return
    write_atomic(workspace.device_power, data[: data.rfind(b"\n") + 1])


def spool_plan(workspace: Workspace, spool: Spool) -> int:
    """Add the missing records of the plan to the spool; return the number of the last record.

    Records that the spool already has are compared with the plan and not added again.

    Raises:
        OSError: the disk is full; the call can be repeated.
        SpoolFull: results of other attempts fill the quota; the call can be repeated.
        RuntimeError: the spool holds different records under this attempt's name.
    """
    entries = list(_read_plan(workspace.plan))
    key = workspace.key
    have = spool.last_seq(key)
    done = 0
    while done < have:
        records = spool.read(key, done, 1 << 20)
        for record in records:
            planned = entries[record.seq - 1] if record.seq <= len(entries) else None
            if planned != (record.kind, record.payload):
                raise RuntimeError(f"record {record.seq} of {key.name} is not the planned one")
        done = records[-1].seq
    if have < len(entries):
        spool.extend(key, entries[have:])
    return len(entries)


def _read_plan(path: Path) -> Iterator[tuple[str, bytes]]:
    for line in read_regular(path, _MAX_SAMPLES_BYTES).split(b"\n"):
        kind, payload = json.loads(line)
        yield kind, payload.encode()


def _file_record(path: Path, name: str, role: str) -> bytes:
    sync_file(path)
    size = path.stat().st_size
    values = {"name": name, "role": role, "sha256": sha256_file(path), "size_bytes": size}
    return canonical_json(values)


def _is_plain(path: Path) -> bool:
    """Return whether `path` is a regular file; a link is not, as its target may be any file."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def _telemetry_rows(path: Path) -> tuple[list[list[Any]], list[list[Any]], dict[str, Any]]:
    """Return the samples, the temperature readings of each sample, and the merged note tables."""
    rows: list[list[Any]] = []
    sensors: list[list[Any]] = []
    notes: dict[str, Any] = {}
    try:
        data = read_regular(path, _MAX_SAMPLES_BYTES)
    except FileNotFoundError:
        return rows, sensors, notes
    # Drop the incomplete last line, which was being written when the sampling ended.
    for line in data.split(b"\n")[:-1]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            notes.update(row)
            continue
        if not isinstance(row, list):
            continue
        readings = row.pop() if row and isinstance(row[-1], list) else []
        if (
            _FEWEST_COLUMNS <= len(row) <= len(TELEMETRY_COLUMNS)
            and all(map(_is_reading, row))
            and all(map(_is_reading, readings))
        ):
            rows.append(row + [None] * (len(TELEMETRY_COLUMNS) - len(row)))
            sensors.append(readings)
    return rows, sensors, notes


def _since_the_start(
    rows: list[list[Any]], notes: dict[str, Any], outcome: dict[str, Any] | None
) -> None:
    """Shift the times of the rows to the start of the job; sampling begins a little later."""
    began = notes.get("began_unix_ns")
    started = (outcome or {}).get("started_unix_ns")
    if type(began) is not int or type(started) is not int:
        return
    later_ms = (began - started) / 1e6
    # Both times are readings of one clock, which may have been set in between. An implausible
    # difference is not applied.
    if 0 <= later_ms <= _LATEST_MS:
        for row in rows:
            row[0] = round(row[0] + later_ms) if row[0] is not None else None


def _is_reading(value: object) -> bool:
    """Return whether `value` is None or a plausible number."""
    if value is None:
        return True
    return isinstance(value, (int, float)) and -_LARGEST_READING < value < _LARGEST_READING


def _column(rows: list[list[Any]], name: str) -> list[float]:
    index = TELEMETRY_COLUMNS.index(name)
    return [row[index] for row in rows if row[index] is not None]


def _competing_load(rows: list[list[Any]]) -> dict[str, float | None]:
    found = _column(rows, "foreign_cpu_percent")
    mean = round(sum(found) / len(found), 1) if found else None
    return {"mean_percent": mean, "max_percent": max(found) if found else None}


def _cpu_s(outcome: dict[str, Any] | None) -> float | None:
    if not outcome or outcome.get("user_s") is None:
        return None
    return round(float(outcome["user_s"]) + float(outcome["system_s"]), 3)


def _program_result(workspace: Workspace, outputs: tuple[DeclaredOutput, ...]) -> Any:
    """Return the result that the program wrote; None if it is not JSON or is too large."""
    name = next((output.name for output in outputs if output.role == "result"), None)
    path = workspace.out / name if name else None
    if path is None or not _is_plain(path) or path.stat().st_size > _MAX_RESULT_BYTES:
        return None
    try:
        values = json.loads(read_regular(path, _MAX_RESULT_BYTES))
        canonical_json(values)
    except (ValueError, RecursionError):
        return None
    return values


def _fitting(final: Final) -> bytes:
    """Return the record's bytes; remove details of the provenance until it fits."""
    payload = final.payload()
    for name in ("program_result", "capabilities", "telemetry"):
        if len(payload) > MAX_PAYLOAD_BYTES:
            final.provenance[name] = None
            payload = final.payload()
    return payload


def _end_of(path: Path) -> str:
    try:
        with open_regular(path) as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
