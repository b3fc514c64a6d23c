"""docs/how-to/bring-your-own-model.md as written, with models that this test builds."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.model_files import Node, Value, onnx_graph
from tests.support.processes import Fleet, fleet_in

pytestmark = pytest.mark.e2e
DOCUMENT = (ROOT / "docs" / "how-to" / "bring-your-own-model.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"```(sh|)\n(.*?)```", DOCUMENT, re.DOTALL)
OUTPUT = Value("y", "float32", ["batch", 10])
TABLE = Value("table", "float32", [30522, 16])
TEXT = ["batch", "sequence"]
MODELS = {
    "my-classifier.onnx": onnx_graph([Value("x", "float32", ["batch", 3, 8, 8])], [OUTPUT]),
    "my-detector.onnx": onnx_graph(
        [Value("images", "float32", ["batch", 3, "height", "width"])], [OUTPUT]
    ),
    "my-encoder.onnx": onnx_graph(
        [Value(name, "int64", TEXT) for name in ("attention_mask", "input_ids")],
        [OUTPUT],
        nodes=[Node("Gather", ["table", "input_ids"], "rows")],
        weights=[TABLE],
    ),
    "my-tagger.onnx": onnx_graph([Value("tokens", "int32", ["batch", 64])], [OUTPUT]),
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("models")) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        yield fleet


def test_the_document(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, model in MODELS.items():
        (tmp_path / name).write_bytes(model)
    refused = fleet.run("catalog", "import", "my-detector.onnx")
    assert refused.returncode == 2
    (message,) = (text.strip() for kind, text in BLOCKS if not kind)
    assert refused.stderr.strip().endswith(message)
    lines = [line for kind, text in BLOCKS if kind for line in text.splitlines()]
    assert len(lines) == 8
    for line in lines:
        words = shlex.split(line)
        done = fleet.run(*words[1:])
        assert done.returncode == 0, (line, done.stderr)
        if "my-encoder.onnx" in words:
            assert "random 0 to 30521" in done.stdout
    assert "model/my-detector" in done.stdout
    left = json.loads(fleet.run("catalog", "list", "model", "--json").stdout)
    own = {component["name"] for component in left if component["name"].startswith("my-")}
    assert own == {"my-classifier", "my-encoder", "my-tagger"}
