"""Figures that follow from another scenario's run, as MLPerf's rules say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.loadgen.loadgen_log import SCENARIOS
from fleetmark_controller.mlperf.inference import SOURCES, inferred_figure, may_infer, why_not

KEYS = (
    *("early_stopping_latency_ms", "result_qps_without_loadgen_overhead"),
    *("result_mean_query_latency_ns", "effective_samples_per_query"),
)


def test_the_examples_of_the_rules() -> None:
    single = {
        "early_stopping_latency_ms": 25_000_000,
        "result_qps_without_loadgen_overhead": 40,
    }
    assert inferred_figure("MultiStream", "SingleStream", single) == 200
    assert inferred_figure("Offline", "SingleStream", single) == 40
    multi = {"result_mean_query_latency_ns": 200_000_000, "effective_samples_per_query": 8}
    assert inferred_figure("Offline", "MultiStream", multi) == 40


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("measured", SCENARIOS)
def test_no_other_scenario_is_inferred(scenario: str, measured: str) -> None:
    allowed = measured in SOURCES.get(scenario, ())
    assert may_infer(scenario, measured) == allowed
    figure = inferred_figure(scenario, measured, dict.fromkeys(KEYS, 1))
    assert (figure is not None) == allowed
    if not allowed:
        assert "cannot be inferred" in why_not(scenario, measured)


def test_without_an_estimate_there_is_no_multistream() -> None:
    values = {"early_stopping_latency_ms": 0, "result_qps_without_loadgen_overhead": 3.5}
    assert inferred_figure("MultiStream", "SingleStream", values) is None
    assert "662 queries" in why_not("MultiStream", "SingleStream")
    assert inferred_figure("Offline", "SingleStream", values) == 3.5


@given(
    st.sampled_from(SCENARIOS),
    st.sampled_from(SCENARIOS),
    st.dictionaries(
        st.sampled_from(KEYS),
        st.one_of(st.none(), st.booleans(), st.text(), st.floats(), st.integers(-5, 5)),
    ),
)
def test_whatever_a_log_says(scenario: str, measured: str, values: dict[str, object]) -> None:
    figure = inferred_figure(scenario, measured, values)
    assert figure is None or figure > 0
