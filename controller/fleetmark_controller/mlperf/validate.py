"""Check of a submission's tree, on two levels.

*MLPerf's rules* apply to any tree: they are those of the official submission checkers, and stricter
only if a comment beside the check quotes a written rule. *Fleetmark's own format* applies to
results that Fleetmark wrote, which are identified by their manifest: raw logs are those that the
device delivered, every file belongs to a result, and there is no file that the exporter does not
write.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.mlperf import rules
from fleetmark_controller.mlperf.check_files import check_files
from fleetmark_controller.mlperf.check_result import CheckedResult
from fleetmark_controller.mlperf.check_submitter import check_submitter
from fleetmark_controller.mlperf.layout import Layout
from fleetmark_controller.mlperf.own_form import check_own_form
from fleetmark_controller.mlperf.problems import FLEETMARK, MLPERF, NOTICE, SubmissionProblem
from fleetmark_controller.mlperf.rules import CHECKED_DIVISIONS, FindRules
from fleetmark_controller.mlperf.tree_reader import TreeReader


@dataclass(frozen=True)
class Checked:
    """Outcome of a check: results with their own problems, and problems outside of results."""

    results: tuple[CheckedResult, ...]
    beside: tuple[SubmissionProblem, ...]

    @property
    def findings(self) -> list[SubmissionProblem]:
        """Every finding once, at its most severe level; including notices."""
        found = [*self.beside]
        for result in self.results:
            found += result.problems
        unique: dict[tuple[str, str], SubmissionProblem] = {}
        for problem in found:
            key = (problem.path, problem.text)
            if key not in unique or _rank(problem) < _rank(unique[key]):
                unique[key] = problem
        return list(unique.values())

    @property
    def problems(self) -> list[SubmissionProblem]:
        """The findings without notices."""
        return [problem for problem in self.findings if problem.level != NOTICE]


def _rank(problem: SubmissionProblem) -> int:
    return (MLPERF, FLEETMARK, NOTICE).index(problem.level)


def validate(
    folder: Path, round_name: str, find_rules: FindRules = rules.rules
) -> list[SubmissionProblem]:
    """Return the problems of the submission in `folder`; see `check_tree`.

    Raises:
        OSError: the tree cannot be read.
    """
    return check_tree(folder, round_name, find_rules).problems


def check_tree(folder: Path, round_name: str, find_rules: FindRules = rules.rules) -> Checked:
    """Check the submission in `folder` on both levels.

    Args:
        folder: the tree, with the divisions at its top.
        round_name: the round whose rules apply.
        find_rules: returns the rules for a round and a benchmark.

    Raises:
        OSError: the tree cannot be read.
    """
    tree = TreeReader(folder)
    beside = list(check_files(tree))
    if round_name == "v6.1":
        # The checker of v6.1 ignores files that do not belong to a result.
        beside = [problem._replace(level=NOTICE) for problem in beside]
    results: list[CheckedResult] = []
    layouts = [
        Layout(round_name, division, submitter)
        for division in CHECKED_DIVISIONS
        for submitter in tree.folders_in(division)
        if f"{division}/{submitter}/results" in tree.folders
    ]
    for layout in layouts:
        found, problems = check_submitter(tree, layout, find_rules)
        results += found
        beside += problems
    if not layouts:
        beside.append(SubmissionProblem(".", "holds no submission"))
    beside += check_own_form(tree, layouts, find_rules)
    return Checked(tuple(results), tuple(beside))
