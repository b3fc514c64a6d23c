"""The state that an attempt's folder records, also if files in it are damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fleetmark_agent.runner.prepare import job_software
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_core.capabilities import Software
from tests.security.damage.damages import DAMAGES


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_file_is_as_good_as_none(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path, LocalAttemptKey("job-1", 1))
    workspace.root.mkdir()
    workspace.progress.write_text('{"phase": "run", "done": 1, "total": 2}')
    assert workspace.read_progress() is not None
    damage(workspace.progress)
    assert workspace.read_json(workspace.progress) is None
    assert workspace.read_progress() is None


@pytest.mark.parametrize("mode", ["performance", "accuracy", "TEST01", "find-performance"])
def test_only_a_cross_check_gets_the_detected_software(mode: str) -> None:
    tool = Software("onnxruntime_perf_test", "", "/usr/bin/onnxruntime_perf_test")
    assert job_software(mode, [tool]) == {}
    assert job_software("crosscheck", [tool]) == {
        "software": {tool.name: {"version": "", "path": "/usr/bin/onnxruntime_perf_test"}}
    }
