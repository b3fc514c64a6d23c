"""catalog/README.md, followed by the letter."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fleetmark_catalog.load import BUILTIN, KINDS
from fleetmark_catalog.load.kind_schemas import ARCHIVE, BODIES
from tests.support.processes import BIN, fleet_in

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
        output = []
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
            output.append(done.stdout)
    assert "2 components are valid" in output[0]
    assert "model/my-cnn" in output[0]
    assert '"extends"' not in output[0]
    assert "my-benchmark onnx SingleStream performance" in output[0]
    assert "my-speed" in output[1]


@pytest.mark.e2e
def test_bringing_an_archive(tmp_path: Path) -> None:
    text = README.partition("## Bring an archive")[2]
    (script,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    script += "controller catalog resolve my-tooled --device bench-01 --explain\n"
    script += "controller catalog resolve my-tooled --device bench-01 --json\n"
    with fleet_in(tmp_path / "fleet") as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=tmp_path,
            env={**fleet.environment(), "PATH": f"{BIN}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "2 components are valid" in done.stdout
    assert re.search(r"my-tooled .*SingleStream performance", done.stdout)
    assert "unpacked from my-tools-1.0.tar" in done.stdout
    assert '"archives"' in done.stdout


def test_it_documents_every_key_of_an_archive() -> None:
    text = README.partition("## Bring an archive")[2]
    for key in ARCHIVE["properties"]:
        assert f"`{key}`" in text


def test_it_speaks_of_all_kinds() -> None:
    for kind in KINDS:
        assert f"`{kind}`" in README
    assert set(BODIES) == set(KINDS)
