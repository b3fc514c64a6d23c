"""docs/how-to/comparing-runtimes.md as written: an axis of runtimes, also for a user's model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from fleetmark_catalog.load import BUILTIN
from tests.support import ROOT
from tests.support.processes import BIN, Fleet, fleet_in

pytestmark = pytest.mark.e2e
MODELS = BUILTIN / "model" / "fashion-mnist-dscnn"
DOCUMENT = (ROOT / "docs" / "how-to" / "comparing-runtimes.md").read_text()
RUNTIMES = {"onnxruntime", "ai-edge-litert"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("runtimes")) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        yield fleet


def shell(fleet: Fleet, folder: Path, script: str) -> str:
    """Run a block of the document as a shell does; its output."""
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env={**fleet.environment(), "PATH": f"{BIN}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_document(fleet: Fleet, tmp_path: Path) -> None:
    shipped, own = re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL)
    output = shell(fleet, tmp_path, shipped)
    assert "12 jobs on 1 device" in output and "6 pairs" in output
    for form in ("onnx", "tflite"):
        shutil.copyfile(MODELS / f"dscnn_fp32.{form}", tmp_path / f"my-cnn.{form}")
    output = shell(fleet, tmp_path, own)
    assert "12 jobs on 1 device" in output and "6 pairs" in output
    rows = fleet.query(
        "SELECT benchmark, runtime, count(*) FROM runs WHERE official GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert rows == [
        (name, runtime, 6) for name in ("fashion-mnist", "my-cnn") for runtime in sorted(RUNTIMES)
    ]
    order = [row[0] for row in fleet.query("SELECT runtime FROM runs ORDER BY epoch LIMIT 12")]
    assert all(a != b for a, b in pairwise(order)), "they take turns"


@pytest.mark.parametrize(
    ("words", "jobs"), re.findall(r"^\| `([^|]*)` \| (one|two|eight)\b", DOCUMENT, re.MULTILINE)
)
def test_the_table_of_grids(fleet: Fleet, words: str, jobs: str) -> None:

    for options in words.replace("`", "").split(", or "):
        done = fleet.run(
            *("schedule", "fashion-mnist", "--scenario", "SingleStream", "--mode", "performance"),
            *(*options.split(), "--dry-run", "--json"),
        )
        assert done.returncode == 0, done.stderr
        expected = {"one": 1, "two": 2, "eight": 8}[jobs]
        assert len(json.loads(done.stdout)["jobs"]) == expected
