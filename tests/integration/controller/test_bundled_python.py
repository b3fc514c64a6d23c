"""A Python that the catalog brings, for devices whose own does not fit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.safe_unpack import UnpackLimits, unpack
from tests.unit.controller.test_bundled_python import NEW, PYTHON, answer


def test_the_archive_is_made_of_debians_packages_and_runs(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    sources = answer(NEW).sources
    sha256 = PYTHON.artifacts[0].sha256
    try:
        obtain({sha256: sources[sha256]}, blobs, None, lambda _: None)
    except FleetmarkError as error:
        pytest.skip(f"this machine's apt does not have these packages: {error.what[:200]}")
    unpack(blobs.path(sha256), tmp_path / "python", UnpackLimits(20_000_000))
    python = tmp_path / "python" / PYTHON.body["interpreters"][0]["python"]
    done = subprocess.run(
        [str(python), "-I", "-S", "-c", "import sys, ctypes, json, ssl; print(sys.prefix)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tmp_path / "python" / "usr")
