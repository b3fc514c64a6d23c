"""The script with which the owner of a device records it: from a kit, without an installation."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.integration.agent.test_proof import NUMPY, RUNTIME, make_wheel
from tests.support import ROOT

sys.path.insert(0, str(ROOT / "deploy"))
from runtime_lock import runtime_lock


def prove(
    kit: Path, temporary: Path, *words: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    temporary.mkdir(exist_ok=True)
    return subprocess.run(
        ["sh", str(kit / "prove-device.sh"), *words],
        env={**os.environ, "TMPDIR": str(temporary), **environment},
        cwd=temporary.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_a_kit_records_a_device_and_leaves_nothing(kit: Path, python: str, tmp_path: Path) -> None:
    own = tmp_path / "fleetmark-agent-kit"
    shutil.copytree(kit, own)
    make_wheel(own / "runtimes/onnxruntime", "onnxruntime", "py3-none-any", RUNTIME)
    make_wheel(own / "runtimes/onnxruntime", "numpy", "py3-none-any", NUMPY)
    done = prove(own, tmp_path / "tmp", "mine.tar.gz", PYTHON=python)
    assert done.returncode == 0, done.stderr
    assert "runtime onnxruntime: it computes" in done.stdout
    assert list((tmp_path / "tmp").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {
        "fleetmark-agent-kit",
        "tmp",
        "mine.tar.gz",
    }
    with tarfile.open(tmp_path / "mine.tar.gz") as archive:
        file = archive.extractfile("proof.json")
        assert file is not None
        document = json.loads(file.read())
    (run,) = document["runs"]
    assert run["wheels"] == ["numpy-1.0-py3-none-any.whl", "onnxruntime-1.0-py3-none-any.whl"]
    assert {one["rule"] for one in document["detected"]} >= {"python", "vcgencmd", "nvpmodel"}


def test_without_a_kit_or_a_python_it_is_refused(kit: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(kit / "prove-device.sh", alone)
    done = prove(alone, tmp_path / "tmp")
    assert (done.returncode, done.stdout) == (4, "")
    assert "run it from an unpacked kit" in done.stderr
    shell, empty = shutil.which("sh"), tmp_path / "bin"
    assert shell is not None
    empty.mkdir()
    for name in ("sh", "dirname"):
        (empty / name).symlink_to(shutil.which(name) or name)
    done = prove(kit, tmp_path / "tmp", PATH=str(empty))
    assert (done.returncode, done.stdout) == (4, "")
    assert "needs Python 3.10" in done.stderr


def test_wheels_of_runtimes_come_with_their_hashes() -> None:
    lines = runtime_lock("onnxruntime", "3.11", "aarch64").splitlines()
    names = [line.partition("==")[0] for line in lines]
    assert {"onnxruntime", "numpy"} <= set(names)
    assert all("--hash=sha256:" in line for line in lines)
    numpy = next(line for line in runtime_lock("tflite-runtime", "3.11", "aarch64").splitlines()
                 if line.startswith("numpy=="))  # fmt: skip
    assert numpy.startswith("numpy==1.")
    assert runtime_lock("tflite-runtime", "3.13", "aarch64") == ""
    for name in ("gcc", "openvino", "../x"):
        with pytest.raises(ValueError, match=r"kit cannot run it|no wheels"):
            runtime_lock(name, "3.11", "aarch64")
