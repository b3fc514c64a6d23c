"""Classification of failed attempts: the job, the device or the controller is the cause. Pure.

A wrong model must never take a device out of service, and a defective device must. The agent
classifies what it sees, because it knows the stage and the signal, and sends the cause. For older
agents, which send none, the controller classifies what they send.

| What happened | Cause |
|---|---|
| order, release or lockfile not valid or not trusted; blob missing at the controller | controller |
| Python, wheels, sandbox level, network access or memory do not fit the device | job |
| archive or wheel not as declared, or its program does not run on the device | uncertain |
| environment not built, other than that; sandbox or supervisor not started | device |
| disk full or defective while the attempt is prepared; damaged blob | device |
| internal error of the agent; agent or device stopped; contact lost | device |
| supervisor killed, or asked to stop its job | device |
| time limit of the job, or a limit of its sandbox, exceeded | job |
| out of memory, however it ended (`fleetmark_core.memory_failure`) | job |
| killed by SIGSEGV, SIGABRT, SIGILL, SIGFPE, SIGBUS, SIGTRAP or SIGSYS | crash |
| killed by another signal, for example SIGKILL by the kernel when memory is short | job |
| exit code BAD_JOB, BAD_INPUT, LOADGEN_FAILED or NO_MEMORY | job |
| exit code FAULT, NO_RUNTIME, NO_SPACE, or the program could not be started | uncertain |
| any other exit code; a declared output missing; a result that is not valid | job |
| records that are not valid | device |
| evaluation of the results failed | controller |
"""

from __future__ import annotations

import signal
from enum import Enum


class FailureCause(Enum):
    """The cause of a failed attempt; the values are stored and part of records."""

    JOB = "job"
    """The model, the input, the parameters or the program."""
    CRASH = "crash"
    """A crash of the program: a fault of the job, or of the device (memory, storage)."""
    UNCERTAIN = "uncertain"
    """The job or the device: one failure alone does not tell which."""
    DEVICE = "device"
    """The device, its agent, its network or its sandbox."""
    CONTROLLER = "controller"
    """The controller, its signatures or its files."""


EXIT_FAULT = 1
"""Exit codes of `fleetmark_harness.exit_codes`, which jobs run from the catalog."""
EXIT_BAD_JOB = 10
EXIT_BAD_INPUT = 11
EXIT_NO_RUNTIME = 12
EXIT_LOADGEN_FAILED = 13
EXIT_NO_MEMORY = 14
EXIT_NO_SPACE = 15
EXIT_NOT_STARTED = 127
"""Exit code of the supervisor's child if the program cannot be executed."""

CRASH_SIGNALS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGBUS,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)
"""Signals that a program causes itself; all others are sent by another process or the kernel."""
_UNCERTAIN_CODES = frozenset({EXIT_FAULT, EXIT_NO_RUNTIME, EXIT_NO_SPACE, EXIT_NOT_STARTED})


def signal_name(number: int) -> str:
    """Return the name of a signal, for example SIGSEGV, or `signal 200` if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def cause_of_exit(
    outcome: str | None, exit_code: int | None = None, signal_number: int | None = None
) -> FailureCause:
    """Return the cause of a job that ran and failed; see the table of this module.

    Args:
        outcome: how the supervisor saw it end: `exited`, `signaled`, `timeout`, `limit` or
            `stopped`; None if the supervisor was killed.
        exit_code: exit code of the job; None if it has none.
        signal_number: signal that ended the job; None if it exited.
    """
    if outcome is None or outcome == "stopped":
        return FailureCause.DEVICE
    if outcome in ("timeout", "limit"):
        return FailureCause.JOB
    if outcome == "signaled":
        return FailureCause.CRASH if signal_number in CRASH_SIGNALS else FailureCause.JOB
    return FailureCause.UNCERTAIN if exit_code in _UNCERTAIN_CODES else FailureCause.JOB


def parse_cause(value: object) -> FailureCause | None:
    """Return the cause with this value; None if it is missing or unknown to this version."""
    try:
        return FailureCause(value)
    except ValueError:
        return None
