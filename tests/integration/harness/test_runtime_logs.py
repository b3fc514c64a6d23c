"""Calls of a runtime write nothing: a line per call would be measured, and fill the disk."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from fleetmark_catalog.load import load_catalog
from fleetmark_catalog.resolve import expand
from tests.integration.harness.conftest import PYTHON
from tests.support.model_files import Value
from tests.support.runnable_models import Op, onnx_model

ROOT = Path(__file__).parents[3]
CODE = """
import sys
from pathlib import Path
import numpy as np
from fleetmark_harness.adapters import open_model

model = open_model({"name": "onnxruntime"}, Path(sys.argv[1]), 1, 1)
for _ in range(3):
    assert model.run(np.ones((1, 4), np.float32)).shape == (4,)
    assert model.call({"x": np.ones((1, 4), np.float32)})[0].shape == (4,)
print("called")
"""


def test_an_output_of_another_shape_than_declared_writes_nothing(
    bench: Any, tmp_path: Path
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(
        onnx_model(
            [Op("Compress", ("x", "kept"), "y")],
            [Value("x", shape=("batch", 4))],
            [Value("y", shape=(9,))],  # ONNX Runtime warns of it in each call
            {"kept": np.ones(4, np.bool_)},
        )
    )
    configuration = expand(
        load_catalog(),
        "fashion-mnist",
        scenarios=["Offline"],
        modes=["performance"],
        variations=["onnx"],
    )[0]
    environment = bench.environment(bench.lock(configuration).environment.wheels)
    ended = subprocess.run(
        [PYTHON, "-S", "-B", "-c", CODE, str(model)],
        env={"PYTHONPATH": f"{ROOT / 'catalog'}:{environment}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "called\n", "")
