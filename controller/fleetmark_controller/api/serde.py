"""Conversion of messages to plain values and back."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

from fleetmark_controller.api import validation
from fleetmark_controller.api.capability_serde import capabilities_from
from fleetmark_controller.lifecycle.states import AttemptState
from fleetmark_controller.operations.sessions import DeviceHello, DeviceReport
from fleetmark_controller.planning.estimates import CampaignEstimate
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.jobs.listings import AttemptLine, CampaignLine, JobLine
from fleetmark_controller.store.results.public_views import Value
from fleetmark_core.clock import NS_PER_S, now_unix_ns
from fleetmark_core.device_names import RULE, is_device_name
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.records import Record
from fleetmark_protos.channel import MAX_ORDER_BYTES
from fleetmark_protos.v1 import common_pb2, jobs_pb2, results_pb2, session_pb2

MAX_REASON = 2000
_CAUSES = {
    session_pb2.FailureCause.Value(f"FAILURE_CAUSE_{cause.name}"): cause for cause in FailureCause
}
"""A cause that is not set, or that only a newer agent knows, is not in the table."""


def key_from(message: common_pb2.AttemptRef) -> AttemptKey:
    """Return the attempt that a message names.

    Raises:
        FleetmarkError: BAD_MESSAGE.
    """
    if not (message.device_id and message.job_id and 0 < message.epoch < 1 << 63):
        raise FleetmarkError(ErrorKind.BAD_MESSAGE, "the attempt has no device, job or epoch")
    for value in (message.device_id, message.job_id, message.boot_id):
        validation.identifier(value, "an id")
    return AttemptKey(message.device_id, message.job_id, message.epoch)


def key_to(key: AttemptKey, boot_id: str = "") -> common_pb2.AttemptRef:
    """Return the message that names an attempt."""
    return common_pb2.AttemptRef(
        device_id=key.device_id, job_id=key.job_id, epoch=key.epoch, boot_id=boot_id
    )


def report_from(message: session_pb2.AttemptReport) -> DeviceReport:
    """Return a device's report of an attempt."""
    return DeviceReport(
        key_from(message.attempt),
        state_from(message.state),
        validation.text(message.reason, MAX_REASON),
        message.retryable,
        cause=_CAUSES.get(message.cause),
    )


def _named_in_hello(message: session_pb2.AttemptReport) -> DeviceReport:
    """Return a report in a hello with its signed order, which is not yet verified."""
    order = message.signed_order
    # A larger order is not from this controller, which is no reason to refuse the device.
    signed_order = order if len(order) <= MAX_ORDER_BYTES else b""
    return replace(report_from(message), signed_order=signed_order)


def state_from(state: common_pb2.AttemptState.ValueType) -> AttemptState:
    """Return a state from its wire value, whose name has a prefix."""
    try:
        name = common_pb2.AttemptState.Name(state).removeprefix("ATTEMPT_STATE_")
        return AttemptState(name)
    except ValueError as error:
        raise FleetmarkError(ErrorKind.BAD_MESSAGE, f"unknown attempt state {state}") from error


def state_to(state: AttemptState) -> common_pb2.AttemptState.ValueType:
    """Return the wire value of a state."""
    return common_pb2.AttemptState.Value(f"ATTEMPT_STATE_{state.value}")


def name_from(text: str) -> str:
    """Return a device's name after checking it.

    Raises:
        FleetmarkError: BAD_MESSAGE.
    """
    if not is_device_name(text):
        raise FleetmarkError(
            ErrorKind.BAD_MESSAGE, f"{text[:40]!r} is not a valid device name: a name has {RULE}"
        )
    return text


def device_id_from(text: str) -> str:
    """Return a device's id: a UUID, as created by its agent.

    Raises:
        FleetmarkError: BAD_MESSAGE.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise FleetmarkError(
            ErrorKind.BAD_MESSAGE, f"{text[:40]!r} is not a valid device id: it is not a UUID"
        ) from error


def hello_from(message: session_pb2.Hello) -> DeviceHello:
    """Return a device's hello after checking it.

    Raises:
        FleetmarkError: BAD_MESSAGE or BAD_DOCUMENT.
    """
    name = name_from(message.name)
    if not message.device_id:
        raise FleetmarkError(ErrorKind.BAD_MESSAGE, "the device id is missing")
    validation.count(len(message.attempts), validation.MAX_ATTEMPTS, "attempts")
    reports = tuple(_named_in_hello(item) for item in message.attempts)
    if any(report.key.device_id != message.device_id for report in reports):
        raise FleetmarkError(ErrorKind.BAD_MESSAGE, "the report is for another device's attempt")
    return DeviceHello(
        device_id=validation.identifier(message.device_id, "a device id"),
        name=name,
        labels=validation.labels(message.labels),
        capabilities=capabilities_from(message.capabilities),
        agent_version=validation.text(message.agent_version, validation.MAX_ID),
        boot_id=validation.identifier(message.boot_id, "a boot id"),
        highest_epoch=validation.epoch_seen(message.highest_epoch, now_unix_ns()),
        idle=message.idle,
        attempts=reports,
        locks=tuple(message.lockfiles),
    )


def records_from(messages: Iterable[results_pb2.Record]) -> list[Record]:
    """Return records after checking their digests and payloads.

    Raises:
        FleetmarkError: BAD_MESSAGE.
    """
    records = []
    for message in messages:
        record = Record(message.seq, message.kind, message.payload)
        if record.sha256 != message.sha256:
            raise FleetmarkError(ErrorKind.BAD_MESSAGE, f"record {record.seq} has a wrong digest")
        records.append(record)
    check_records(records)
    return records


def check_records(records: Iterable[Record]) -> None:
    """Refuse records that a reader of the store could not parse, from a stream or a file.

    Raises:
        FleetmarkError: BAD_MESSAGE.
    """
    for record in records:
        validation.document(record.payload, f"record {record.seq}")


def cell(value: Value) -> common_pb2.Cell:
    """Return the message of one value of a row."""
    if value is None:
        return common_pb2.Cell()
    if isinstance(value, bool):
        return common_pb2.Cell(boolean=value)
    if isinstance(value, int):
        return common_pb2.Cell(integer=value)
    if isinstance(value, float):
        return common_pb2.Cell(real=value)
    return common_pb2.Cell(
        text=value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    )


def row(values: Sequence[Value]) -> common_pb2.Row:
    """Return the message of one row of a view."""
    return common_pb2.Row(cells=[cell(value) for value in values])


def job_to(line: JobLine, waiting: str = "") -> jobs_pb2.Job:
    """Return the message of a job in a listing, with its current wait reason."""
    values = asdict(line)
    expected_ns = int(values.pop("expected_s") * NS_PER_S)
    return jobs_pb2.Job(**values, expected_ns=expected_ns, wait_reason=waiting)


def size_to(size: CampaignEstimate) -> jobs_pb2.CampaignEstimate:
    """Return the message of a campaign's estimate."""
    return jobs_pb2.CampaignEstimate(
        jobs=size.jobs,
        devices=size.devices,
        makespan_ns=int(size.longest_s * NS_PER_S),
        total_ns=int(size.total_s * NS_PER_S),
        critical_device=size.longest_device,
        estimated_from_history=size.by_earlier_runs,
        offline_devices=size.offline,
    )


def campaign_to(line: CampaignLine) -> jobs_pb2.Campaign:
    """Return the message of a campaign in a listing."""
    return jobs_pb2.Campaign(**asdict(line))


def attempt_to(line: AttemptLine) -> jobs_pb2.Attempt:
    """Return the message of an attempt in a job's details."""
    return jobs_pb2.Attempt(**asdict(line))
