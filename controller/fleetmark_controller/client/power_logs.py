"""Uploads of the logs of power meters. The controller makes all decisions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from fleetmark_controller.client.connection import UPLOAD_TIMEOUT_S, Client
from fleetmark_controller.evaluation import ptdaemon
from fleetmark_controller.evaluation.power_meter.options import MeterOptions, check_options
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import open_regular, read_regular
from fleetmark_protos.channel import CHUNK_BYTES
from fleetmark_protos.v1 import results_pb2

_PATIENCE_S = 900.0
_HEAD_BYTES = 64 << 10


def is_ptdaemon_log(path: Path) -> bool:
    """Return whether a file is a log of PTDaemon, by its first lines.

    Raises:
        FleetmarkError: USAGE: the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            return ptdaemon.is_log(file.read(_HEAD_BYTES))
    except OSError as error:
        raise _file_error(path, error) from error


def send_power(
    client: Client, run: str, path: Path, ahead_s: float
) -> results_pb2.ImportPowerReply:
    """Upload a log of PTDaemon for a run to the controller.

    Raises:
        FleetmarkError: an error of the controller or of the file.
    """
    try:
        data = read_regular(path, ptdaemon.MAX_BYTES)
    except OSError as error:
        raise _file_error(path, error) from error
    ahead_ns = round(max(-1e6, min(ahead_s, 1e6)) * 1e9)

    def parts() -> Iterator[results_pb2.ImportPowerRequest]:
        yield results_pb2.ImportPowerRequest(run_id=run, clock_offset_ns=ahead_ns)
        for start in range(0, len(data), CHUNK_BYTES):
            yield results_pb2.ImportPowerRequest(data=data[start : start + CHUNK_BYTES])

    reply: results_pb2.ImportPowerReply = client.call(
        client.results.ImportPower, parts(), _PATIENCE_S
    )
    return reply


def send_meter_log(
    client: Client, run: str, path: Path, options: MeterOptions, *, replace: bool, dry_run: bool
) -> results_pb2.ImportMeterLogReply:
    """Upload the log of a power meter for a run to the controller, in chunks.

    Raises:
        FleetmarkError: an error of the controller or of the file.
    """
    stated = {
        field.name: value
        for field in fields(options)
        if (value := getattr(options, field.name)) is not None
    }
    first = results_pb2.ImportMeterLogRequest(
        run_id=run,
        options=results_pb2.MeterOptions(**stated),
        replace=replace,
        dry_run=dry_run,
    )
    try:
        with open_regular(path) as file:

            def parts() -> Iterator[results_pb2.ImportMeterLogRequest]:
                yield first
                while chunk := file.read(CHUNK_BYTES):
                    yield results_pb2.ImportMeterLogRequest(data=chunk)

            reply: results_pb2.ImportMeterLogReply = client.call(
                client.results.ImportMeterLog, parts(), UPLOAD_TIMEOUT_S
            )
            return reply
    except OSError as error:
        raise _file_error(path, error) from error


def check_head(path: Path, options: MeterOptions) -> None:
    """Check the size and the headings of a log before gigabytes of something else are sent.

    Raises:
        FleetmarkError: USAGE, BAD_POWER_LOG.
    """
    from fleetmark_controller.evaluation.power_meter.formats import check_format
    from fleetmark_controller.evaluation.power_meter.reader import MeterLog

    check_options(options)
    check_format(options)
    try:
        MeterLog(path, options)
    except IngestError as error:
        raise FleetmarkError(ErrorKind.BAD_POWER_LOG, f"the log {error.what}", str(path)) from error


def _file_error(path: Path, error: OSError) -> FleetmarkError:
    return FleetmarkError(ErrorKind.USAGE, error.strerror or str(error), str(path))
