"""catalog/README.md, followed by the letter."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from boards import HARNESS, board

from fleetmark_catalog.core.blobfolder import BlobFolder
from fleetmark_catalog.core.digest import sha256_file
from fleetmark_catalog.load import BUILTIN, KINDS, load_catalog
from fleetmark_catalog.load.schema import BODIES
from fleetmark_catalog.resolve import LocalFile, expand, resolve
from fleetmark_controller.bundling import obtain

README = (BUILTIN.parents[1] / "README.md").read_text()


def block(language: str, number: int = 0) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return textwrap.dedent(found[number])


def test_adding_a_model(tmp_path: Path) -> None:
    mine = tmp_path / "my-catalog"
    model = mine / "model" / "my-cnn"
    model.mkdir(parents=True)
    shutil.copyfile(
        BUILTIN / "model" / "fashion-mnist-dscnn" / "dscnn_fp32.onnx", model / "my-cnn.onnx"
    )
    text = block("toml")
    text = text.replace("0" * 64, sha256_file(model / "my-cnn.onnx"))
    text = text.replace("size_bytes = 0", f"size_bytes = {(model / 'my-cnn.onnx').stat().st_size}")
    (model / "component.toml").write_text(text)
    benchmark = mine / "benchmark" / "my-benchmark"
    shutil.copytree(BUILTIN / "benchmark" / "fashion-mnist", benchmark)
    text = (benchmark / "component.toml").read_text()
    assert 'component = "model/fashion-mnist-dscnn"' in text
    text = text.replace('component = "model/fashion-mnist-dscnn"', 'component = "model/my-cnn"')
    text = text.replace('name = "fashion-mnist"', 'name = "my-benchmark"')
    (benchmark / "component.toml").write_text(text)
    command = textwrap.dedent(block("sh")).replace("python", sys.executable, 1)
    listed = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"model/my-cnn", "benchmark/my-benchmark"} <= set(listed)
    catalog = load_catalog([mine])
    resolution = resolve(catalog, expand(catalog, "my-benchmark")[0], board(), HARNESS)
    assert resolution.lock is not None, resolution.reasons
    local = {k: s for k, s in resolution.sources.items() if isinstance(s, LocalFile)}
    obtain(local, BlobFolder(tmp_path / "blobs"), None, print)


def test_it_speaks_of_all_kinds() -> None:
    for kind in KINDS:
        assert f"`{kind}`" in README
    assert set(BODIES) == set(KINDS)
