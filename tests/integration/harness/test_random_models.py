"""500 random small models on each real runtime: the harness counts what was computed."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.timeout(1200)

MODELS, SEED = 500, 1


@pytest.mark.parametrize(
    "runtime",
    ["onnxruntime", "tflite", "opencv", pytest.param("openvino", marks=pytest.mark.slow)],
)
def test_figures_of_random_models_are_true(bench: Any, runtime: str) -> None:
    found = bench.run_module(runtime, "tests.support.random_models", str(MODELS), str(SEED))
    # Nothing that this runtime can open is refused.
    assert found == {"measured": MODELS, "refused": {}}
