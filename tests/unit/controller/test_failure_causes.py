"""Failures belong to the job, the device or the controller, and are counted and retried so."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.net import grpc_codec
from fleetmark_agent.runner.job_result import evaluate_exit
from fleetmark_agent.session import messages
from fleetmark_controller.api import serde
from fleetmark_controller.lifecycle.failure_policy import (
    cause_of_final,
    counts_towards_quarantine,
    unreported_cause,
)
from fleetmark_controller.lifecycle.retry_policy import MAX_CRASHES, AttemptOutcome, after_crash
from fleetmark_controller.lifecycle.states import AttemptState
from fleetmark_controller.operations import results, sessions
from fleetmark_controller.operations.results import Evaluation
from fleetmark_controller.store.devices import device_admin
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.jobs.campaigns import HEALTH_CHECK
from fleetmark_core import failure_cause
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.failure_cause import CRASH_SIGNALS, FailureCause, cause_of_exit, signal_name
from fleetmark_harness import exit_codes
from fleetmark_protos.v1 import session_pb2
from tests.support.stores import CAMPAIGN, LOCK, TestStore, sealed

C = FailureCause
QUARANTINE_AFTER = 3
RUN = {
    "device": "d2",
    "arch": "x86_64",
    "os": "Debian",
    "benchmark": "b",
    "scenario": "SingleStream",
    "mode": "performance",
    "profile": "quick",
    "parameters": {},
    "condition_reasons": [],
    "submittable": False,
    "lock_sha256": LOCK,
    "provenance": {},
    "stored_at": "2026-01-01T00:00:00.000Z",
    "metric_value": 1.5,
}
EXITS: list[tuple[str | None, int | None, int | None, FailureCause]] = [
    (None, None, None, C.DEVICE),
    ("stopped", None, None, C.DEVICE),
    ("timeout", None, None, C.JOB),
    ("limit", None, signal.SIGKILL, C.JOB),
    ("signaled", None, signal.SIGSEGV, C.CRASH),
    ("signaled", None, signal.SIGABRT, C.CRASH),
    ("signaled", None, signal.SIGILL, C.CRASH),
    ("signaled", None, signal.SIGFPE, C.CRASH),
    ("signaled", None, signal.SIGBUS, C.CRASH),
    ("signaled", None, signal.SIGKILL, C.JOB),
    ("signaled", None, signal.SIGTERM, C.JOB),
    ("exited", exit_codes.BAD_JOB, None, C.JOB),
    ("exited", exit_codes.BAD_INPUT, None, C.JOB),
    ("exited", exit_codes.LOADGEN_FAILED, None, C.JOB),
    ("exited", exit_codes.NO_MEMORY, None, C.JOB),
    ("exited", 99, None, C.JOB),
    ("exited", 0, None, C.JOB),
    ("exited", exit_codes.FAULT, None, C.UNCERTAIN),
    ("exited", exit_codes.NO_RUNTIME, None, C.UNCERTAIN),
    ("exited", exit_codes.NO_SPACE, None, C.UNCERTAIN),
    ("exited", 127, None, C.UNCERTAIN),
]


@pytest.fixture
def store(tmp_path: Path, x86_device: Capabilities) -> TestStore:
    store = TestStore(tmp_path / "results.db", x86_device)
    store.hello()
    store.hello("d2")
    return store


def finish(store: TestStore, key: AttemptKey, evaluation: Evaluation) -> None:
    store.run(lambda c, fx, now: results.append(c, fx, now, key, sealed()))
    run_id = f"run-{key.epoch}"
    store.run(lambda c, fx, now: results.finalise(c, fx, now, key, run_id, evaluation))


def fail(store: TestStore, key: AttemptKey, cause: FailureCause, retryable: bool = False) -> None:
    evaluation = Evaluation(AttemptOutcome.FAILED, "it failed", retryable, cause=cause)
    finish(store, key, evaluation)


def is_quarantined(store: TestStore, device: str = "d1") -> bool:
    return device in device_admin.quarantined(store.connection, QUARANTINE_AFTER)


def reason(store: TestStore, job: str = "job-1") -> str:
    query = "SELECT reason FROM job WHERE job_id = ?"
    return str(store.connection.execute(query, (job,)).fetchone()[0])


def make_known_to_work(store: TestStore, count: int) -> None:
    """Give each job's configuration an official run: by another job, on another device."""
    for number in range(count):
        (key,) = store.assign("d2")
        finish(store, key, Evaluation(AttemptOutcome.VALID, "", False, dict(RUN), ()))
        store.connection.execute(
            "UPDATE job SET configuration_key = ? WHERE job_id = ?",
            (f"key-{count + number + 1}", key.job_id),
        )


