"""Check the records of an attempt, which come from a device and its program.

No type or range is trusted. Anything other than the format described by core.records and
docs/reference/job-contract.md raises `FleetmarkError`, and the attempt fails with that reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from fleetmark_controller.loadgen.errors import excerpt
from fleetmark_core.digest import is_sha256
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import Lockfile
from fleetmark_core.received_files import check_distinct, name_fault
from fleetmark_core.records import AGENT_FILES, Final, Record, parse_final, seal
from fleetmark_core.telemetry_columns import TELEMETRY_COLUMNS

MAX_INTEGER = (1 << 63) - 1
MAX_FILES = 1000
_TEXT = {"type": ["string", "null"], "maxLength": 1000}
_COUNT = {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_INTEGER}
RESULT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "format": {"type": ["integer", "null"]},
        "query_count": _COUNT,
        "sample_count": _COUNT,
        "computed_sample_count": _COUNT,
        "planned_count": _COUNT,
        "needed_count": _COUNT,
        "repeated_tests": _COUNT,
        "nonfinite_outputs": {"type": ["boolean", "null"]},
        "warmup_count": _COUNT,
        "calibration": {
            "type": ["object", "null"],
            "properties": {"latency_ns": _COUNT, "batch_size": _COUNT, "run_count": _COUNT},
        },
        "accuracy": {
            "type": ["object", "null"],
            "properties": {
                "metric": _TEXT,
                "value": {"type": ["number", "null"]},
                "correct": _COUNT,
                "total": _COUNT,
            },
        },
        "runtime": {
            "type": ["object", "null"],
            "properties": {
                "name": _TEXT,
                "version": _TEXT,
                "provider": _TEXT,
                "threads": {"type": ["integer", "null"], "maximum": MAX_INTEGER},
                "samples_per_call": _COUNT,
                "provider_nodes": {"type": ["object", "null"]},
            },
        },
        "parameters": {"type": ["object", "null"]},
        "loadgen_version": _TEXT,
        "loadgen_user_conf": {"type": ["string", "null"]},
        "loadgen_audit_config": {"type": ["string", "null"]},
        "search": {"type": ["object", "null"]},
        "crosscheck": {"type": ["object", "null"]},
        "harness_version": _TEXT,
        "numpy_version": _TEXT,
        "python_version": _TEXT,
        "start_unix_ns": _COUNT,
        "duration_ns": _COUNT,
        "phases": {
            "type": ["object", "null"],
            "properties": {
                "load_ns": _COUNT,
                "first_inference_ns": _COUNT,
                "warmup_ns": _COUNT,
                "steady_state_ns": _COUNT,
            },
        },
        "operators": {
            "type": ["object", "null"],
            "properties": {"start_unix_ns": _COUNT, "unavailable": {"type": ["string", "null"]}},
        },
        "load_memory_bytes": _COUNT,
        "peak_memory_bytes": _COUNT,
    },
}
"""JSON Schema (2020-12) of `result.json`: every key is optional, and other keys are allowed."""


class ReportedFile(NamedTuple):
    """A file that an attempt uploaded; its bytes are the blob `sha256`."""

    name: str
    role: str
    sha256: str
    size_bytes: int


def parse_sealed(records: Sequence[Record]) -> Final:
    """Return the final record of an attempt after verifying that it seals exactly these records.

    Raises:
        FleetmarkError: BAD_DOCUMENT: it cannot be parsed, its values are out of range, or its count
            or digest does not match the records.
    """
    if not records:
        raise _record_error("there are no records")
    final = parse_final(records[-1].payload)
    if final.count != len(records) or final.digest != seal(r.sha256 for r in records[:-1]):
        raise _record_error("count or digest in the final record does not match the records")
    for name in ("started_unix_ns", "duration_ns"):
        if not 0 <= getattr(final, name) <= MAX_INTEGER:
            raise _record_error(
                f"{name} of the final record is out of range: {excerpt(getattr(final, name))}"
            )
    return final


def parse_files(records: Iterable[Record], lockfile: Lockfile) -> tuple[ReportedFile, ...]:
    """Return the files that an attempt's records name.

    Raises:
        FleetmarkError: BAD_DOCUMENT: a file is neither a declared output of the lockfile's program
            nor one that agents add, its name could lead out of a folder, its digest is not a
            digest, its size is out of range, or two files have one name.
    """
    allowed = {output.name: output.role for output in lockfile.program.outputs}
    allowed.update({name: role for role, name in AGENT_FILES.items()})
    found: list[ReportedFile] = []
    for payload in _payloads(records, "file"):
        name, role, digest = (payload.get(key) for key in ("name", "role", "sha256"))
        size = payload.get("size_bytes")
        if not isinstance(name, str) or name_fault(name):
            raise _record_error(
                f"a file record names {excerpt(name)}, which is not a plain file name"
            )
        if name not in allowed:
            raise _record_error(
                f"a file record names {excerpt(name)}, which is not a declared output"
            )
        if role != allowed[name]:
            raise _record_error(
                f"file {name} has the role {excerpt(role)}, declared is {allowed[name]!r}"
            )
        if not isinstance(digest, str) or not is_sha256(digest):
            raise _record_error(f"file {name} has an invalid digest: {excerpt(digest)}")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_INTEGER:
            raise _record_error(f"file {name} has an invalid size: {excerpt(size)} bytes")
        found.append(ReportedFile(name, str(role), digest, size))
        if len(found) > MAX_FILES:
            raise _record_error(f"there are more than {MAX_FILES} files")
    check_distinct(file.name for file in found)
    return tuple(found)


def parse_telemetry(records: Iterable[Record]) -> tuple[tuple[str, ...], list[list[Any]]]:
    """Return the columns and rows of an attempt's telemetry; `telemetry.read` checks the readings.

    Raises:
        FleetmarkError: BAD_DOCUMENT: it has no lists of columns and rows, or other columns.
    """
    columns: tuple[str, ...] = ()
    rows: list[list[Any]] = []
    for payload in _payloads(records, "telemetry"):
        names, part = payload.get("columns"), payload.get("rows")
        if not isinstance(names, list) or not isinstance(part, list):
            raise _record_error("a telemetry record has no lists of columns and rows")
        columns = tuple(name[:80] if isinstance(name, str) else "" for name in names)
        known = min(len(columns), len(TELEMETRY_COLUMNS))
        if columns[:known] != TELEMETRY_COLUMNS[:known]:
            raise _record_error(f"telemetry has invalid columns: {excerpt(names)}")
        for row in part:
            if not isinstance(row, list):
                raise _record_error(f"telemetry has an invalid row: {excerpt(row)}")
            rows.append(list(row))
    return columns, rows


def check_result(final: Final) -> Mapping[str, Any]:
    """Return the content of the program's `result.json`; empty if it wrote none.

    Raises:
        FleetmarkError: BAD_DOCUMENT: it does not match `RESULT_SCHEMA`.
    """
    value = final.provenance.get("program_result")
    if value is None:
        return {}
    error = next(iter(sorted(_validator().iter_errors(value), key=_place)), None)
    if error is not None:
        place = ".".join(str(part) for part in error.absolute_path)
        where = f"result.json, key {place}" if place else "result.json"
        raise _record_error(
            f"{where}: {excerpt(error.instance)} does not match docs/reference/job-contract.md"
        )
    return dict(value)


def plain_text(value: object, limit: int = 200) -> str | None:
    """Return `value` if it is short, printable text that a column can hold, otherwise None."""
    if not isinstance(value, str) or len(value) > limit or not value.isprintable():
        return None
    return value


def _payloads(records: Iterable[Record], kind: str) -> Iterable[dict[str, Any]]:
    for record in records:
        if record.kind == kind:
            try:
                payload = json.loads(record.payload)
            except (ValueError, RecursionError) as error:
                raise _record_error(f"a {kind} record is not JSON") from error
            if not isinstance(payload, dict):
                raise _record_error(f"a {kind} record is not a JSON object")
            yield payload


def _place(error: Any) -> tuple[int, str]:
    return len(error.absolute_path), str(list(error.absolute_path))


@lru_cache(maxsize=1)
def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(RESULT_SCHEMA)


def _record_error(what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.BAD_DOCUMENT, what)
