"""When a run is only an estimate: the plan of the job and LoadGen's checks must agree."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.evaluation.estimate import estimate_reason
from fleetmark_controller.loadgen.loadgen_log import TOO_FEW_QUERIES, parse_detail
from tests.support import LOADGEN_LOGS

LOG = LOADGEN_LOGS / "singlestream_performance" / "mlperf_log_detail.txt"
RESULT = parse_detail(LOG).result
COUNT = RESULT.query_count if RESULT is not None else 0
CLAIM = {"planned_count": 1, "needed_count": COUNT + 1}


def reason(validity: str, failed: tuple[str, ...], claim: dict[str, Any] = CLAIM) -> str | None:
    assert RESULT is not None
    result = replace(RESULT, validity=validity, failed_checks=failed)
    return estimate_reason(result, "SingleStream", claim)


def test_too_few_queries_make_an_estimate() -> None:
    expected = f"only {COUNT} queries fit into the time limit; a measurement needs {COUNT + 1}"
    assert reason("INVALID", (TOO_FEW_QUERIES,)) == expected
    assert reason("VALID", ()) == expected


@pytest.mark.parametrize(
    ("validity", "failed"),
    [
        ("INVALID", ()),
        ("INVALID", ("minimum duration not reached",)),
        ("INVALID", (TOO_FEW_QUERIES, "minimum duration not reached")),
        ("VALID", (TOO_FEW_QUERIES,)),
    ],
)
def test_another_failed_check_makes_none(validity: str, failed: tuple[str, ...]) -> None:
    assert reason(validity, failed) is None


@given(
    st.dictionaries(
        st.sampled_from(["planned_count", "needed_count"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    )
)
def test_any_claim_gives_a_reason_or_none(claim: dict[str, Any]) -> None:
    found = reason("INVALID", (TOO_FEW_QUERIES,), claim)
    assert found is None or claim["planned_count"] <= COUNT < claim["needed_count"]
