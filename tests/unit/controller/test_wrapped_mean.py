"""The mean of a long Offline run: recovered where LoadGen's sum has wrapped, or left unknown."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.loadgen.loadgen_log import PERCENTILES, parse_detail
from fleetmark_controller.loadgen.wrapped_mean import true_mean_ns
from tests.support import LOADGEN_LOGS
from tests.support import evaluation_cases as cases

HOUR = LOADGEN_LOGS.parent / "loadgen_wrapped" / "offline_hour.txt.gz"


@pytest.fixture
def hour(tmp_path: Path) -> Path:
    """LoadGen's own log of an hour: 9.9 million samples, whose latencies add up to 2.02 x 2^64."""
    path = tmp_path / "mlperf_log_detail.txt"
    path.write_bytes(gzip.decompress(HOUR.read_bytes()))
    return path


def test_a_run_of_an_hour_keeps_its_figure_and_gets_its_mean(hour: Path) -> None:
    result = parse_detail(hour).result
    assert result is not None and result.validity == "VALID"
    assert result.metric_value == pytest.approx(1309.6)
    mean_s = (result.latency.mean_ns or 0) / 1e9
    assert mean_s == pytest.approx(30.971557988 + 2 * 2**64 / result.sample_count / 1e9)
    # All samples are issued at once and come back at a steady rate: half of the time, about.
    assert mean_s == pytest.approx(result.latency.max_ns / 2e9, rel=0.02)


def test_it_becomes_a_run(hour: Path) -> None:
    job = cases.inputs(hour.parent, "offline_performance", files={"loadgen_detail": hour})
    facts = evaluate(job)
    assert facts.loadgen_validity == "VALID" and not facts.problems
    assert facts.metric_value == pytest.approx(1309.6) and facts.latency_mean_ms


LATENCIES = st.lists(st.integers(1, 10**13), min_size=1, max_size=300)


@given(LATENCIES, st.integers(1, 10**8))
def test_the_mean_is_right_or_unknown(taken: list[int], times: int) -> None:
    """Each latency occurs so many times; the sum wraps, or does not."""
    ordered, count = sorted(taken), len(taken) * times
    total = sum(taken) * times
    percentiles = {
        p: ordered[min(int(count * float(p) / 100), count - 1) // times] for p in PERCENTILES
    }
    found = true_mean_ns(total % 2**64 // count, count, ordered[0], ordered[-1], percentiles)
    assert found is None or abs(found - total // count) <= 1
    if total < 2**64 and count * ordered[-1] < 2**64:
        assert found == total // count
