"""tflite-runtime with an older NumPy, beside runs with the newer one."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("form", ["fp32", "int8"])
def test_it_runs_with_numpy_1(bench: Any, quick: Any, form: str) -> None:
    ran = bench.run(quick("Offline", "accuracy", "tflite-runtime", form))
    assert ran.code == 0, ran.stderr
    result = ran.result
    assert result["runtime"]["name"] == "tflite-runtime"
    assert result["runtime"]["version"] == "2.14.0"
    assert result["numpy_version"] == "1.26.4"
    assert result["accuracy"]["value"] == pytest.approx(
        {"fp32": 0.937, "int8": 0.939}[form], abs=0.002
    )
