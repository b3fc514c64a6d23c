"""Lets a hello show what was ordered of each attempt that it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from fleetmark_agent.messages import AttemptKey, AttemptReport, AttemptState, Hello, Papers
from fleetmark_agent.session import Held

MAX_LOCK_BYTES = 1 << 20
"""A larger lock is not shown; one of a hundred packages has 50 kB."""
_SHOWN = (AttemptState.PREPARING, AttemptState.RUNNING, AttemptState.UPLOADING)


def with_papers(
    hello: Hello, held: Mapping[AttemptKey, Held], read_lock: Callable[[AttemptKey], bytes]
) -> Hello:
    """The hello with the papers of attempts that may still have a result.

    A controller that knows them does not look. One that was restored from a copy of the time
    before their job was submitted takes the job up from its own signature: nothing that a board
    has finished is lost with what the copy does not know. `read_lock` may raise OSError.
    """
    return replace(
        hello, attempts=tuple(_report(report, held, read_lock) for report in hello.attempts)
    )


def _report(
    report: AttemptReport,
    held: Mapping[AttemptKey, Held],
    read_lock: Callable[[AttemptKey], bytes],
) -> AttemptReport:
    key = report.attempt.key
    order = held[key].order if key in held else b""
    if report.state not in _SHOWN or not order:
        return report
    try:
        lock = read_lock(key)
    except OSError:
        return report  # not fetched yet, so nothing of it has run
    return replace(report, papers=Papers(order, lock)) if len(lock) <= MAX_LOCK_BYTES else report
