"""Selection of the stored runs for a submission, with reasons for those left out. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fleetmark_controller.mlperf.compliance import LATENCIES
from fleetmark_controller.mlperf.inference import SOURCES, why_not
from fleetmark_controller.mlperf.layout import SubmissionPath
from fleetmark_controller.mlperf.rules import BENCHMARKS, CLOSED, TESTS, FindRules, Rules, rules
from fleetmark_controller.mlperf.stored_run import StoredRun


@dataclass(frozen=True)
class SubmissionEntry:
    """A result: its runs, and the rules of its benchmark."""

    place: SubmissionPath
    rules: Rules
    performance: StoredRun
    accuracy: StoredRun
    tests: Mapping[str, StoredRun] = field(default_factory=dict)
    inferred_figure: float | None = None
    """The official figure of a result that is inferred from runs of another scenario."""

    @property
    def inferred_from(self) -> str:
        """The scenario of the runs if the result is inferred; else empty."""
        return "" if self.inferred_figure is None else self.performance.scenario

    @property
    def figure(self) -> float:
        """The official figure: ms, or samples per second."""
        if self.inferred_figure is not None:
            return self.inferred_figure
        return float(str(self.performance.row["metric_value"]))

    def runs(self) -> list[tuple[str, StoredRun]]:
        """Return mode and run of each part, in a stable order."""
        tests = [(test, self.tests[test]) for test in sorted(self.tests)]
        return [("performance", self.performance), ("accuracy", self.accuracy), *tests]


@dataclass(frozen=True)
class RunChoice:
    """Results in a stable order, and title and reason of each run that is not part of one."""

    entries: tuple[SubmissionEntry, ...]
    left_out: tuple[tuple[str, str], ...]


Failing = Callable[[SubmissionEntry, str], str]
"""Function that returns why a test of an entry fails; an empty string if it passes."""
Infer = Callable[[StoredRun, str], float | None]
"""Function that infers a scenario's figure from a run of another one; None if impossible."""


def choose(
    runs: Iterable[StoredRun],
    round_name: str,
    division: str,
    failing: Failing,
    find_rules: FindRules = rules,
    infer: Infer | None = None,
) -> RunChoice:
    """Return the best result of each system, model and scenario.

    In the closed division a model counts only with all scenarios of its benchmark.

    Args:
        runs: the runs to choose from.
        round_name: MLPerf's round.
        division: closed or open.
        failing: compares a compliance test with its result.
        find_rules: returns the rules of a round for a benchmark.
        infer: infers results of scenarios that were not measured; None: they are left out.
    """
    choosing = _Choosing(round_name, division, failing, find_rules, infer)
    return choosing.run(sorted(runs, key=lambda run: run.run_id))


