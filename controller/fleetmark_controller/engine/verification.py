"""Evaluation of a finished attempt: from its records and logs to the run."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any

from fleetmark_controller.evaluation import records as reported
from fleetmark_controller.evaluation.run_facts import RunFacts, RunInputs
from fleetmark_controller.lifecycle.failure_policy import cause_of_final, out_of_memory
from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.loadgen.mllog import clean_text
from fleetmark_controller.operations.results import Evaluation
from fleetmark_controller.planning.device import Device
from fleetmark_controller.planning.memory_history import MemoryKey, MemoryPeak
from fleetmark_controller.planning.resources import memory_key
from fleetmark_controller.store.devices import devices
from fleetmark_controller.store.jobs import attempts, jobs, lockfiles
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.results import records
from fleetmark_controller.store.results.runs import RunFile
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.clock import iso
from fleetmark_core.digest import canonical_json
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.lockfile import Lockfile
from fleetmark_core.order import Order, parse_order
from fleetmark_core.records import Final
from fleetmark_core.regular_file import is_damage, open_regular
from fleetmark_core.resource_model import Run
from fleetmark_core.serde import to_plain

COMPLETED = "completed"
_ADDED = {"sustained": "sustained.json", "crosscheck": "crosscheck.json"}
"""Files that the controller adds to those of a run, by fact and role.

They are the series of a sustained run, and the rounds of a cross-check.
"""
_MAX_REASON = 400


@dataclass(frozen=True)
class Evidence:
    """The stored evidence of a finished attempt."""

    key: AttemptKey
    order: Order
    lock: Lockfile
    final: Final
    files: tuple[RunFile, ...]
    telemetry: tuple[tuple[str, ...], list[list[Any]]]
    device: Device
    received_unix_ns: int
    asked: dict[str, Any] = field(default_factory=dict)
    """The parameters of the job: those of the order without the values added for the device."""
    is_sustained: bool = False


def gather(
    connection: sqlite3.Connection, key: AttemptKey, received_unix_ns: int
) -> Evidence | Evaluation:
    """Return the evidence of an attempt, or its result at once if the evidence is not valid."""
    attempt = attempts.get(connection, key)
    device = devices.get(connection, key.device_id)
    if attempt is None or attempt.final_seq is None or device is None:
        raise RuntimeError(f"attempt {key} is not complete")
    stored = [
        record
        for record in records.list_for_attempt(connection, key)
        if record.seq <= attempt.final_seq
    ]
    order = parse_order(attempt.order)
    lock = lockfiles.get(connection, order.lock_sha256)
    try:
        final = reported.parse_sealed(stored)
        files = tuple(RunFile(*file) for file in reported.parse_files(stored, lock))
        telemetry = reported.parse_telemetry(stored)
    except FleetmarkError as error:
        return _invalid_records(error, FailureCause.DEVICE)
    if final.outcome == COMPLETED:
        try:
            reported.check_result(final)
        except FleetmarkError as error:
            # The program wrote the result; the agent only passes it on.
            return _invalid_records(error, FailureCause.JOB)
    else:
        reason = (
            clean_text(final.reason) or f"the job ended with outcome {clean_text(final.outcome)}"
        )
        failure = final.provenance.get("failure")
        cause = cause_of_final(final.outcome, final.exit_code, final.retryable, failure)
        lack = out_of_memory(failure)
        needed = None if lack is None else lack.needed_bytes()
        return Evaluation(
            AttemptOutcome.FAILED,
            reason,
            final.retryable and lack is None,
            cause=cause,
            memory=None if needed is None else _peak(order, device, needed, killed=True),
            out_of_memory=lack is not None,
        )
    job = jobs.get(connection, key.job_id)
    asked = order.parameters if job is None else job.configuration["parameters"]
    return Evidence(
        *(key, order, lock, final, files, telemetry, device, received_unix_ns, dict(asked)),
        is_sustained=job is not None and bool(job.configuration.get("sustained")),
    )


def _peak(
    order: Order, device: Device, peak_bytes: int, killed: bool = False
) -> tuple[MemoryKey, MemoryPeak]:
    run = Run(order.scenario, order.mode, order.profile, order.parameters)
    key = memory_key(order.lock_sha256, device.capabilities)
    return key, MemoryPeak(run, peak_bytes, killed)


def _invalid_records(error: FleetmarkError, cause: FailureCause) -> Evaluation:
    # The text contains data from the device.
    reason = clean_text(f"the device sent invalid records: {error}")
    return Evaluation(AttemptOutcome.FAILED, reason, cause=cause)


def inputs(evidence: Evidence, blobs: BlobFolder) -> RunInputs:
    """Return the worker's input: plain values and paths."""
    columns, rows = evidence.telemetry
    # Labels may be in a file of their own, or in the data set's.
    labels = evidence.lock.inputs.get("labels") or evidence.lock.inputs.get("dataset")
    return RunInputs(
        lock=evidence.lock.plain(),
        order=to_plain(evidence.order),
        final=to_plain(evidence.final),
        files={file.role: str(blobs.path(file.sha256)) for file in evidence.files},
        telemetry=(columns, rows),
        labels_path=str(blobs.path(labels.sha256)) if labels else None,
        received_unix_ns=evidence.received_unix_ns,
        is_sustained=evidence.is_sustained,
    )


