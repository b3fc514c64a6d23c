"""What a hello shows of the orders that its attempts follow."""

from __future__ import annotations

import dataclasses

import pytest

from fleetmark_agent.session.machine import HeldAttempt
from fleetmark_agent.session.messages import AttemptRef, AttemptReport, Hello, ReportedState
from fleetmark_agent.session.order_evidence import with_order_evidence
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_core.capabilities import Capabilities
from fleetmark_protos.channel import MAX_ORDER_BYTES, MAX_SHOWN_BYTES

RUNNING, UPLOADING = ReportedState.RUNNING, ReportedState.UPLOADING


@pytest.fixture
def hello(x86_device: Capabilities) -> Hello:
    return Hello("0", (), "device", "board", "boot", {}, x86_device, 9, (), idle=False)


def shown(hello: Hello, *attempts: tuple[ReportedState, bytes, bytes | None]) -> Hello:
    """The hello of a device that holds attempts of these states, orders and locks."""
    held, locks, reports = {}, {}, []
    for epoch, (state, order, lock) in enumerate(attempts, 1):
        key = LocalAttemptKey("job", epoch)
        held[key], locks[key] = HeldAttempt(key, order, state), lock
        reports.append(AttemptReport(AttemptRef("device", "job", epoch, "boot"), state))

    def read_lock(key: LocalAttemptKey) -> bytes:
        lock = locks[key]
        if lock is None:
            raise FileNotFoundError
        return lock

    return with_order_evidence(dataclasses.replace(hello, attempts=tuple(reports)), held, read_lock)


def orders(output: Hello) -> list[bytes]:
    return [report.signed_order for report in output.attempts]


def test_a_lock_is_shown_once(hello: Hello) -> None:
    output = shown(
        hello, (UPLOADING, b"o1", b"l"), (UPLOADING, b"o2", b"l"), (RUNNING, b"o3", b"m")
    )
    assert orders(output) == [b"o1", b"o2", b"o3"]
    assert output.locks == (b"l", b"m")


@pytest.mark.parametrize("state", [ReportedState.REFUSED, ReportedState.ABORTED])
def test_what_was_given_up_shows_nothing(hello: Hello, state: ReportedState) -> None:
    output = shown(hello, (state, b"o", b"l"))
    assert (orders(output), output.locks) == ([b""], ())


def test_what_was_not_fetched_yet_shows_nothing(hello: Hello) -> None:
    output = shown(hello, (ReportedState.PREPARING, b"o", None))
    assert (orders(output), output.locks) == ([b""], ())


def test_it_stays_small_and_what_is_finished_comes_first(hello: Hello) -> None:
    large = MAX_SHOWN_BYTES // 2
    output = shown(
        hello,
        (RUNNING, b"o1", b"a" * large),
        (UPLOADING, b"o2", b"b" * large),
        (UPLOADING, b"o3", b"c" * (large - 100)),
        (UPLOADING, b"o" * (MAX_ORDER_BYTES + 1), b"d"),
        (UPLOADING, b"o5", b"e"),
    )
    assert orders(output) == [b"", b"o2", b"o3", b"", b"o5"]
    assert sum(map(len, [*orders(output), *output.locks])) <= MAX_SHOWN_BYTES
