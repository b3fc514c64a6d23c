"""Decide whether a job ran out of memory, from what the agent sees of its end. Pure.

A job ran out of memory if it failed and one of these is true:

- its exit code is the harness's NO_MEMORY;
- it exceeded the memory limit of its sandbox, and the supervisor ended it;
- the kernel killed a process for memory while the job ran, and the job ended by SIGKILL. If it
  killed in the control group of the job, any other error counts as well: a program may end with an
  error after the end of one of its processes. Elsewhere it may have killed another program;
- its last error says that memory could not be allocated. The program may end with any exit code,
  or crash: C++ ends a process with SIGABRT if no code catches std::bad_alloc;
- its last error does not, but a library reported an allocation of that size as failed.
"""

from __future__ import annotations

import signal
from typing import Any

from fleetmark_core.failure_cause import CRASH_SIGNALS, EXIT_NO_MEMORY
from fleetmark_core.memory_failure import (
    MemoryFailure,
    earlier_message,
    is_of_accelerator,
    is_out_of_memory,
    requested_bytes,
)


def find(
    outcome: dict[str, Any] | None, reported: str, written: str, available_bytes: object
) -> MemoryFailure | None:
    """Return the figures of a job that ran out of memory, or None if it did not.

    Args:
        outcome: the supervisor's outcome; None if it wrote none.
        reported: the last error that the job wrote to stderr.
        written: the end of what the job wrote to stderr.
        available_bytes: memory that was free when the job started; None if unknown.
    """
    if outcome is None:
        return None
    passed = outcome.get("passed") or {}
    peak = outcome.get("peak_memory_bytes")
    available = available_bytes if isinstance(available_bytes, int) else None
    if outcome["outcome"] == "limit":
        if "memory_bytes" not in passed:
            return None
        used, limit = passed["memory_bytes"], passed["memory_bytes_limit"]
        return MemoryFailure(None, used, limit, available)
    if not _failed(outcome):
        return None
    limit = outcome.get("memory_limit_bytes")
    message = reported if is_out_of_memory(reported) else earlier_message(written)
    if outcome["exit_code"] == EXIT_NO_MEMORY or message:
        text = message or reported
        return MemoryFailure(requested_bytes(text), peak, limit, available, is_of_accelerator(text))
    kill = outcome.get("oom_kill")
    if kill and (outcome.get("signal") == signal.SIGKILL or kill.get("own_group")):
        return MemoryFailure(None, peak, kill.get("limit_bytes"), available)
    return None


def _failed(outcome: dict[str, Any]) -> bool:
    number = outcome.get("signal")
    if outcome["outcome"] == "signaled":
        return number == signal.SIGKILL or number in CRASH_SIGNALS
    return outcome["outcome"] == "exited" and bool(outcome["exit_code"])
