"""Attempts: each update compares device and epoch, so that a stale message changes nothing."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import NamedTuple

from fleetmark_controller.lifecycle.states import (
    ATTEMPT_ON_DEVICE,
    ATTEMPT_TERMINAL,
    AttemptState,
    check,
)
from fleetmark_controller.store import events
from fleetmark_controller.store.jobs.job_options import OPTIONS
from fleetmark_core.clock import iso
from fleetmark_core.failure_cause import FailureCause

_ON_DEVICE = ",".join(
    f"'{state.value}'" for state in sorted(ATTEMPT_ON_DEVICE, key=lambda s: s.value)
)


_NEWEST = 64
"""Limit of listed attempts; far more than a device can hold at once."""


class AttemptKey(NamedTuple):
    """Identifier of one attempt at a job."""

    device_id: str
    job_id: str
    epoch: int


@dataclass(frozen=True)
class Attempt:
    """An attempt as stored. `final_seq` is the seq of its final record, once that has arrived."""

    key: AttemptKey
    state: AttemptState
    reason: str
    order: bytes
    through_seq: int
    final_seq: int | None
    verified: bool

    @property
    def complete(self) -> bool:
        """Return whether every record up to the final one is stored."""
        return self.final_seq is not None and self.through_seq >= self.final_seq


def add(connection: sqlite3.Connection, now_ns: int, key: AttemptKey, order: bytes) -> None:
    """Store a new attempt in state OFFERED, with its signed order."""
    connection.execute(
        "INSERT INTO attempt (job_id, epoch, device_id, state, reason, order_document, created_at)"
        " VALUES (?, ?, ?, ?, '', ?, ?)",
        (key.job_id, key.epoch, key.device_id, AttemptState.OFFERED.value, order, iso(now_ns)),
    )
    events.add(connection, now_ns, "attempt.offered", **key._asdict())


def get(connection: sqlite3.Connection, key: AttemptKey) -> Attempt | None:
    """Return the attempt; None unless device, job and epoch are all as stored."""
    row = connection.execute(
        "SELECT * FROM attempt WHERE job_id = ? AND epoch = ? AND device_id = ?",
        (key.job_id, key.epoch, key.device_id),
    ).fetchone()
    return None if row is None else _attempt(row)


def newest_of(connection: sqlite3.Connection, job_id: str) -> Attempt | None:
    """Return the newest attempt of a job; None if it has no attempt yet."""
    row = connection.execute(
        "SELECT * FROM attempt WHERE job_id = ? ORDER BY epoch DESC LIMIT 1", (job_id,)
    ).fetchone()
    return None if row is None else _attempt(row)


def orders_with_runs(connection: sqlite3.Connection, campaign_id: str) -> list[bytes]:
    """Return the orders of a campaign's attempts that have a run, by epoch."""
    rows = connection.execute(
        """SELECT order_document FROM attempt JOIN job USING (job_id) JOIN run USING (job_id, epoch)
        WHERE campaign_id = ? ORDER BY epoch""",
        (campaign_id,),
    )
    return [bytes(row[0]) for row in rows]


def set_exported(connection: sqlite3.Connection, now_ns: int, key: AttemptKey) -> None:
    """Record that the order was exported in a bundle file.

    The device then reports nothing about the attempt until its results are imported.
    """
    connection.execute(
        "UPDATE attempt SET exported_at = ? WHERE job_id = ? AND epoch = ? AND device_id = ?",
        (iso(now_ns), key.job_id, key.epoch, key.device_id),
    )


def is_exported(connection: sqlite3.Connection, key: AttemptKey) -> bool:
    """Return whether the order was exported in a bundle file."""
    row = connection.execute(
        "SELECT exported_at FROM attempt WHERE job_id = ? AND epoch = ? AND device_id = ?",
        (key.job_id, key.epoch, key.device_id),
    ).fetchone()
    return row is not None and row[0] is not None


def on_device(connection: sqlite3.Connection, device_id: str) -> list[Attempt]:
    """Return a device's unfinished attempts, oldest first, other than in bundle files."""
    rows = connection.execute(
        f"SELECT * FROM attempt WHERE device_id = ? AND state IN ({_ON_DEVICE})"  # noqa: S608
        " AND exported_at IS NULL ORDER BY epoch",
        (device_id,),
    )
    return [_attempt(row) for row in rows]


def busy_devices(connection: sqlite3.Connection) -> set[str]:
    """Return the ids of devices that have an unfinished attempt, other than in bundle files."""
    query = (
        f"SELECT DISTINCT device_id FROM attempt WHERE state IN ({_ON_DEVICE})"  # noqa: S608
        " AND exported_at IS NULL"
    )
    return {row[0] for row in connection.execute(query)}


