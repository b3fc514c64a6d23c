"""Checks of a submitter's part of a tree by MLPerf's rules: systems, models, scenarios, results.

Source: `check_results_dir` of the submission checkers v5.0 and v5.1, `Loader` of v6.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleetmark_controller.mlperf.benchmarks import official_name
from fleetmark_controller.mlperf.check_result import CheckedResult, check_result
from fleetmark_controller.mlperf.check_system import check_system, over_network
from fleetmark_controller.mlperf.layout import SCENARIO_FOLDERS, Layout, SubmissionPath
from fleetmark_controller.mlperf.problems import SubmissionProblem
from fleetmark_controller.mlperf.rules import OPEN, SYSTEM_TYPES, FindRules, Rules
from fleetmark_controller.mlperf.submitted_result import SubmittedResult
from fleetmark_controller.mlperf.tree_reader import TreeReader


def check_submitter(
    tree: TreeReader, layout: Layout, find_rules: FindRules
) -> tuple[list[CheckedResult], list[SubmissionProblem]]:
    """Return the results of a submitter, and the problems outside of results."""
    check = _SubmitterCheck(tree, layout, find_rules)
    problems = list(check.run())
    return check.results, problems


class _SubmitterCheck:
    def __init__(self, tree: TreeReader, layout: Layout, find_rules: FindRules) -> None:
        self.tree, self.layout, self.find_rules = tree, layout, find_rules
        self.results: list[CheckedResult] = []
        self.mapping: Mapping[str, object] = {}

    def run(self) -> Iterator[SubmissionProblem]:
        layout, tree = self.layout, self.tree
        results = f"{layout.root}/results"
        systems = tree.folders_in(results)
        if not systems:
            yield SubmissionProblem(results, "holds no result")
        if layout.division == OPEN and layout.model_mapping in tree.sizes:
            self.mapping, problems = tree.json(layout.model_mapping)
            yield from problems
        if layout.round == "v5.1":
            # The checkers of the other rounds do not check this.
            yield from self._without_results(set(systems))
            if layout.division != OPEN:
                yield from self._calibration()
        for system in systems:
            yield from self._system(system)

    def _calibration(self) -> Iterator[SubmissionProblem]:
        paths = (f"{self.layout.root}/calibration.md", self.layout.calibration)
        if not any(path in self.tree.sizes for path in paths):
            yield SubmissionProblem(self.layout.calibration, "is missing")

    def _without_results(self, systems: set[str]) -> Iterator[SubmissionProblem]:
        """Yield systems and measurements without a result: v5.1 rejects them."""
        root = self.layout.root
        described = {
            name.removesuffix(".json")
            for name in self.tree.files_in(f"{root}/systems")
            if name.endswith(".json")
        }
        for name in sorted(described - systems):
            yield SubmissionProblem(f"{root}/systems/{name}.json", "no result belongs to it")
        for name in sorted(set(self.tree.folders_in(f"{root}/measurements")) - systems):
            yield SubmissionProblem(f"{root}/measurements/{name}", "no result belongs to it")

    def _system(self, system: str) -> Iterator[SubmissionProblem]:
        path = self.layout.system(system)
        values, problems = self.tree.json(path)
        yield from problems
        if problems:
            return
        yield from check_system(path, values, self.layout)
        if values.get("system_type") not in SYSTEM_TYPES:
            return
        for model in self.tree.folders_in(f"{self.layout.root}/results/{system}"):
            yield from self._model(system, model, values)

    def _model(
        self, system: str, model: str, described: Mapping[str, Any]
    ) -> Iterator[SubmissionProblem]:
        where = f"{self.layout.root}/results/{system}/{model}"
        system_type = str(described["system_type"])
        benchmark = official_name(self.layout.round, model, self.mapping)
        try:
            rules = self.find_rules(self.layout.round, benchmark)
        except KeyError:
            yield SubmissionProblem(
                where, f"no MLPerf benchmark of round {self.layout.round} is known for it"
            )
            return
        if not rules.required(system_type):
            yield SubmissionProblem(where, f"{benchmark} is no benchmark of {system_type} systems")
            return
        have = set[str]()
        for folder in self.tree.folders_in(where):
            place = SubmissionPath(system, model, folder)
            if self.layout.division != OPEN and place.scenario not in rules.allowed(system_type):
                text = f"{folder} is no scenario of {benchmark} for {system_type} systems"
                yield SubmissionProblem(f"{where}/{folder}", text)
            elif place.scenario not in SCENARIO_FOLDERS.values():
                yield SubmissionProblem(f"{where}/{folder}", "is no scenario of LoadGen")
            else:
                have.add(place.scenario)
                result = SubmittedResult(
                    self.tree, self.layout, place, rules, system_type, over_network(described)
                )
                self.results.append(check_result(result))
        if self.layout.division != OPEN:
            yield from _missing_scenarios(where, have, rules, system_type)


def _missing_scenarios(
    where: str, have: set[str], rules: Rules, system_type: str
) -> Iterator[SubmissionProblem]:
    for scenario in rules.required(system_type):
        if scenario not in have:
            yield SubmissionProblem(where, f"the closed division wants {scenario}, too")
    if rules.needs_interactive(system_type) and not have & {"Server", "Interactive"}:
        yield SubmissionProblem(where, "the closed division wants Server or Interactive, too")
