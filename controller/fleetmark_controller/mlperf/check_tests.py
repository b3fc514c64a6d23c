"""Checks of the compliance tests of a result in the closed division by MLPerf's rules.

Source: `check_compliance_dir`, `check_compliance_perf_dir` and `check_compliance_acc_dir` of the
submission checkers v5.0 and v5.1, `ComplianceCheck` of v6.1.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleetmark_controller.mlperf import accuracy_text
from fleetmark_controller.mlperf.check_log import RunLog, check_log
from fleetmark_controller.mlperf.compliance import PASS
from fleetmark_controller.mlperf.layout import (
    ACCURACY,
    ANSWERS,
    DETAIL,
    SUMMARY,
    VERIFIED_ACCURACY,
    VERIFIED_PERFORMANCE,
    Layout,
)
from fleetmark_controller.mlperf.problems import SubmissionProblem
from fleetmark_controller.mlperf.rules import Rules
from fleetmark_controller.mlperf.submitted_result import SubmittedResult
from fleetmark_controller.mlperf.tree_reader import TreeReader

_BASELINE, _TESTED = "baseline_accuracy.txt", "compliance_accuracy.txt"
_TOKEN_TEST = "TEST06"  # noqa: S105
_TOKEN_LINES = (
    ("First token check pass: True", "First token check pass: Skipped"),
    ("EOS check pass: True",),
    ("Sample length check pass: True",),
)


def check_tests(result: SubmittedResult) -> Iterator[SubmissionProblem]:
    """Yield problems of the compliance tests that a result needs."""
    tree, layout = result.tree, result.layout
    for test in result.rules.terms.tests:
        folder = layout.test(result.place, test)
        if folder not in tree.folders:
            yield SubmissionProblem(folder, f"is missing: the closed division requires {test}")
        elif test == _TOKEN_TEST:
            yield from _tokens(tree, folder)
        else:
            yield from _performance(tree, layout, folder)
            log, problems = RunLog.read(tree, f"{folder}/performance/run_1")
            yield from problems
            if log is not None:
                yield from check_log(
                    log,
                    result.place.scenario,
                    result.rules,
                    layout.division,
                    result.system_type,
                    network=result.network,
                )
            if test == "TEST01":
                yield from _answers(tree, layout, folder, result.rules)


def _performance(tree: TreeReader, layout: Layout, folder: str) -> Iterator[SubmissionProblem]:
    path = f"{folder}/{VERIFIED_PERFORMANCE}"
    yield from tree.missing(path)
    if path in tree.sizes and PASS not in tree.text(path):
        yield SubmissionProblem(path, f"does not say {PASS}")
    run, level = f"{folder}/performance/run_1", layout.level_of_files
    yield from tree.check_list(run, {SUMMARY, DETAIL}, {ANSWERS}, level)


def _answers(
    tree: TreeReader, layout: Layout, folder: str, rules: Rules
) -> Iterator[SubmissionProblem]:
    """Yield problems of TEST01's answers, which must be identical or equally accurate."""
    path = f"{folder}/{VERIFIED_ACCURACY}"
    yield from tree.missing(path)
    if path not in tree.sizes:
        return
    same = PASS in tree.text(path)
    texts = set() if same else {_BASELINE, _TESTED}
    wanted = {ANSWERS, ACCURACY} | texts
    yield from tree.check_list(f"{folder}/accuracy", wanted, level=layout.level_of_files)
    if same or not texts <= tree.files_in(f"{folder}/accuracy"):
        return
    baseline, tested = (tree.text(f"{folder}/accuracy/{name}") for name in (_BASELINE, _TESTED))
    for text in accuracy_text.differences(baseline, tested, rules.terms.targets, rules.benchmark):
        yield SubmissionProblem(path, f"does not say {PASS}, and {text}")


def _tokens(tree: TreeReader, folder: str) -> Iterator[SubmissionProblem]:
    path = f"{folder}/{VERIFIED_ACCURACY}"
    yield from tree.missing(path)
    lines = {line.strip() for line in tree.text(path).splitlines()}
    for accepted in _TOKEN_LINES if path in tree.sizes else ():
        if not lines & set(accepted):
            yield SubmissionProblem(path, f"does not say {accepted[0]!r}")
