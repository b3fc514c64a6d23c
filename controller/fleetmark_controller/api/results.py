"""Service Results: records from agents, rows and runs for operators."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from fleetmark_controller.api import (
    auth,
    error_handling,
    measured_interval,
    meter_logs,
    serde,
    validation,
)
from fleetmark_controller.api.blobs import quota_exceeded_error
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.evaluation import ptdaemon
from fleetmark_controller.identity import certificates
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.operations import offline, power_import, results
from fleetmark_controller.store.devices.selection import matching_names
from fleetmark_controller.store.results import public_views, runs
from fleetmark_core.bundle_file import ResultsDocument, parse_results, parse_signed_by_device
from fleetmark_core.clock import iso, now_monotonic_ns, parse_iso
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.records import Record
from fleetmark_protos.v1 import results_pb2, results_pb2_grpc

_BATCH_ROWS = 500
_MAX_IMPORT_BYTES = 256 * 1024 * 1024
_MOST_AHEAD_NS = 86_400 * 10**9
_ROW_BYTES = 512
"""Bytes of a record in the store besides its payload, so that many small records are counted."""


class ResultsService(results_pb2_grpc.ResultsServicer):
    """Service for the results store."""

    def __init__(self, engine: Engine) -> None:
        """Serve one engine."""
        self._engine = engine

    @error_handling.unary
    async def Append(
        self, request: results_pb2.AppendRequest, context: error_handling.Context
    ) -> results_pb2.AppendReply:
        """Store records; acknowledge what is durable."""
        key = serde.key_from(request.attempt)
        auth.require_device(key.device_id)
        # Parse megabytes in a thread, so that other calls do not wait.
        records = await asyncio.to_thread(serde.records_from, request.records)
        for record in records:
            self._need_blob(record)
        size = sum(len(record.payload) + _ROW_BYTES for record in records)
        if not self._engine.budget.spend(key.device_id, size, time.monotonic()):
            raise quota_exceeded_error()
        through = await self._engine.transactions.run_operation(
            lambda c, fx, now: results.append(c, fx, now, key, records)
        )
        return results_pb2.AppendReply(
            through_seq=through, credit_bytes=self._engine.settings.credit_bytes
        )

    @error_handling.unary
    async def Import(
        self,
        request_iterator: AsyncIterator[results_pb2.ImportRequest],
        context: error_handling.Context,
    ) -> results_pb2.ImportReply:
        """Store the results that a device without network wrote into a file."""
        data = bytearray()
        async for part in request_iterator:
            data += part.data
            if len(data) > _MAX_IMPORT_BYTES:
                raise FleetmarkError(ErrorKind.BAD_MESSAGE, "the document is too large")
        document, key_sha256 = await asyncio.to_thread(_opened, bytes(data))
        for record in document.records:
            self._need_blob(record)
        who = auth.caller_label()
        done = await self._engine.transactions.run_operation(
            lambda c, fx, now: offline.import_results(c, fx, now, who, document, key_sha256)
        )
        return results_pb2.ImportReply(
            job_id=document.job_id, epoch=document.epoch, records=done.records, new_records=done.new
        )

    @error_handling.unary
    async def ImportPower(
        self,
        request_iterator: AsyncIterator[results_pb2.ImportPowerRequest],
        context: error_handling.Context,
    ) -> results_pb2.ImportPowerReply:
        """Replace a run's energy by that from a PTDaemon log."""
        prefix, ahead_ns, data = "", 0, bytearray()
        async for part in request_iterator:
            prefix, ahead_ns = part.run_id or prefix, part.clock_offset_ns or ahead_ns
            data += part.data
            if len(data) > ptdaemon.MAX_BYTES:
                raise FleetmarkError(ErrorKind.BAD_POWER_LOG, "the log is too large")
        if abs(ahead_ns) > _MOST_AHEAD_NS:
            raise FleetmarkError(
                ErrorKind.USAGE,
                "the clocks may differ by at most one day",
                "--clock-offset",
            )
        run_id = await self._engine.find("run", prefix)
        times, known = await self._engine.reader.run(
            lambda c: measured_interval.run_times(c, run_id)
        )
        try:
            power = await asyncio.to_thread(
                ptdaemon.evaluate,
                bytes(data),
                round(times.start_s * 1000) * 1_000_000,  # LoadGen marks milliseconds
                known.duration_s or times.duration_s,
                ahead_ns,
            )
        except IngestError as error:
            raise FleetmarkError(
                ErrorKind.BAD_POWER_LOG,
                f"the log {error.what}",
                f"run {run_id}",
                "If the clocks differed, give the difference with --clock-offset",
            ) from error
        sha256 = await asyncio.to_thread(self._engine.blobs.put_bytes, bytes(data))
        log = runs.RunFile(power_import.NAME, power_import.ROLE, sha256, len(data))
        who = auth.caller_label()
        await self._engine.transactions.run_operation(
            lambda c, fx, now: power_import.import_power(c, fx, now, who, run_id, power, log)
        )
        return results_pb2.ImportPowerReply(
            run_id=run_id,
            energy_j=power.energy_j,
            power_mean_w=power.mean_w,
            energy_per_query_j=power.energy_j / known.queries if known.queries else 0.0,
            samples=power.samples,
        )

    @error_handling.unary
    async def ImportMeterLog(
        self,
        request_iterator: AsyncIterator[results_pb2.ImportMeterLogRequest],
        context: error_handling.Context,
    ) -> results_pb2.ImportMeterLogReply:
        """Replace a run's energy by that from the log of a power meter."""
        return await meter_logs.import_meter_log(self._engine, aiter(request_iterator))

    @error_handling.streaming
    async def ListRows(
        self, request: results_pb2.ListRowsRequest, context: error_handling.Context
    ) -> AsyncIterator[results_pb2.RowBatch]:
        """Yield the rows of a public view."""
        if request.view not in public_views.VIEWS:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"unknown view {request.view!r}",
                next_step=f"Views: {', '.join(public_views.VIEWS)}",
            )
        since = _since(request.since)
        campaign = ""
        if request.campaign_id:
            campaign = await self._engine.find("campaign", request.campaign_id)
        devices = None
        if request.selector:
            online = self._engine.presence.online_ids(now_monotonic_ns())
            devices = await self._engine.reader.run(
                lambda c: matching_names(c, request.selector, online)
            )

        def rows(
            connection: sqlite3.Connection,
        ) -> tuple[list[str], list[tuple[public_views.Value, ...]]]:
            columns, found = public_views.select(
                connection,
                request.view,
                campaign_id=campaign,
                devices=devices,
                since=since,
                samples=request.samples,
            )
            return columns, list(found)

        columns, found = await self._engine.reader.run(rows)
        yield results_pb2.RowBatch(columns=columns)
        for start in range(0, len(found), _BATCH_ROWS):
            batch = found[start : start + _BATCH_ROWS]
            yield results_pb2.RowBatch(rows=[serde.row(values) for values in batch])

    @error_handling.unary
    async def GetRun(
        self, request: results_pb2.GetRunRequest, context: error_handling.Context
    ) -> results_pb2.Run:
        """Return one run with provenance and files."""
        run_id = await self._engine.find("run", request.run_id)

        def read(connection: sqlite3.Connection) -> results_pb2.Run:
            columns, values = public_views.run(connection, run_id)
            files = runs.files(connection, run_id)
            return results_pb2.Run(
                columns=columns,
                row=serde.row(values),
                provenance=runs.provenance(connection, run_id).encode(),
                files=[
                    results_pb2.RunFile(name=f.name, sha256=f.sha256, size_bytes=f.size_bytes)
                    for f in files
                ],
            )

        return await self._engine.reader.run(read)

    def _need_blob(self, record: Record) -> None:
        if record.kind != "file":
            return
        try:
            sha256 = str(json.loads(record.payload)["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise FleetmarkError(
                ErrorKind.BAD_MESSAGE, f"record {record.seq} names no file"
            ) from error
        if not self._engine.blobs.has(sha256):
            raise FleetmarkError(
                ErrorKind.BLOB_MISSING, f"upload blob {sha256[:64]} before its record {record.seq}"
            )


def _opened(data: bytes) -> tuple[ResultsDocument, str]:
    """Return a verified results document, and the fingerprint of the key that signed it."""
    envelope = parse_signed_by_device(data)
    request = certificates.check_document(envelope.signed, envelope.csr, envelope.signature)
    document = parse_results(envelope.signed)
    validation.count(len(document.records), results.MAX_SEQ, "records")
    validation.identifier(document.device_id, "a device id")
    validation.identifier(document.job_id, "an id")
    validation.epoch(document.epoch)
    serde.check_records(document.records)
    refusal = validation.text(document.refusal, serde.MAX_REASON)
    return replace(document, refusal=refusal), request.key_sha256


def _since(text: str) -> str:
    if not text:
        return ""
    try:
        return iso(parse_iso(text))
    except ValueError as error:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"--since: {text!r} is not an ISO 8601 time",
            next_step="Example: 2026-01-31T12:00Z",
        ) from error
