"""States of jobs and attempts, and the allowed transitions between them."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeVar


class JobState(Enum):
    """States of a job. The last five are terminal.

    ESTIMATE: the run ended, but the model is too slow for as many queries as LoadGen's percentile
    needs within the time limit.
    """

    QUEUED = "QUEUED"
    ACTIVE = "ACTIVE"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    ESTIMATE = "ESTIMATE"
    INVALID = "INVALID"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class AttemptState(Enum):
    """States of an attempt. The last four are terminal."""

    OFFERED = "OFFERED"
    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    UPLOADING = "UPLOADING"
    VERIFYING = "VERIFYING"
    DONE = "DONE"
    REFUSED = "REFUSED"
    ABORTED = "ABORTED"
    LOST = "LOST"


_J = JobState
_A = AttemptState

_RESULTS = frozenset({_J.SUCCEEDED, _J.ESTIMATE, _J.INVALID})
JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    # QUEUED → result: the device of a lost attempt reconnected and delivered the result.
    _J.QUEUED: _RESULTS | {_J.ACTIVE, _J.FAILED, _J.CANCELLED},
    _J.ACTIVE: _RESULTS | {_J.QUEUED, _J.FAILED, _J.CANCELLING},
    _J.CANCELLING: frozenset({_J.CANCELLED}),
    _J.SUCCEEDED: frozenset(),
    _J.ESTIMATE: frozenset(),
    _J.INVALID: frozenset(),
    _J.FAILED: frozenset(),
    _J.CANCELLED: frozenset(),
}

_ENDS = frozenset({_A.ABORTED, _A.LOST})
ATTEMPT_TRANSITIONS: dict[AttemptState, frozenset[AttemptState]] = {
    # An attempt may skip states that it passed while the link was down.
    _A.OFFERED: _ENDS | {_A.PREPARING, _A.RUNNING, _A.UPLOADING, _A.VERIFYING, _A.REFUSED},
    _A.PREPARING: _ENDS | {_A.RUNNING, _A.UPLOADING, _A.VERIFYING, _A.REFUSED},
    _A.RUNNING: _ENDS | {_A.UPLOADING, _A.VERIFYING},
    _A.UPLOADING: _ENDS | {_A.VERIFYING},
    # An attempt can no longer be lost: every record is in the store.
    _A.VERIFYING: frozenset({_A.DONE, _A.ABORTED}),
    _A.DONE: frozenset(),
    _A.REFUSED: frozenset(),
    _A.ABORTED: frozenset(),
    _A.LOST: frozenset(),
}

JOB_TERMINAL = frozenset(state for state, after in JOB_TRANSITIONS.items() if not after)
ATTEMPT_TERMINAL = frozenset(s for s, after in ATTEMPT_TRANSITIONS.items() if not after)
ATTEMPT_ON_DEVICE = frozenset({_A.OFFERED, _A.PREPARING, _A.RUNNING, _A.UPLOADING})
"""States in which the device still has work to do for the attempt."""

S = TypeVar("S", JobState, AttemptState)


class IllegalTransition(Exception):
    """Raised when a state change is not in the table: a bug in the program."""


def allowed_transitions(
    state: JobState | AttemptState,
) -> frozenset[JobState] | frozenset[AttemptState]:
    """Return the states that may follow this one."""
    if isinstance(state, JobState):
        return JOB_TRANSITIONS[state]
    return ATTEMPT_TRANSITIONS[state]


def check(old: S, new: S, subject: str, history: Callable[[], str] = str) -> None:
    """Refuse a transition that is not in the tables.

    Args:
        old: the current state.
        new: the next state.
        subject: the job or attempt, for the message.
        history: returns the earlier states as text; called only for the message.

    Raises:
        IllegalTransition: the transition is not allowed.
    """
    if new not in allowed_transitions(old):
        trail = history()
        raise IllegalTransition(
            f"{subject}: {old.value} → {new.value} is not a transition"
            f"{'; history: ' + trail if trail else ''}"
        )
