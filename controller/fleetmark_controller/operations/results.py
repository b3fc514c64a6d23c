"""Store records and runs: acknowledged when durable, finalized exactly once."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetmark_controller.lifecycle.retry_policy import FINISHED, AttemptOutcome
from fleetmark_controller.lifecycle.states import AttemptState, allowed_transitions
from fleetmark_controller.operations import repeats
from fleetmark_controller.operations.attempt_end import end_attempt
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.planning.memory_history import MemoryKey, MemoryPeak
from fleetmark_controller.store.jobs import attempts
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.results import memory_peaks, records, runs
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.records import KINDS, MAX_PAYLOAD_BYTES, Record

MAX_SEQ = 1_000_000


def append(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    key: AttemptKey,
    batch: Sequence[Record],
) -> int:
    """Store records; return the highest contiguous seq, up to which the device may delete records.

    Raises:
        FleetmarkError: FENCED (no such attempt on this device), BAD_MESSAGE.
    """
    for record in batch:
        if not 1 <= record.seq <= MAX_SEQ or record.kind not in KINDS:
            raise FleetmarkError(
                ErrorKind.BAD_MESSAGE, f"bad record {record.seq} {record.kind[:20]!r}"
            )
        if len(record.payload) > MAX_PAYLOAD_BYTES:
            raise FleetmarkError(
                ErrorKind.BAD_MESSAGE, f"record {record.seq} has {len(record.payload)} bytes"
            )
    attempt = attempts.get(connection, key)
    if attempt is None:
        raise FleetmarkError(
            ErrorKind.FENCED,
            f"no attempt of job {key.job_id} with epoch {key.epoch} on this device",
        )
    through = records.insert(connection, now_ns, key, batch)
    stored = attempts.get(connection, key)
    if stored is not None and stored.complete and not stored.verified:
        if AttemptState.VERIFYING in allowed_transitions(stored.state):
            attempts.transition(connection, now_ns, stored, AttemptState.VERIFYING, "")
            effects.jobs.add(key.job_id)
        effects.verify.append(key)
    return through


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating an attempt.

    `values` are columns of table run that follow from records and logs.
    """

    ending: AttemptOutcome
    reason: str
    retryable: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    files: tuple[runs.RunFile, ...] = ()
    cause: FailureCause = FailureCause.DEVICE
    """Cause of a failure; not used if the attempt has a run."""
    memory: tuple[MemoryKey, MemoryPeak] | None = None
    """Peak memory of a run, or the limit under which it ran out of memory; None if unknown."""
    out_of_memory: bool = False
    """Whether the job failed because it ran out of memory."""


def finalise(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    key: AttemptKey,
    run_id: str,
    judgement: Evaluation,
) -> bool:
    """Store the run of an attempt and end the attempt, once; return whether this call did it.

    A finished attempt whose job no longer needs its result (a newer epoch, a cancelled or finished
    job) is stored as *late*: official = 0.
    """
    attempt = attempts.get(connection, key)
    if attempt is None or attempt.verified:
        return False
    attempts.set_evaluated(connection, key)
    if judgement.memory is not None:
        memory_peaks.add(connection, *judgement.memory)
    verdict = end_attempt(
        connection,
        effects,
        now_ns,
        attempt,
        judgement.ending,
        judgement.reason,
        judgement.retryable,
        cause=judgement.cause,
        out_of_memory=judgement.out_of_memory,
    )
    if judgement.ending in FINISHED:
        identity = {
            "run_id": run_id,
            "job_id": key.job_id,
            "epoch": key.epoch,
            "official": int(verdict.official),
        }
        runs.add(connection, {**judgement.values, **identity}, judgement.files)
        if verdict.official:
            repeats.after_run(connection, effects, now_ns, key)
    return True
