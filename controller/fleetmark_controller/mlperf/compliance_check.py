"""Compliance tests and inferred figures of stored runs; reads the logs that they need."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from fleetmark_controller.loadgen import mllog
from fleetmark_controller.loadgen.accuracy_log import Answers, parse_accuracy
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.mlperf.compliance import (
    FAIL,
    ComplianceResult,
    not_quicker,
    same_answers,
    same_speed,
)
from fleetmark_controller.mlperf.inference import inferred_figure
from fleetmark_controller.mlperf.layout import (
    ANSWERS,
    DETAIL,
    VERIFIED_ACCURACY,
    VERIFIED_PERFORMANCE,
)
from fleetmark_controller.mlperf.selection import SubmissionEntry
from fleetmark_controller.mlperf.stored_run import ReadBlob, StoredRun


def compare_test(entry: SubmissionEntry, test: str, read: ReadBlob) -> dict[str, ComplianceResult]:
    """Return the outcomes of one test of an entry, by the name of the file that reports them."""
    tested = entry.tests[test]
    scenario = entry.performance.scenario
    reference, figure = _figure(entry.performance), _figure(tested)
    if test == "TEST04":
        return {VERIFIED_PERFORMANCE: not_quicker(scenario, reference, figure)}
    found = {VERIFIED_PERFORMANCE: same_speed(scenario, reference, figure)}
    try:
        found[VERIFIED_ACCURACY] = same_answers(
            _answers(entry.accuracy, read), _answers(tested, read)
        )
    except IngestError as error:
        found[VERIFIED_ACCURACY] = ComplianceResult(False, str(error), f"{FAIL}\n")
    return found


def infer(read: ReadBlob, run: StoredRun, scenario: str) -> float | None:
    """Return the figure of `scenario` inferred from a run of another one; None if impossible."""
    values = mllog.read(io.BytesIO(read(run.files[DETAIL].sha256))).values
    return inferred_figure(scenario, run.scenario, values)


def failing(read: ReadBlob, entry: SubmissionEntry, test: str) -> str:
    """Return why a test of an entry fails; an empty string if it passes."""
    verdicts = compare_test(entry, test, read)
    return "; ".join(found.why for found in verdicts.values() if not found.passed)


def _figure(run: StoredRun) -> float:
    return float(str(run.row["metric_value"]))


def _answers(run: StoredRun, read: ReadBlob) -> Answers:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ANSWERS
        path.write_bytes(read(run.files[ANSWERS].sha256))
        return parse_accuracy(path)
