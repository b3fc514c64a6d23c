"""Devices without network: orders in bundle files, devices added from files, imported results."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from fleetmark_controller.identity.model import Identity, IdentityKind, IdentityState
from fleetmark_controller.lifecycle.states import AttemptState, JobState
from fleetmark_controller.operations import results, sessions
from fleetmark_controller.operations.dispatch import order_for
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.operations.enrollment import revoked_error
from fleetmark_controller.operations.tuned_parameters import resolve_run_parameters
from fleetmark_controller.planning.model import JobOption
from fleetmark_controller.store import epochs
from fleetmark_controller.store.devices import devices
from fleetmark_controller.store.devices.selection import named
from fleetmark_controller.store.jobs import attempts, job_options, jobs
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.results import records
from fleetmark_controller.store.security import audit, identities, releases
from fleetmark_controller.store.security.releases import SigningStatus
from fleetmark_core.bundle_file import ResultsDocument
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.clock import iso
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.plural import counted

_ON_THE_WAY = (AttemptState.PREPARING, AttemptState.RUNNING, AttemptState.UPLOADING)


def export(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    who: str,
    job_id: str,
    device: str,
    trust: SigningStatus,
) -> tuple[AttemptKey, bytes]:
    """Bind a waiting job to a device that gets its order in a bundle file.

    A job that was exported and has not ended returns its order again.

    Args:
        connection: the writer's connection.
        effects: receives the changed job.
        now_ns: the wall clock.
        who: the operator.
        job_id: the job.
        device: the name of a device; may be empty if the job can run on one device only.
        trust: the release under which orders can be signed.

    Returns:
        The attempt and its order.

    Raises:
        FleetmarkError: NOT_FOUND; USAGE; NOT_RELEASED: no release contains what it runs; FENCED: it
            is not waiting.
    """
    job = jobs.get(connection, job_id)
    if job is None:
        raise FleetmarkError(ErrorKind.NOT_FOUND, f"no job {job_id!r}")
    if job.state is JobState.ACTIVE and job.device_id:
        key = AttemptKey(job.device_id, job_id, job.newest_epoch)
        known = attempts.get(connection, key)
        if known is not None and attempts.is_exported(connection, key):
            return key, known.order
    if job.state is not JobState.QUEUED or job.attempts >= job.max_attempts:
        raise FleetmarkError(
            ErrorKind.FENCED,
            f"the job is {job.state.value}; only a waiting job can be exported as a bundle",
            job_id,
            "Pause its campaign before a device takes the job",
        )
    option = _option(connection, job_id, device)
    missing = trust.fault or releases.unsigned(connection).get(option.lock_sha256, "")
    if missing or trust.reference is None:
        raise FleetmarkError(
            ErrorKind.NOT_RELEASED,
            f"unsigned: {missing or 'this controller does not sign orders'}",
            job_id,
            "Run `controller catalog release sign`",
        )
    key = AttemptKey(option.device_id, job_id, epochs.next_epoch(connection))
    parameters, option = resolve_run_parameters(connection, job, option)
    order = order_for(job, option, key, trust.reference, parameters)
    jobs.assign(connection, job_id, key.device_id, key.epoch)
    jobs.transition(connection, now_ns, job, JobState.ACTIVE, "its bundle was exported")
    attempts.add(connection, now_ns, key, order)
    attempts.set_exported(connection, now_ns, key)
    audit.add(connection, now_ns, who, "bundle.export", job_id, **key._asdict())
    effects.jobs.add(job_id)
    return key, order


def _option(connection: sqlite3.Connection, job_id: str, device: str) -> JobOption:
    names = {
        known.name: found
        for known in devices.list_all(connection)
        if (found := job_options.get(connection, job_id, known.device_id)) is not None
    }
    listed = ", ".join(sorted(names)[:5]) or "no device"
    if device and device not in names:
        device = named(connection, device).name
    if device in names:
        return names[device]
    if device:
        raise FleetmarkError(
            ErrorKind.NOT_FOUND,
            f"the job cannot run on {device!r}",
            "--device",
            f"The job can run on {listed}",
        )
    if len(names) != 1:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"the job fits {counted(len(names), 'device')}",
            "--device",
            f"Name one: {listed}",
        )
    return next(iter(names.values()))


@dataclass(frozen=True)
class ImportSummary:
    """The result of an import: the number of records in the document, and of new records."""

    records: int
    new: int


def import_results(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    who: str,
    document: ResultsDocument,
    key_sha256: str,
) -> ImportSummary:
    """Store results from a file of a device, as if they had arrived on its stream.

    A repeated import changes nothing.

    Args:
        connection: the writer's connection.
        effects: receives the attempt to be evaluated.
        now_ns: the wall clock.
        who: the operator.
        document: the document.
        key_sha256: fingerprint of the key that signed the document.

    Raises:
        FleetmarkError: FORBIDDEN or REVOKED: the key is not that of the device; FENCED: the attempt
            was not dispatched to the device.
    """
    identity = identities.get(connection, document.device_id)
    if (
        identity is None
        or identity.kind is not IdentityKind.DEVICE
        or identity.key_sha256 != key_sha256
    ):
        raise FleetmarkError(
            ErrorKind.FORBIDDEN, "the results are not signed by the device that they name"
        )
    if identity.state in (IdentityState.REVOKED, IdentityState.REMOVED):
        raise revoked_error(identity)
    key = AttemptKey(document.device_id, document.job_id, document.epoch)
    attempt = attempts.get(connection, key)
    if attempt is None:
        raise FleetmarkError(
            ErrorKind.FENCED,
            f"no attempt of job {key.job_id} with epoch {key.epoch} was dispatched to this device",
        )
    before = records.count(connection, key)
    if document.refusal:
        if attempt.state in (AttemptState.OFFERED, AttemptState.PREPARING):
            refusal = sessions.DeviceReport(key, AttemptState.REFUSED, document.refusal)
            sessions.report(connection, effects, now_ns, refusal)
            audit.add(
                connection, now_ns, who, "results.import", key.job_id, refusal=document.refusal
            )
        effects.stops.clear()
        return ImportSummary(0, 0)
    for state in _ON_THE_WAY:
        sessions.report(connection, effects, now_ns, sessions.DeviceReport(key, state))
    results.append(connection, effects, now_ns, key, document.records)
    new = records.count(connection, key) - before
    if new:
        audit.add(
            connection, now_ns, who, "results.import", key.job_id, epoch=key.epoch, records=new
        )
    return ImportSummary(len(document.records), new)


def add_device(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    who: str,
    *,
    device_id: str,
    name: str,
    capabilities: Capabilities,
    agent_version: str,
    key_sha256: str,
) -> Identity:
    """Register a device from a file of its agent. The operator who adds it thereby approves it.

    Adding the same device again only updates its capabilities.

    Raises:
        FleetmarkError: FORBIDDEN: another key has its id, or the key is an operator's; REVOKED.
    """
    known = identities.by_key(connection, key_sha256)
    if known is not None and known.state in (IdentityState.REVOKED, IdentityState.REMOVED):
        raise revoked_error(known)
    if known is None and identities.get(connection, device_id) is None:
        called = devices.free_name(connection, device_id, name)
        known = Identity(
            *(
                device_id,
                IdentityKind.DEVICE,
                called,
                None,
                key_sha256,
                IdentityState.ACTIVE,
                {},
                iso(now_ns),
            )
        )
        identities.add(connection, now_ns, known)
        audit.add(
            connection,
            now_ns,
            who,
            "device.add",
            called,
            device_id=device_id,
            key_sha256=key_sha256,
        )
        effects.identities.add(device_id)
    if known is None or (known.identity_id, known.kind) != (device_id, IdentityKind.DEVICE):
        raise FleetmarkError(ErrorKind.FORBIDDEN, "another key is registered with this device's id")
    devices.upsert(
        connection,
        now_ns,
        device_id=device_id,
        name=known.name,
        labels=known.labels,
        capabilities=capabilities,
        agent_version=agent_version,
        boot_id="",
    )
    return known
