"""Checks of one result by MLPerf's rules: its measurements, its two runs and compliance tests.

Source: `check_measurement_dir`, `check_accuracy_dir`, `check_performance_dir` and
`check_compliance_dir` of the submission checkers v5.0 and v5.1; the checks of the same names of
v6.1. If this module is stricter, a comment beside the check quotes the rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fleetmark_controller.mlperf import accuracy_text
from fleetmark_controller.mlperf.check_log import (
    RunLog,
    check_issued_samples,
    check_log,
    figure_of,
)
from fleetmark_controller.mlperf.check_tests import check_tests
from fleetmark_controller.mlperf.layout import (
    ACCURACY,
    ANSWERS,
    DETAIL,
    README,
    SUMMARY,
    USER_CONF,
)
from fleetmark_controller.mlperf.problems import NOTICE, SubmissionProblem
from fleetmark_controller.mlperf.rules import ACCURACY_LOG_BYTES, OPEN
from fleetmark_controller.mlperf.submitted_result import SubmittedResult

IMPLEMENTATION_FIELDS = (
    *("input_data_types", "retraining", "starting_weights_filename"),
    *("weight_data_types", "weight_transformations"),
)
_POWER_LOGS = {"client.json", "client.log", "ptd_logs.txt", "server.json", "server.log"}
_SAMPLES_OF_POWER = "spl.txt"


@dataclass
class CheckedResult:
    """A result of a tree, and its problems.

    Args:
        folder: its folder in the tree.
        system_type: the type of its system.
        benchmark: its MLPerf benchmark.
        scenario: its scenario.
        figure: the official figure: ms, samples/s, or tokens/s; None if it cannot be read.
        inferred: whether it is inferred from a run of another scenario.
        problems: the problems of the result.
    """

    folder: str
    system_type: str
    benchmark: str
    scenario: str
    figure: float | None = None
    inferred: bool = False
    problems: list[SubmissionProblem] = field(default_factory=list)


def check_result(result: SubmittedResult) -> CheckedResult:
    """Check the measurements, the runs and the compliance tests of one result."""
    place, rules = result.place, result.rules
    found = CheckedResult(
        result.layout.results(place), result.system_type, rules.benchmark, place.scenario
    )
    check = _ResultCheck(result)
    found.problems += check.measurements()
    found.problems += check.accuracy()
    log, problems = check.performance()
    found.problems += problems
    if log is not None:
        found.figure = figure_of(log, place.scenario, rules)
        found.inferred = log.is_inferred(place.scenario)
    if result.layout.division != OPEN:
        found.problems += check_tests(result)
    return found


class _ResultCheck:
    def __init__(self, result: SubmittedResult) -> None:
        self.tree, self.layout = result.tree, result.layout
        self.place, self.rules = result.place, result.rules
        self.system_type, self.network = result.system_type, result.network
        self.power = f"{self.layout.results(self.place)}/performance/power"
        self.has_power = self.power in self.tree.folders

    # Measurements.

    def measurements(self) -> Iterator[SubmissionProblem]:
        """Yield problems of the folder that describes how the result was measured."""
        folder = self.layout.measurements(self.place)
        for name in (USER_CONF, README):
            yield from self.tree.missing(f"{folder}/{name}")
            if self.tree.sizes.get(f"{folder}/{name}") == 0:
                yield SubmissionProblem(f"{folder}/{name}", "is empty")
        path = self._implementation(folder)
        if path is None:
            yield SubmissionProblem(
                folder, "has no JSON file with what was done to weights and inputs"
            )
            return
        values, problems = self.tree.json(path)
        yield from problems
        for name in IMPLEMENTATION_FIELDS if not problems else ():
            if not _says_something(values.get(name)):
                yield SubmissionProblem(path, f"field {name} is missing, or says nothing")
        if not self._has_code():
            yield SubmissionProblem(
                f"{self.layout.code}/{self.place.model}", "is missing: the code that ran"
            )

    def _implementation(self, folder: str) -> str | None:
        """Return the file that describes weights and inputs; its name depends on the round.

        Up to v5.1 its name begins with the name of the system.
        """
        if not self.layout.has_measurements_tree:
            return f"{folder}/measurements.json"
        names = sorted(
            name
            for name in self.tree.files_in(folder)
            if name.startswith(self.place.system) and name.endswith(".json")
        )
        best = [name for name in names if name.endswith(f"_{self.place.folder}.json")]
        return f"{folder}/{(best or names)[0]}" if names else None

    def _has_code(self) -> bool:
        if not self.layout.has_measurements_tree:
            return self.tree.exists(self.layout.code)
        return self.tree.exists(f"{self.layout.code}/{self.place.model}")

    # The accuracy run.

    def accuracy(self) -> Iterator[SubmissionProblem]:
        """Yield problems of the accuracy run."""
        folder = self.layout.accuracy(self.place)
        wanted = {SUMMARY, DETAIL, ACCURACY, ANSWERS}
        yield from self.tree.check_list(folder, wanted, level=self.layout.level_of_files)
        yield from self._accuracy_text(f"{folder}/{ACCURACY}")
        size_bytes = self.tree.sizes.get(f"{folder}/{ANSWERS}", 0)
        if size_bytes > ACCURACY_LOG_BYTES:
            yield SubmissionProblem(
                f"{folder}/{ANSWERS}", f"has {size_bytes} bytes: it must be cut"
            )
        yield from self._images(f"{folder}/images")
        log, problems = RunLog.read(self.tree, folder)
        yield from problems
        if log is None:
            return
        yield from log.errors()
        count = log.values.get(
            "effective_accuracy_sample_count", log.values.get("qsl_reported_total_count")
        )
        if count != self.rules.dataset_samples:
            # inference_rules.adoc: "the accuracy test must be run with one copy of the MLPerf
            # specified validation dataset", and also in the open division: "An Open benchmark must
            # use all the available samples in the dataset". The checker of v5.1 logs an error and
            # accepts the result; the checker of v6.1 rejects it.
            total = self.rules.dataset_samples
            yield SubmissionProblem(
                log.path, f"is about {count} samples, not all {total} of the data set"
            )

    def _images(self, folder: str) -> Iterator[SubmissionProblem]:
        """Yield missing images of an accuracy run (`check_extra_files`)."""
        have = {name.partition(".")[0] for name in self.tree.files_in(folder)}
        for name in self.rules.terms.images:
            if name not in have:
                yield SubmissionProblem(f"{folder}/{name}.png", "is missing")

    def _accuracy_text(self, path: str) -> Iterator[SubmissionProblem]:
        if path not in self.tree.sizes:
            return
        targets = self.rules.terms.targets
        figures = accuracy_text.read_figures(self.tree.text(path), targets)
        if not figures.sha256:
            yield SubmissionProblem(path, "tells no hash of the accuracy log")
        if self.layout.division != OPEN:
            for text in accuracy_text.shortfalls(figures, targets):
                yield SubmissionProblem(path, text)
        elif not figures.by_metric:
            # inference_rules.adoc, open division: "Accuracy constraints are not applicable:
            # instead the submission must report the accuracy obtained."
            yield SubmissionProblem(
                path, f"tells no {' or '.join(target.metric for target in targets)}"
            )

    # The performance run.

    def performance(self) -> tuple[RunLog | None, list[SubmissionProblem]]:
        """Return the log of the performance run, and the problems of the run."""
        folder = self.layout.performance(self.place)
        wanted = {SUMMARY, DETAIL} | ({_SAMPLES_OF_POWER} if self.has_power else set())
        problems = list(self.tree.check_list(folder, wanted, {ANSWERS}, self.layout.level_of_files))
        log, unread = RunLog.read(self.tree, folder)
        problems += unread
        if log is not None:
            problems += check_log(
                log,
                self.place.scenario,
                self.rules,
                self.layout.division,
                self.system_type,
                network=self.network,
            )
            problems += check_issued_samples(log)
        if self.has_power:
            problems += self._power()
        return log, problems

    def _power(self) -> Iterator[SubmissionProblem]:
        """Yield problems of the files of a power measurement; its figures are not read."""
        ranging = f"{self.layout.results(self.place)}/performance/ranging"
        yield from self.tree.check_list(ranging, {SUMMARY, DETAIL, _SAMPLES_OF_POWER}, {ANSWERS})
        yield from self.tree.check_list(self.power, _POWER_LOGS)
        folder, seen = self.layout.measurements(self.place), set[str]()
        for _ in range(4):
            seen |= {name.partition(".")[0] for name in self.tree.files_in(folder)}
            folder = folder.rpartition("/")[0]
        for name in ("analyzer_table", "power_settings"):
            if not any(found.startswith(name) for found in seen):
                yield SubmissionProblem(
                    self.layout.measurements(self.place), f"has no file {name}.*"
                )
        text = "its power is not checked: MLCommons' power checker reads it"
        yield SubmissionProblem(self.power, text, NOTICE)


def _says_something(value: Any) -> bool:
    return bool(value.strip() if isinstance(value, str) else value)