def check_readable(evidence: Evidence, blobs: BlobFolder) -> None:
    """Check that the controller can read the files of the evidence.

    A missing file passes; the evaluation reports it.

    Raises:
        OSError: a file cannot be read because of the controller's disk, which proves nothing about
            the run.
    """
    for file in evidence.files:
        path = blobs.path(file.sha256)
        try:
            with open_regular(path) as stream:
                stream.read(1)
        except OSError as error:
            # A folder or special file in place of the file is permanent: a retry would not help.
            lost = isinstance(error, FileNotFoundError) and path.parent.parent.is_dir()
            if not lost and not is_damage(error):
                raise


def build_run(evidence: Evidence, facts: RunFacts, blobs: BlobFolder, now_ns: int) -> Evaluation:
    """Build the run from evidence and evaluated facts; store its samples as a blob."""
    values = to_plain(facts)
    samples: bytes | None = facts.samples
    for name in ("samples", "problems", "loadgen_reasons", "energy_by_source", *_ADDED):
        values.pop(name)
    files = evidence.files
    if samples is not None:
        values["samples_sha256"] = blobs.put_bytes(samples)
        files = tuple(file for file in files if file.role != "samples")
    for role, name in _ADDED.items():
        document = getattr(facts, role)
        if document is None:
            continue
        content = canonical_json(document)
        digest = blobs.put_bytes(content)
        # A program may have an output of this name; two files of a run must not share one.
        others = [file for file in files if file.name != name]
        files = (*others, RunFile(name, role, digest, len(content)))
    values |= _identity(evidence)
    values["stored_at"] = iso(now_ns)
    values["provenance"] = _provenance(evidence, facts)
    invalid = facts.loadgen_validity == "INVALID"
    reason = "; ".join(facts.problems)
    if invalid and not reason and facts.loadgen_reasons:
        reason = f"LoadGen: {'; '.join(facts.loadgen_reasons)}"[:_MAX_REASON]
    outcome = AttemptOutcome.INVALID if invalid else AttemptOutcome.VALID
    if facts.estimate_reason is not None:
        outcome, reason = AttemptOutcome.ESTIMATE, facts.estimate_reason
    peak = facts.peak_memory_bytes
    return Evaluation(
        outcome,
        reason,
        False,
        values,
        files,
        memory=_peak(evidence.order, evidence.device, peak) if peak else None,
    )


def _identity(evidence: Evidence) -> dict[str, Any]:
    lock, order, device = evidence.lock, evidence.order, evidence.device
    job, facts = lock.job, device.capabilities
    runtime = job.get("runtime", {})
    # The shape of the result was checked when the evidence was gathered.
    used = reported.check_result(evidence.final).get("runtime") or {}
    model = lock.component("model")
    data_set = lock.component("dataset")
    return {
        "device": device.name,
        "arch": facts.arch,
        "os": f"{facts.os.name} {facts.os.version}",
        "board": facts.board.model,
        "benchmark": lock.benchmark,
        "model": model.name if model else None,
        "precision": job.get("model", {}).get("precision"),
        "dataset": data_set.name if data_set else None,
        "runtime": runtime.get("package") or runtime.get("name"),
        "runtime_version": reported.plain_text(used.get("version")) or runtime.get("version"),
        "accelerator": reported.plain_text(used.get("provider")),
        "scenario": order.scenario,
        "mode": order.mode,
        "profile": order.profile,
        "parameters": evidence.asked,
        "lock_sha256": order.lock_sha256,
        "release_serial": order.release_serial or None,
        "agent_version": reported.plain_text(evidence.final.provenance.get("agent_version"), 40),
    }


def _provenance(evidence: Evidence, facts: RunFacts) -> dict[str, Any]:
    return {
        **evidence.final.provenance,
        "order": to_plain(evidence.order),
        "lock_sha256": evidence.order.lock_sha256,
        "components": to_plain(evidence.lock.components),
        "problems": list(facts.problems),
        "loadgen_reasons": list(facts.loadgen_reasons),
        "energy_by_source_j": dict(facts.energy_by_source),
        **{name: value for name in _ADDED if (value := getattr(facts, name)) is not None},
    }
