"""The ledger: the attempts that this agent holds, and the highest epoch that it has seen.

It is one small file that is replaced atomically. An attempt is written to it before the agent
reports the attempt as PREPARING, and removed when the controller has its results or does not want
them.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.files import Files
from fleetmark_core.failure_cause import FailureCause, parse_cause
from fleetmark_core.shared_repr import SharedRepr

LEDGER_NAME = "ledger.json"
SPOOL_FOLDER = "spool"
BUNDLES_NAME = "bundles.json"
_FORMAT = 1


class AttemptStatus(Enum):
    """The state of an attempt, as far as a restarted agent needs it."""

    ACCEPTED = "accepted"
    """Being prepared or run; the workspace holds the details."""
    ENDED = "ended"
    """No process of the attempt runs; all its records are in the spool."""
    REFUSED = "refused"
    ABORTED = "aborted"


@dataclass(frozen=True, repr=False)
class LedgerEntry(SharedRepr):
    """One held attempt."""

    key: LocalAttemptKey
    standing: AttemptStatus
    order: bytes = b""
    reason: str = ""
    retryable: bool = False
    cause: FailureCause | None = None


@dataclass(frozen=True, repr=False)
class Ledger(SharedRepr):
    """All held attempts, and the highest epoch seen."""

    highest_epoch: int = 0
    entries: tuple[LedgerEntry, ...] = ()


class LedgerError(Exception):
    """Raised when the ledger file is damaged or missing; the message names it."""


def load(files: Files) -> Ledger:
    """Read the stored ledger; return an empty one if the home is new.

    Raises:
        LedgerError: the file is damaged, or is missing although the spool holds results. It is
            never replaced silently, because it lists the attempts whose results must still be
            delivered.
        OSError: the file cannot be read.
    """
    data = files.read(LEDGER_NAME)
    if data is None:
        # Runs of bundle files keep their results in the same folder, and have no ledger.
        if files.list(SPOOL_FOLDER) and files.read(BUNDLES_NAME) is None:
            raise LedgerError(
                f"{LEDGER_NAME} is missing, although {SPOOL_FOLDER}/ contains results"
            )
        return Ledger()
    try:
        values = json.loads(data)
        if values["format"] != _FORMAT:
            raise LedgerError(
                f"{LEDGER_NAME}: format {values['format']} is not supported: this version "
                f"reads {_FORMAT}"
            )
        entries = tuple(_entry(item) for item in values["attempts"])
        return Ledger(int(values["highest_epoch"]), entries)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise LedgerError(f"{LEDGER_NAME} is damaged: {what:.200}") from error


def save(files: Files, ledger: Ledger) -> None:
    """Store the ledger durably.

    Raises:
        OSError: the ledger could not be stored; the previous one is unchanged.
    """
    values = {
        "format": _FORMAT,
        "highest_epoch": ledger.highest_epoch,
        "attempts": [
            {
                "job_id": entry.key.job_id,
                "epoch": entry.key.epoch,
                "standing": entry.standing.value,
                "order": base64.b64encode(entry.order).decode(),
                "reason": entry.reason,
                "retryable": entry.retryable,
                "cause": entry.cause.value if entry.cause else None,
            }
            for entry in ledger.entries
        ],
    }
    files.write_atomic(LEDGER_NAME, json.dumps(values, indent=1).encode())


def _entry(item: dict[str, Any]) -> LedgerEntry:
    key = LocalAttemptKey(str(item["job_id"]), int(item["epoch"]))
    if not key.is_valid():
        raise ValueError(f"not a valid attempt: {key!r:.100}")
    return LedgerEntry(
        key,
        AttemptStatus(item["standing"]),
        base64.b64decode(item["order"], validate=True),
        str(item["reason"]),
        bool(item["retryable"]),
        # Older agents write no cause.
        parse_cause(item.get("cause")),
    )
