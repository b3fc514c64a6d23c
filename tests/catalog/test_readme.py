"""catalog/README.md, followed by the letter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from processes import BIN, fleet_in

from fleetmark_catalog.load import BUILTIN, KINDS
from fleetmark_catalog.load.schema import BODIES

README = (BUILTIN.parents[1] / "README.md").read_text()


@pytest.mark.e2e
def test_adding_a_component_in_five_minutes(tmp_path: Path) -> None:
    text = README.partition("## Add a component in five minutes")[2].partition("\n## ")[0]
    first, second = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    shutil.copyfile(
        BUILTIN / "model" / "fashion-mnist-dscnn" / "dscnn_fp32.onnx", tmp_path / "my-cnn.onnx"
    )
    with fleet_in(tmp_path / "fleet") as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        path = f"{BIN}:{os.environ['PATH']}"
        said = []
        for script in (first, second):
            done = subprocess.run(
                ["bash", "-e", "-c", script],
                cwd=tmp_path,
                env={**fleet.environment(), "PATH": path},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            said.append(done.stdout)
    assert "2 components are valid" in said[0]
    assert "model/my-cnn" in said[0]
    assert '"extends"' not in said[0]
    assert "my-benchmark onnx SingleStream performance" in said[0]
    assert "my-speed" in said[1]


def test_it_speaks_of_all_kinds() -> None:
    for kind in KINDS:
        assert f"`{kind}`" in README
    assert set(BODIES) == set(KINDS)
