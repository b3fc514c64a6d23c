"""Import of a power meter's log: received into a file, read in a worker, stored with its run."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from fleetmark_controller.api import auth
from fleetmark_controller.api.measured_interval import run_times
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.evaluation.power_meter.formats import check_format
from fleetmark_controller.evaluation.power_meter.options import MeterOptions, check_options
from fleetmark_controller.evaluation.power_meter.reader import MAX_LOG_BYTES
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.operations import meter_import
from fleetmark_controller.store.results import runs
from fleetmark_core.clock import now_unix_ns
from fleetmark_core.digest import canonical_json, sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1 import results_pb2

PARTIAL_NAME = "meter-log"
"""Uploads are collected in `blobs/partial/meter-log.*`."""


def remove_partial_logs(blobs: Path) -> int:
    """Remove uploads that an earlier process left when it was killed; return their number.

    An upload cannot be resumed, because its name is random.

    Args:
        blobs: the folder of blobs, which no other process uses.
    """
    left = [path for path in (blobs / "partial").glob(f"{PARTIAL_NAME}.*") if path.is_file()]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


async def import_meter_log(
    engine: Engine, parts: AsyncIterator[results_pb2.ImportMeterLogRequest]
) -> results_pb2.ImportMeterLogReply:
    """Import a log, or show what an import would store.

    Raises:
        FleetmarkError: USAGE, NOT_FOUND, BAD_POWER_LOG, DISK_FULL.
    """
    try:
        first = await anext(parts)
    except StopAsyncIteration:
        raise FleetmarkError(ErrorKind.BAD_MESSAGE, "the upload is empty") from None
    options = read_options(first.options)
    run_id = await engine.find("run", first.run_id)
    times, counts = await engine.reader.run(lambda c: run_times(c, run_id))
    folder = engine.blobs.root / "partial"
    path = folder / f"{PARTIAL_NAME}.{os.urandom(8).hex()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        limit = min(MAX_LOG_BYTES, engine.settings.max_upload_bytes)
        size = await _receive(first.data, parts, path, limit)
        try:
            found = await engine.read_meter_log(path, options, times)
        except IngestError as error:
            text = f"the log {error.what}"
            raise FleetmarkError(ErrorKind.BAD_POWER_LOG, text, f"run {run_id}") from error
        sha256 = await asyncio.to_thread(sha256_file, path)
        log = meter_import.MeterLog(sha256, size, options, found)
        who = auth.caller_label()
        stored = await engine.reader.run(lambda c: runs.energy(c, run_id))
        plan = meter_import.plan_import(stored, counts, log, who, now_unix_ns())
        if plan.conflict and not first.replace and not first.dry_run:
            raise meter_import.conflict_error(run_id, plan.conflict)
        changed = not plan.is_known and not first.dry_run
        if changed:
            if not engine.blobs.has(sha256):
                await asyncio.to_thread(engine.blobs.commit, path, sha256, size)
            plan = await engine.transactions.run_operation(
                partial(
                    meter_import.import_log, who=who, run_id=run_id, log=log, replace=first.replace
                )
            )
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FleetmarkError(ErrorKind.DISK_FULL, "the controller's disk is full") from error
        raise
    finally:
        path.unlink(missing_ok=True)
    return results_pb2.ImportMeterLogReply(
        run_id=run_id,
        changed=changed and not plan.is_known,
        figures=canonical_json(plan.columns),
        conflict=plan.conflict if first.dry_run and not first.replace else "",
    )


def read_options(message: results_pb2.MeterOptions) -> MeterOptions:
    """Return checked options; a field that the message does not state has its default.

    Raises:
        FleetmarkError: USAGE.
    """
    values: dict[str, Any] = {}
    stated = {descriptor.name for descriptor, _ in message.ListFields()}
    for field in fields(MeterOptions):
        value = getattr(message, field.name)
        # A number may be 0, so that it has a presence of its own; an empty text is not stated.
        if field.name in stated or (field.default is not None and value):
            values[field.name] = value
    options = MeterOptions(**values)
    check_options(options)
    check_format(options)
    return options


async def _receive(
    data: bytes, parts: AsyncIterator[results_pb2.ImportMeterLogRequest], path: Path, limit: int
) -> int:
    """Write the chunks of a log to `path`; return its size in bytes."""
    size = 0
    with path.open("xb") as file:
        while True:
            size += len(data)
            if size > limit:
                raise FleetmarkError(
                    ErrorKind.BAD_POWER_LOG, f"the log is larger than {limit} bytes"
                )
            await asyncio.to_thread(file.write, data)
            try:
                data = (await anext(parts)).data
            except StopAsyncIteration:
                return size
