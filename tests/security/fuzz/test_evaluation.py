"""From records to a run: whatever a device hands in ends in a run or in a failure with its reason.

A real attempt of a recorded store is handed in again and again, with damaged records and files.
Each time it takes the controller's path: stored, gathered, evaluated, finalized.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.api import serde
from fleetmark_controller.engine.verification import build_run, gather, inputs
from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.lifecycle.states import ATTEMPT_TERMINAL
from fleetmark_controller.operations import results
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.operations.results import Evaluation
from fleetmark_controller.store.db.connection import connect, migrate
from fleetmark_controller.store.jobs import attempts
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.results import public_views, records
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.clock import now_unix_ns
from fleetmark_core.digest import canonical_json
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.records import Record, parse_final, seal
from tests.security.fuzz.damage import damaged, documents, other_values
from tests.support.recorded_state import unpacked


@dataclass(frozen=True)
class HandedIn:
    """The attempt, and what its device handed in."""

    connection: sqlite3.Connection
    blobs: BlobFolder
    key: AttemptKey
    records: list[Record]
    files: dict[str, bytes]
    """By role."""


def _open(folder: Path) -> HandedIn:
    home = unpacked(folder) / "controller"
    migrate(home / "results.db")
    connection = connect(home / "results.db")
    row = connection.execute(
        "SELECT device_id, job_id, epoch FROM attempt JOIN run USING (job_id, epoch) LIMIT 1"
    ).fetchone()
    key = AttemptKey(*row)
    blobs = BlobFolder(home / "blobs")
    stored = records.list_for_attempt(connection, key)
    claims = [json.loads(record.payload) for record in stored if record.kind == "file"]
    files = {claim["role"]: blobs.path(claim["sha256"]).read_bytes() for claim in claims}
    # As it was before its first record came.
    connection.execute("DELETE FROM run_file")
    connection.execute("DELETE FROM run")
    connection.execute("DELETE FROM record WHERE job_id = ?", (key.job_id,))
    connection.execute(
        "UPDATE attempt SET state = 'UPLOADING', through_seq = 0, final_seq = NULL, verified = 0"
        " WHERE job_id = ?",
        (key.job_id,),
    )
    connection.execute("UPDATE job SET state = 'ACTIVE' WHERE job_id = ?", (key.job_id,))
    return HandedIn(connection, blobs, key, stored, files)


_FOLDER = tempfile.TemporaryDirectory()
ATTEMPT = _open(Path(_FOLDER.name))


def hand_in(given_records: list[Record]) -> Evaluation | None:
    """Go the whole way, then take it back. None: the records were refused at the door."""
    connection, key, now_ns = ATTEMPT.connection, ATTEMPT.key, now_unix_ns()
    connection.execute("BEGIN IMMEDIATE")
    try:
        try:
            serde.check_records(given_records)
            effects = Effects()
            results.append(connection, effects, now_ns, key, given_records)
        except FleetmarkError:
            return None
        if not effects.verify:
            return None  # it is not complete: more may come
        evidence = gather(connection, key, now_ns)
        if isinstance(evidence, Evaluation):
            evaluation = evidence
        else:
            facts = evaluate(inputs(evidence, ATTEMPT.blobs))
            evaluation = build_run(evidence, facts, ATTEMPT.blobs, now_ns)
        assert results.finalise(connection, Effects(), now_ns, key, "run-1", evaluation)
        for view in ("runs", "results", "telemetry", "attempts", "jobs"):
            public_views.select(connection, view)
        ended = attempts.get(connection, key)
        assert ended is not None and ended.state in ATTEMPT_TERMINAL
        return evaluation
    finally:
        connection.execute("ROLLBACK")


def whole(payloads: list[tuple[str, bytes]]) -> list[Record]:
    """Records of these payloads, sealed by a final record that fits them."""
    parts = [Record(n, kind, payload) for n, (kind, payload) in enumerate(payloads[:-1], 1)]
    final = json.loads(payloads[-1][1])
    if isinstance(final, dict):
        final |= {"count": len(parts) + 1, "digest": seal(part.sha256 for part in parts)}
    return [*parts, Record(len(parts) + 1, "final", json.dumps(final).encode())]


def check(evaluation: Evaluation | None) -> None:
    if evaluation is None:
        return
    assert evaluation.ending in (
        AttemptOutcome.VALID,
        AttemptOutcome.INVALID,
        AttemptOutcome.FAILED,
    )
    if evaluation.ending is AttemptOutcome.FAILED:
        assert evaluation.reason and evaluation.reason.isprintable()


PAYLOADS = [(record.kind, record.payload) for record in ATTEMPT.records]
PLACES = range(len(PAYLOADS))


def test_what_was_recorded_becomes_a_run() -> None:
    found = hand_in(ATTEMPT.records)
    assert found is not None and found.ending is AttemptOutcome.VALID
    assert parse_final(ATTEMPT.records[-1].payload).outcome == "completed"


@st.composite
def other_records(draw: st.DrawFn) -> list[Record]:
    """One or two payloads damaged, and sealed by the device that damaged them."""
    payloads = list(PAYLOADS)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(PLACES))
        kind, payload = payloads[place]
        value = draw(other_values(json.loads(payload)))
        payloads[place] = (kind, json.dumps(value).encode())
    return whole(payloads)


@pytest.mark.fuzz("records, from the door to a run")
@given(other_records())
def test_other_records_end_in_a_run_or_a_reason(given_records: list[Record]) -> None:
    check(hand_in(given_records))


@pytest.mark.fuzz("bytes of records, from the door to a run")
@given(st.sampled_from(PLACES), st.data())
def test_damaged_records_end_in_a_run_or_a_reason(place: int, data: st.DataObject) -> None:
    payloads = list(PAYLOADS)
    kind, payload = payloads[place]
    payloads[place] = (kind, data.draw(damaged(payload)))
    parts = [Record(n, kind, payload) for n, (kind, payload) in enumerate(payloads, 1)]
    check(hand_in(parts))


def with_file(role: str, content: bytes) -> list[Record]:
    """The records of a device that handed in other bytes under a role."""
    sha256 = ATTEMPT.blobs.put_bytes(content)
    payloads = []
    for kind, payload in PAYLOADS:
        claim: Any = json.loads(payload)
        if kind == "file" and claim["role"] == role:
            other = {**claim, "sha256": sha256, "size_bytes": len(content)}
            payloads.append((kind, canonical_json(other)))
        else:
            payloads.append((kind, payload))
    return whole(payloads)


def other_files() -> Iterator[st.SearchStrategy[tuple[str, bytes]]]:
    for role, content in ATTEMPT.files.items():
        # Logs of megabytes would be damaged where nothing is read.
        short = content[:20_000]
        yield st.tuples(st.just(role), damaged(content, short) | st.binary(max_size=200))
        if role == "result":
            yield st.tuples(st.just(role), documents(content))


@pytest.mark.fuzz("files, from the door to a run")
@given(st.one_of(*other_files()))
def test_damaged_files_end_in_a_run_or_a_reason(handed: tuple[str, bytes]) -> None:
    found = hand_in(with_file(*handed))
    assert found is not None
    check(found)