# The causes


@pytest.mark.parametrize(("outcome", "code", "number", "cause"), EXITS)
def test_an_exit_has_one_cause(
    outcome: str | None, code: int | None, number: int | None, cause: FailureCause
) -> None:
    assert cause_of_exit(outcome, code, number) is cause
    found: dict[str, Any] | None = None
    if outcome is not None:
        found = {"outcome": outcome, "exit_code": code, "signal": number, "started_unix_ns": 1}
        found |= {"duration_ns": 1, "passed": {"memory_bytes": 2, "memory_bytes_limit": 1}}
    result = evaluate_exit(found, ["missing.txt"], 60, "boom")
    assert result.cause is cause
    if cause is C.CRASH:
        assert not result.retryable
        assert result.reason == f"crashed with {signal_name(number or 0)}: boom"


def test_a_completed_job_has_no_cause() -> None:
    found = {"outcome": "exited", "exit_code": 0, "signal": None, "started_unix_ns": 1}
    assert evaluate_exit({**found, "duration_ns": 1}, [], 60, "").cause is None


def test_exit_codes_are_those_of_the_harness() -> None:
    names = ("FAULT", "BAD_JOB", "BAD_INPUT", "NO_RUNTIME", "LOADGEN_FAILED", "NO_MEMORY")
    for name in (*names, "NO_SPACE"):
        assert getattr(failure_cause, f"EXIT_{name}") == getattr(exit_codes, name)


@pytest.mark.parametrize(
    ("outcome", "code", "retryable", "cause"),
    [
        ("timeout", None, False, C.JOB),
        ("stopped", None, True, C.DEVICE),
        ("failed", exit_codes.BAD_INPUT, False, C.JOB),
        ("failed", exit_codes.FAULT, True, C.UNCERTAIN),
        ("failed", None, True, C.UNCERTAIN),
        ("failed", None, False, C.JOB),
    ],
)
@pytest.mark.parametrize("reported", [None, {}, {"cause": None}, {"cause": "newer"}, "job", 7, []])
def test_records_of_older_agents_have_a_cause(
    outcome: str, code: int | None, retryable: bool, cause: FailureCause, reported: object
) -> None:
    assert cause_of_final(outcome, code, retryable, reported) is cause


@given(st.sampled_from(C), st.booleans(), st.sampled_from([None, 0, 1, 10, 139]))
def test_a_reported_cause_is_used(cause: FailureCause, retryable: bool, code: int | None) -> None:
    assert cause_of_final("failed", code, retryable, {"cause": cause.value}) is cause


def test_refusals_of_older_agents_have_a_cause() -> None:
    assert unreported_cause(AttemptOutcome.REFUSED, True) is C.DEVICE
    assert unreported_cause(AttemptOutcome.REFUSED, False) is C.UNCERTAIN
    assert unreported_cause(AttemptOutcome.ABORTED, False) is C.DEVICE


# Quarantine


@pytest.mark.parametrize("cause", C)
def test_only_the_device_itself_is_quarantined_without_evidence(
    store: TestStore, cause: FailureCause
) -> None:
    store.submit("d1", count=5, max_attempts=1)
    for _ in range(QUARANTINE_AFTER):
        (key,) = store.assign("d1")
        fail(store, key, cause)
    assert is_quarantined(store) == (cause is C.DEVICE)


@pytest.mark.parametrize(("outcome", "code", "number", "cause"), EXITS)
def test_no_exit_of_a_job_quarantines_a_device(
    store: TestStore,
    outcome: str | None,
    code: int | None,
    number: int | None,
    cause: FailureCause,
) -> None:
    store.submit("d1", count=5)
    for _ in range(QUARANTINE_AFTER):
        (key,) = store.assign("d1")
        fail(store, key, cause_of_exit(outcome, code, number))
    assert is_quarantined(store) == (outcome in (None, "stopped"))


@pytest.mark.parametrize("state", [AttemptState.REFUSED, AttemptState.ABORTED])
@pytest.mark.parametrize("cause", [*C, None])
def test_reports_count_by_their_cause(
    store: TestStore, state: AttemptState, cause: FailureCause | None
) -> None:
    store.submit("d1", count=5)
    for _ in range(QUARANTINE_AFTER):
        (key,) = store.assign("d1")
        output = sessions.DeviceReport(key, state, "no", False, cause=cause)
        store.run(lambda c, fx, now, output=output: sessions.report(c, fx, now, output))
    older = cause is None and state is AttemptState.ABORTED
    assert is_quarantined(store) == (cause is C.DEVICE or older)


