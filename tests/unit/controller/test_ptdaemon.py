"""Logs of PTDaemon: the submission checker's figure, and logs that do not fit."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.evaluation.ptdaemon import evaluate
from fleetmark_controller.loadgen.errors import IngestError

START = datetime(2026, 11, 23, 20, 53, 4, 371_000, timezone.utc)
START_NS = int(START.timestamp() * 1000) * 1_000_000
MONTH_FIRST, DAY_FIRST = "%m-%d-%Y", "%d-%m-%Y"


def line(at: datetime, watts: float, layout: str = MONTH_FIRST) -> str:
    stamp = at.strftime(f"{layout} %H:%M:%S.%f")[:-3]
    return (
        f"Time,{stamp},Watts,{watts:.6f},Volts,228.570000,Amps,0.206430,PF,0.486400,"
        "Mark,2026-11-23_20-53-00_label_testing\n"
    )


def log(watts: list[float], first_s: float = 0.5, layout: str = MONTH_FIRST) -> bytes:
    """A sample a second, the first so long after the start."""
    lines = (line(START + timedelta(seconds=first_s + n), w, layout) for n, w in enumerate(watts))
    return "".join(lines).encode()


def test_the_mean_inside_times_the_interval() -> None:
    found = evaluate(log([20, 22, 24]), START_NS, 3.0)
    assert (found.mean_w, found.energy_j, found.samples) == (22.0, 66.0, 3)


def test_only_samples_inside_count_and_only_positive_ones() -> None:
    found = evaluate(log([900, 20, -1, 0, 30, 900], first_s=-0.5), START_NS, 4.0)
    assert (found.mean_w, found.samples) == (25.0, 2)


def test_clocks_that_differ() -> None:
    ahead = log([20] * 4, first_s=3600.5)
    with pytest.raises(
        IngestError, match=r"no sample in the measured interval .* its samples range from"
    ):
        evaluate(ahead, START_NS, 3.0)
    assert evaluate(ahead, START_NS, 3.0, ahead_ns=3600 * 10**9).samples == 3


def test_logs_with_the_day_first() -> None:
    assert evaluate(log([20, 20], layout=DAY_FIRST), START_NS, 2.0).energy_j == 40


def test_other_lines_are_passed_over() -> None:
    data = b"PTDaemon 1.10\r\n\r\n" + log([20]) + b"Time,nonsense,Watts,x\nTime,\n\xff\xfe\n"
    assert evaluate(data, START_NS, 1.0).samples == 1


@pytest.mark.parametrize("data", [b"", b"hello", b"Time,1,2,3", b"\xff" * 50])
def test_what_is_no_log(data: bytes) -> None:
    with pytest.raises(IngestError, match="contains no PTDaemon line"):
        evaluate(data, START_NS, 1.0)


@given(watts=st.lists(st.floats(0.01, 1e4), min_size=1, max_size=30))
def test_energy_lies_between_the_lowest_and_the_highest_power(watts: list[float]) -> None:
    found = evaluate(log(watts), START_NS, float(len(watts)))
    rounded = [round(value, 6) for value in watts]
    low, high = min(rounded) * len(watts), max(rounded) * len(watts)
    assert low * (1 - 1e-9) <= found.energy_j <= high * (1 + 1e-9)


@given(data=st.binary(max_size=200), start=st.integers(0, 4 * 10**18), ahead=st.integers(-(10**14),
       10**14))  # fmt: skip
def test_any_bytes_and_times(data: bytes, start: int, ahead: int) -> None:
    with pytest.raises(IngestError):
        evaluate(data, start, 1.0, ahead)
