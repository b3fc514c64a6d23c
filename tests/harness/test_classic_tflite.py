"""tflite-runtime with an older NumPy, beside runs with the newer one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from fleetmark_catalog.load import BUILTIN, load_catalog
from fleetmark_catalog.resolve import expand

pytestmark = pytest.mark.timeout(600)


def classic_catalog(folder: Path) -> Any:
    """The image program and its benchmark, with tflite-runtime as the only TFLite runtime."""
    for kind, name in (("program", "image-classification"), ("benchmark", "fashion-mnist")):
        target = folder / kind / "classic"
        shutil.copytree(BUILTIN / kind / name, target)
        text = (target / "component.toml").read_text()
        text = text.replace(f'name = "{name}"', 'name = "classic"', 1)
        text = text.replace("program/image-classification", "program/classic")
        text = text.replace('{ component = "package/ai-edge-litert" }, ', "")
        (target / "component.toml").write_text(text)
    return load_catalog([folder])


@pytest.mark.parametrize("form", ["fp32", "int8"])
def test_it_runs_with_numpy_1(bench: Any, tmp_path: Path, form: str) -> None:
    catalog = classic_catalog(tmp_path)
    configuration = expand(
        catalog, "classic", scenarios=["Offline"], modes=["accuracy"], variations=["tflite", form]
    )[0]
    classic = type(bench)(bench.blobs, tmp_path, catalog)
    ran = classic.run(configuration)
    assert ran.code == 0, ran.stderr
    result = ran.result
    assert result["runtime"]["name"] == "tflite-runtime"
    assert result["runtime"]["version"] == "2.14.0"
    assert result["numpy_version"] == "1.26.4"
    assert result["accuracy"]["value"] == pytest.approx(
        {"fp32": 0.937, "int8": 0.939}[form], abs=0.002
    )
