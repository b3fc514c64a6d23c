"""MLCommons' own verification scripts on real compliance tests, if a checkout is present.

MLPERF_CHECKERS is a folder with a checkout of mlcommons/inference for each round (see
bench/official_checker.py). They are no part of this project.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from fleetmark_controller.client.export_mlperf import write_submission
from fleetmark_controller.mlperf import compliance, selection
from fleetmark_controller.mlperf.compliance_check import compare_test
from fleetmark_controller.mlperf.layout import Layout
from tests.support import ROOT
from tests.support.submissions import Store, output, short_rules

sys.path.insert(0, str(ROOT / "bench"))
import official_compliance

CHECKERS = os.environ.get("MLPERF_CHECKERS", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not CHECKERS, reason="MLPERF_CHECKERS names no folder with MLCommons' checkers"
    ),
]


@pytest.mark.parametrize("round_name", ["v5.1", "v6.1"])
def test_the_scripts_find_what_we_find(
    bench: Any, quick: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, round_name: str
) -> None:
    store = Store(bench)
    for scenario in ("SingleStream", "Offline"):
        for mode in ("performance", "accuracy", "TEST01", "TEST04"):
            store.add(quick(scenario, mode, round_name, min_duration_s="2"))
    with monkeypatch.context() as patch:
        # All four are to be looked at, however noisy the machine is.
        patch.setattr(compliance, "TEST_TOLERANCE", 1e6)
        patch.setattr(compliance, "QUICK_TOLERANCE", 1e6)
        layout = Layout(round_name, "open", "Us")
        write_submission(store.runs, output, store.read, layout, tmp_path / "tree", short_rules)
    runs = {run.run_id: run for run in store.runs}

    def save(run_id: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        for name, file in runs[run_id].files.items():
            (folder / name).write_bytes(store.read(file.sha256))

    scripts = Path(CHECKERS) / round_name / "compliance"
    found = list(official_compliance.verify(tmp_path / "tree", scripts, sys.executable, save))
    choice = selection.choose(store.runs, round_name, "open", lambda *_: "", short_rules)
    entries = {entry.place.scenario: entry for entry in choice.entries}
    assert len(found) == 4
    for one in found:
        entry = entries[one.result.rpartition("/")[2]]
        verdicts = compare_test(entry, one.test, store.read)
        output_so = all(verdict.passed for verdict in verdicts.values())
        assert one.passed or not output_so, one.lines
        if one.test == "TEST01":
            assert "Accuracy check pass: True" in one.lines


@pytest.mark.parametrize("round_name", ["v6.1"])
def test_the_scripts_see_answers_that_differ(
    bench: Any, quick: Any, tmp_path: Path, round_name: str
) -> None:
    store = Store(bench)
    for mode in ("performance", "accuracy", "TEST01"):
        store.add(quick("SingleStream", mode, round_name))
    part = dict(zip(("performance", "accuracy", "TEST01"), store.runs, strict=True))
    manifest = tmp_path / "tree/open/Us/src/m/fleetmark/manifest.json"
    manifest.parent.mkdir(parents=True)
    parts = {mode: {"run_id": run.run_id} for mode, run in part.items()}
    result = {"system": "s", "model": "m", "scenario": "SingleStream", "parts": parts}
    manifest.write_text(json.dumps({"results": [result]}))

    def save(run_id: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        for run in store.runs:
            for name, file in run.files.items() if run.run_id == run_id else ():
                data = store.read(file.sha256)
                if run is part["TEST01"] and name == "mlperf_log_accuracy.json":
                    entries = json.loads(data)
                    entries[0]["data"] = "63000000"
                    data = json.dumps(entries).encode()
                (folder / name).write_bytes(data)

    scripts = Path(CHECKERS) / round_name / "compliance"
    (found,) = official_compliance.verify(tmp_path / "tree", scripts, sys.executable, save)
    assert not found.passed
    assert "Accuracy check pass: False" in found.lines
