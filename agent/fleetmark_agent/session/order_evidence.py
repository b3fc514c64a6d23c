"""Adds signed orders and lockfiles to a hello."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from fleetmark_agent.session.machine import HeldAttempt
from fleetmark_agent.session.messages import AttemptReport, Hello, ReportedState
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_protos.channel import MAX_ORDER_BYTES, MAX_SHOWN_BYTES

# Finished attempts come first, in case there is not enough space for all.
_SHOWN = (ReportedState.UPLOADING, ReportedState.RUNNING, ReportedState.PREPARING)


def with_order_evidence(
    hello: Hello,
    held: Mapping[LocalAttemptKey, HeldAttempt],
    read_lock: Callable[[LocalAttemptKey], bytes],
) -> Hello:
    """Return `hello` with the orders and lockfiles of attempts that may still have a result.

    A controller that knows these attempts ignores the orders. A controller that was restored from a
    backup older than their jobs restores each job from its own signed order, so that the results of
    the device are not lost.

    Args:
        hello: the message without orders.
        held: the attempts that the agent holds.
        read_lock: returns the lockfile of an attempt; it may raise OSError.
    """
    orders: dict[LocalAttemptKey, bytes] = {}
    locks: dict[bytes, None] = {}
    room = MAX_SHOWN_BYTES
    reports = [report for report in hello.attempts if report.state in _SHOWN]
    for report in sorted(reports, key=lambda report: _SHOWN.index(report.state)):
        key = report.attempt.key
        order = held[key].order if key in held else b""
        try:
            lock = read_lock(key)
        except OSError:
            continue  # not downloaded yet, so its job has not started
        needs = len(order) + (0 if lock in locks else len(lock))
        if 0 < len(order) <= MAX_ORDER_BYTES and needs <= room:
            orders[key] = order
            locks[lock] = None
            room -= needs
    return replace(
        hello,
        attempts=tuple(_shown(report, orders) for report in hello.attempts),
        locks=tuple(locks),
    )


def _shown(report: AttemptReport, orders: Mapping[LocalAttemptKey, bytes]) -> AttemptReport:
    return replace(report, signed_order=orders.get(report.attempt.key, b""))