@pytest.mark.parametrize("cause", C)
def test_a_device_on_which_crashes_what_worked_before_is_quarantined(
    store: TestStore, cause: FailureCause
) -> None:
    store.submit("d1", "d2", count=6)
    make_known_to_work(store, 3)
    for _ in range(QUARANTINE_AFTER):
        (key,) = store.assign("d1")
        assert key.device_id == "d1"
        fail(store, key, cause)
    assert is_quarantined(store) == (cause in (C.DEVICE, C.CRASH, C.UNCERTAIN))


def test_a_result_between_ends_the_count(store: TestStore) -> None:
    store.submit("d1", count=5)
    for number in range(5):
        (key,) = store.assign("d1")
        if number == 2:
            finish(store, key, Evaluation(AttemptOutcome.VALID, "", False, dict(RUN), ()))
        else:
            fail(store, key, C.DEVICE)
    assert not is_quarantined(store)


@pytest.mark.parametrize("cause", C)
def test_a_failed_health_check_counts(store: TestStore, cause: FailureCause) -> None:
    store.submit("d1", count=3)
    store.connection.execute(
        "UPDATE campaign SET purpose = ? WHERE campaign_id = ?", (HEALTH_CHECK, CAMPAIGN)
    )
    for _ in range(QUARANTINE_AFTER):
        (key,) = store.assign("d1")
        fail(store, key, cause)
    assert is_quarantined(store) == (cause is not C.CONTROLLER)


@given(st.sampled_from(C), st.booleans())
def test_the_policy_follows_its_table(cause: FailureCause, known: bool) -> None:
    counts = counts_towards_quarantine(cause, known_to_work=known, health_check=False)
    if cause in (C.JOB, C.CONTROLLER):
        assert not counts
    elif cause is C.DEVICE:
        assert counts
    else:
        assert counts == known


# Retries


def test_a_crash_is_not_retried_on_its_only_device(store: TestStore) -> None:
    store.submit("d1")
    (key,) = store.assign("d1")
    fail(store, key, C.CRASH)
    assert store.state() == "FAILED"
    assert reason(store).startswith("it failed (not retried: ")
    assert store.assign("d1") == []


def test_a_crash_is_tried_on_one_other_device(store: TestStore) -> None:
    store.hello("d3")
    store.submit("d1", "d2", "d3", max_attempts=5)
    (first,) = store.assign("d1")
    fail(store, first, C.CRASH)
    assert store.state() == "QUEUED"
    assert store.assign("d1") == [], "not on the same device"
    (second,) = store.assign("d2")
    fail(store, second, C.CRASH)
    assert store.state() == "FAILED"
    assert reason(store) == "it failed (not retried: it crashed on 2 devices)"


def test_other_failures_are_retried_as_before(store: TestStore) -> None:
    store.submit("d1", max_attempts=2)
    for state in ("QUEUED", "FAILED"):
        (key,) = store.assign("d1")
        fail(store, key, C.JOB, retryable=True)
        assert store.state() == state
    assert reason(store) == "it failed (attempt 2 of 2)"


@given(st.integers(1, 6), st.integers(1, 6))
def test_a_job_that_always_crashes_has_few_attempts(devices: int, max_attempts: int) -> None:
    left, crashes = devices, 0
    while crashes < max_attempts:
        crashes, left = crashes + 1, left - 1
        if after_crash(crashes, left > 0):
            break
    assert crashes == min(devices, max_attempts, MAX_CRASHES)


@given(st.integers(1, 300))
def test_every_signal_has_a_name(number: int) -> None:
    assert signal_name(number).upper().startswith("SIG")
    assert {signal_name(each) for each in CRASH_SIGNALS} >= {"SIGSEGV", "SIGABRT"}


# On the wire


@pytest.mark.parametrize("cause", [*C, None])
def test_a_cause_survives_the_wire(cause: FailureCause | None) -> None:
    ref = messages.AttemptRef("d1", "job-1", 1, "boot-1")
    report = messages.AttemptReport(ref, messages.ReportedState.REFUSED, reason="no", cause=cause)
    sent = session_pb2.AgentMessage.FromString(grpc_codec.to_wire(report).SerializeToString())
    assert serde.report_from(sent.attempt_report).cause is cause


def test_a_cause_of_a_newer_agent_counts_as_not_reported() -> None:
    ref = messages.AttemptRef("d1", "job-1", 1, "boot-1")
    report = messages.AttemptReport(ref, messages.ReportedState.REFUSED, reason="no")
    sent = grpc_codec.to_wire(report).attempt_report
    newer = session_pb2.AttemptReport.FromString(sent.SerializeToString() + b"\x38\x63")
    assert newer.cause == 99
    assert serde.report_from(newer).cause is None