def is_newest(connection: sqlite3.Connection, key: AttemptKey) -> bool | None:
    """Return whether the attempt is its job's newest; None if the device has no such attempt."""
    row = connection.execute(
        "SELECT newest_epoch = epoch FROM attempt JOIN job USING (job_id)"
        " WHERE job_id = ? AND epoch = ? AND attempt.device_id = ?",
        (key.job_id, key.epoch, key.device_id),
    ).fetchone()
    return None if row is None else bool(row[0])


def list_unevaluated_on(
    connection: sqlite3.Connection, device_id: str
) -> list[tuple[AttemptKey, str]]:
    """Return a device's newest attempts whose results were not yet evaluated and may still arrive.

    Each comes with the digest of its lockfile.
    """
    rows = connection.execute(
        "SELECT device_id, job_id, epoch, lock_sha256"  # noqa: S608
        f" FROM attempt JOIN {OPTIONS} USING (job_id, device_id)"
        " WHERE device_id = ? AND verified = 0 AND state <> 'REFUSED'"
        " ORDER BY epoch DESC LIMIT ?",
        (device_id, _NEWEST),
    )
    return [(AttemptKey(*row[:3]), str(row[3])) for row in rows]


def list_ready_for_evaluation(connection: sqlite3.Connection) -> list[AttemptKey]:
    """Return the attempts whose records are all stored but not yet evaluated, by epoch."""
    rows = connection.execute(
        "SELECT device_id, job_id, epoch FROM attempt"
        " WHERE final_seq NOT NULL AND verified = 0 AND through_seq >= final_seq ORDER BY epoch"
    )
    return [AttemptKey(*row) for row in rows]


def transition(
    connection: sqlite3.Connection, now_ns: int, attempt: Attempt, new: AttemptState, reason: str
) -> None:
    """Move an attempt to the state `new` and log the event.

    Raises:
        IllegalTransition: a bug in this program.
    """
    key = attempt.key
    check(
        attempt.state,
        new,
        f"attempt {key.job_id} epoch {key.epoch}",
        lambda: events.history(connection, key.job_id),
    )
    changed = connection.execute(
        "UPDATE attempt SET state = ?, reason = ?, finished_at = ?"
        " WHERE job_id = ? AND epoch = ? AND device_id = ? AND state = ?",
        (
            new.value,
            reason,
            iso(now_ns) if new in ATTEMPT_TERMINAL else None,
            key.job_id,
            key.epoch,
            key.device_id,
            attempt.state.value,
        ),
    ).rowcount
    if changed != 1:
        raise RuntimeError(f"attempt {key} is no longer {attempt.state.value}")
    events.add(connection, now_ns, f"attempt.{new.value.lower()}", **key._asdict(), reason=reason)


def set_failure_cause(connection: sqlite3.Connection, key: AttemptKey, cause: FailureCause) -> None:
    """Store why the attempt failed."""
    connection.execute(
        "UPDATE attempt SET failure_cause = ? WHERE job_id = ? AND epoch = ? AND device_id = ?",
        (cause.value, key.job_id, key.epoch, key.device_id),
    )


def count_by_cause(connection: sqlite3.Connection, job_id: str, cause: FailureCause) -> int:
    """Return how many attempts of a job failed for this cause."""
    row = connection.execute(
        "SELECT count(*) FROM attempt WHERE job_id = ? AND failure_cause = ?",
        (job_id, cause.value),
    ).fetchone()
    return int(row[0])


def set_evaluated(connection: sqlite3.Connection, key: AttemptKey) -> None:
    """Mark the attempt as evaluated, so that it is not evaluated again."""
    connection.execute(
        "UPDATE attempt SET verified = 1 WHERE job_id = ? AND epoch = ? AND device_id = ?",
        (key.job_id, key.epoch, key.device_id),
    )


def count_bytes(connection: sqlite3.Connection, key: AttemptKey, count: int) -> None:
    """Add to the number of bytes that were sent to the device for the attempt."""
    connection.execute(
        "UPDATE attempt SET bytes_sent = bytes_sent + ?"
        " WHERE job_id = ? AND epoch = ? AND device_id = ?",
        (count, key.job_id, key.epoch, key.device_id),
    )


def _attempt(row: sqlite3.Row) -> Attempt:
    return Attempt(
        AttemptKey(row["device_id"], row["job_id"], row["epoch"]),
        AttemptState(row["state"]),
        row["reason"],
        row["order_document"],
        row["through_seq"],
        row["final_seq"],
        bool(row["verified"]),
    )
