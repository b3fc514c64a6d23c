"""What a newcomer does: clone, and run the README's first command."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.processes import environment


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_a_clean_clone_runs_the_main_job(tmp_path: Path) -> None:
    clone = tmp_path / "a clean clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    done = subprocess.run(
        ["make", "demo"],
        cwd=clone,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 succeeded" in done.stdout
    for name in ("results.db", "results.csv", "results.parquet", "report.html"):
        assert (clone / "fleetmark-demo" / name).stat().st_size > 1000
    left = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert left.stdout == "", "everything that it leaves is ignored by git"