class _Choosing:
    def __init__(
        self,
        round_name: str,
        division: str,
        failing: Failing,
        find_rules: FindRules,
        infer: Infer | None,
    ) -> None:
        self.round, self.division = round_name, division
        self.failing, self.find_rules, self.infer = failing, find_rules, infer
        self.why: dict[str, str] = {}
        self.not_inferred: list[tuple[str, str]] = []

    def run(self, runs: list[StoredRun]) -> RunChoice:
        usable: list[StoredRun] = []
        for run in runs:
            reason = self._why_unusable(run)
            if reason:
                self.why[run.run_id] = reason
            else:
                usable.append(run)
        by_place: dict[SubmissionPath, list[SubmissionEntry]] = {}
        for run in usable:
            if run.mode == "performance":
                entry = self._entry(run, usable)
                if entry is not None:
                    by_place.setdefault(entry.place, []).append(entry)
        entries = [self._best(found) for found in by_place.values()]
        if self.infer is not None:
            entries += self._inferred(entries, self.infer)
        if self.division == CLOSED:
            entries = self._whole(entries)
        taken = {run.run_id for entry in entries for _, run in entry.runs()}
        left_out = tuple(
            (run.title, self.why.get(run.run_id, "no result that could be submitted needs it"))
            for run in runs
            if run.run_id not in taken
        )
        return RunChoice(
            tuple(sorted(entries, key=lambda entry: entry.place.path)),
            (*left_out, *self.not_inferred),
        )

    def _inferred(self, entries: Sequence[SubmissionEntry], infer: Infer) -> list[SubmissionEntry]:
        """Return inferred results of the scenarios that a system's model lacks."""
        found: list[SubmissionEntry] = []
        for system, model in dict.fromkeys((e.place.system, e.place.model) for e in entries):
            measured = {
                entry.place.scenario: entry
                for entry in entries
                if (entry.place.system, entry.place.model) == (system, model)
            }
            wanted = next(iter(measured.values())).rules.scenarios
            for scenario in (name for name in wanted if name not in measured):
                place = SubmissionPath(system, model, scenario)
                bases = [measured[name] for name in SOURCES.get(scenario, ()) if name in measured]
                made = [entry for base in bases if (entry := _infer(base, place, infer))]
                if made:
                    sign = 1 if scenario in LATENCIES else -1
                    found.append(min(made, key=lambda entry: sign * entry.figure))
                elif bases:
                    reason = why_not(scenario, bases[0].place.scenario)
                    self.not_inferred.append((f"{scenario} of {system}, {model}", reason))
        return found

    def _why_unusable(self, run: StoredRun) -> str:
        """Return why a run cannot be part of a submission; an empty string if it can."""
        row = run.row
        benchmark = run.mlperf.get("benchmark")
        if benchmark not in BENCHMARKS:
            return f"benchmark {row['benchmark']} says no MLPerf benchmark that it is measured by"
        wanted = self.find_rules(self.round, str(benchmark))
        if run.round != self.round:
            return f"it was measured with the LoadGen of round {run.round or 'unknown'}"
        if run.scenario not in wanted.scenarios:
            return f"{run.scenario} is no scenario of edge systems"
        if not row["official"]:
            return "it came late: another attempt of its job is the official one"
        if row["estimate_reason"]:
            return f"it is an estimate: {row['estimate_reason']}"
        if row["loadgen_validity"] == "INVALID":
            return "LoadGen calls it INVALID"
        if row["profile"] != "valid":
            return f"profile {row['profile']} is shorter than MLPerf asks for"
        if not row["submittable"]:
            codes = [str(reason["code"]) for reason in json.loads(str(row["condition_reasons"]))]
            return f"it does not keep MLPerf's rules{': ' if codes else ''}{', '.join(codes)}"
        if run.mode == "accuracy" and self.division == CLOSED:
            percent = 100 * float(str(row["accuracy"]))
            if percent < wanted.accuracy_target_percent:
                return (
                    f"accuracy {percent:.3f} % is below the {wanted.accuracy_target_percent:.3f} % "
                    "that the closed division asks for"
                )
        return ""

    def _entry(self, run: StoredRun, usable: Sequence[StoredRun]) -> SubmissionEntry | None:
        """Return the result of a performance run; None if a required run is missing."""
        related = [other for other in usable if other.configuration == run.configuration]
        accuracy = [other for other in related if other.mode == "accuracy"]
        if not accuracy:
            self.why[run.run_id] = "there is no accuracy run of it that could be submitted"
            return None
        benchmark = str(run.mlperf["benchmark"])
        model = benchmark if self.division == CLOSED else str(run.row["benchmark"])
        place = SubmissionPath(system_id(run), model, run.scenario)
        entry = SubmissionEntry(place, self.find_rules(self.round, benchmark), run, accuracy[-1])
        tests: dict[str, StoredRun] = {}
        for test in TESTS:
            reason = f"there is no run of {test}"
            for candidate in (other for other in related if other.mode == test):
                tried = SubmissionEntry(place, entry.rules, run, entry.accuracy, {test: candidate})
                failed = self.failing(tried, test)
                if failed:
                    reason = self.why[candidate.run_id] = f"{test} failed: {failed}"
                else:
                    tests[test] = candidate
            if test not in tests and self.division == CLOSED:
                self.why[run.run_id] = reason
                return None
        return SubmissionEntry(place, entry.rules, run, entry.accuracy, tests)

    def _best(self, entries: list[SubmissionEntry]) -> SubmissionEntry:
        """Return the entry with the best official figure; the first of equal ones."""
        sign = 1 if entries[0].place.scenario in LATENCIES else -1
        best = min(entries, key=lambda entry: sign * float(entry.performance.row["metric_value"]))
        for entry in entries:
            if entry is not best:
                self.why[entry.performance.run_id] = (
                    f"run {best.performance.run_id} of the same system is better"
                )
        return best

    def _whole(self, entries: list[SubmissionEntry]) -> list[SubmissionEntry]:
        """Return the entries of systems and models that have all scenarios."""
        kept: list[SubmissionEntry] = []
        for entry in entries:
            place = entry.place
            have = {
                other.place.scenario
                for other in entries
                if (other.place.system, other.place.model) == (place.system, place.model)
            }
            missing = [name for name in entry.rules.scenarios if name not in have]
            if not missing:
                kept.append(entry)
                continue
            self.why[entry.performance.run_id] = (
                f"the closed division wants {' and '.join(missing)} of {place.system}, too"
            )
        return kept


def _infer(base: SubmissionEntry, place: SubmissionPath, infer: Infer) -> SubmissionEntry | None:
    """Return the result of `place` inferred from the runs of `base`; None if impossible."""
    runs = (base.performance, *base.tests.values())
    figures = [infer(run, place.scenario) for run in runs]
    if any(figure is None for figure in figures):
        return None
    return replace(base, place=place, inferred_figure=figures[0])


def system_id(run: StoredRun) -> str:
    """Return a name for the device with its runtime and precision, valid in file names."""
    row = run.row
    parts = (row["device"], row.get("runtime"), row.get("runtime_version"), row.get("precision"))
    text = "-".join(str(part) for part in parts if part)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
