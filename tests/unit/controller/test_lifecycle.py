"""The tables of states and the rules that move jobs when attempts end."""

from __future__ import annotations

from itertools import product

import pytest

from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome, JobFacts, after_attempt
from fleetmark_controller.lifecycle.states import (
    ATTEMPT_TERMINAL,
    ATTEMPT_TRANSITIONS,
    JOB_TERMINAL,
    JOB_TRANSITIONS,
    AttemptState,
    IllegalTransition,
    JobState,
    allowed_transitions,
    check,
)


def test_every_state_has_a_row() -> None:
    assert set(JOB_TRANSITIONS) == set(JobState)
    assert set(ATTEMPT_TRANSITIONS) == set(AttemptState)


def test_terminal_states_are_the_designed_ones() -> None:
    assert {s.value for s in JOB_TERMINAL} == {
        *("SUCCEEDED", "ESTIMATE", "INVALID", "FAILED", "CANCELLED")
    }
    assert {s.value for s in ATTEMPT_TERMINAL} == {"DONE", "REFUSED", "ABORTED", "LOST"}


@pytest.mark.parametrize(("old", "new"), list(product(JobState, JobState)))
def test_check_follows_the_job_table(old: JobState, new: JobState) -> None:
    if new in JOB_TRANSITIONS[old]:
        check(old, new, "job")
    else:
        with pytest.raises(
            IllegalTransition, match=f"{old.value} → {new.value}.*history: it began"
        ):
            check(old, new, "job", lambda: "it began")


@pytest.mark.parametrize(("old", "new"), list(product(AttemptState, AttemptState)))
def test_check_follows_the_attempt_table(old: AttemptState, new: AttemptState) -> None:
    if new in ATTEMPT_TRANSITIONS[old]:
        check(old, new, "attempt")
    else:
        with pytest.raises(IllegalTransition):
            check(old, new, "attempt")


def test_every_state_can_reach_a_terminal_one() -> None:
    for start in (*JobState, *AttemptState):
        reached, edge = {start}, {start}
        while edge:
            edge = {after for state in edge for after in allowed_transitions(state)} - reached
            reached |= edge
        assert reached & (JOB_TERMINAL | ATTEMPT_TERMINAL)


@pytest.mark.parametrize(
    ("state", "ending", "attempts", "newest", "retryable"),
    list(product(JobState, AttemptOutcome, (1, 3), (True, False), (True, False))),
)
def test_rules_only_ask_for_transitions_that_exist(
    state: JobState, ending: AttemptOutcome, attempts: int, newest: bool, retryable: bool
) -> None:
    verdict = after_attempt(JobFacts(state, attempts, 3, newest), ending, "because", retryable)
    if verdict.state is not None:
        check(state, verdict.state, "job")
    if state in JOB_TERMINAL or not newest:
        assert verdict.state is None
        assert not verdict.official
    if verdict.official:
        assert verdict.state in (JobState.SUCCEEDED, JobState.ESTIMATE, JobState.INVALID)


def test_a_result_of_a_lost_attempt_is_official_while_it_is_the_newest() -> None:
    verdict = after_attempt(JobFacts(JobState.QUEUED, 1, 3, True), AttemptOutcome.VALID, "", False)
    assert (verdict.state, verdict.official) == (JobState.SUCCEEDED, True)


def test_a_result_after_cancelling_is_late() -> None:
    verdict = after_attempt(
        JobFacts(JobState.CANCELLING, 1, 3, True), AttemptOutcome.VALID, "", False
    )
    assert (verdict.state, verdict.official) == (JobState.CANCELLED, False)


def test_a_failure_is_tried_again_until_no_try_is_left() -> None:
    again = after_attempt(JobFacts(JobState.ACTIVE, 2, 3, True), AttemptOutcome.FAILED, "why", True)
    assert again.state is JobState.QUEUED
    over = after_attempt(JobFacts(JobState.ACTIVE, 3, 3, True), AttemptOutcome.FAILED, "why", True)
    assert over.state is JobState.FAILED
    assert over.reason == "why (attempt 3 of 3)"
    never = after_attempt(
        JobFacts(JobState.ACTIVE, 1, 3, True), AttemptOutcome.FAILED, "why", False
    )
    assert never.state is JobState.FAILED


def test_a_lost_last_try_waits_for_its_result() -> None:
    verdict = after_attempt(
        JobFacts(JobState.ACTIVE, 3, 3, True), AttemptOutcome.LOST, "silence", True
    )
    assert verdict.state is JobState.QUEUED
    assert "waiting for the result" in verdict.reason
