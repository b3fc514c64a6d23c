"""Which stored runs make results of a submission, and why the others do not. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleetmark_controller.mlperf.compliance import LATENCIES
from fleetmark_controller.mlperf.layout import Place
from fleetmark_controller.mlperf.rules import BENCHMARKS, CLOSED, TESTS, Rules, rules
from fleetmark_controller.mlperf.stored_run import StoredRun


@dataclass(frozen=True)
class Entry:
    """One result: the runs that make it, and the rules that it is measured by."""

    place: Place
    rules: Rules
    performance: StoredRun
    accuracy: StoredRun
    tests: Mapping[str, StoredRun] = field(default_factory=dict)

    def runs(self) -> list[tuple[str, StoredRun]]:
        """Mode and run, in a stable order."""
        tests = [(test, self.tests[test]) for test in sorted(self.tests)]
        return [("performance", self.performance), ("accuracy", self.accuracy), *tests]


@dataclass(frozen=True)
class Choice:
    """Results in a stable order, and of each run that is not part of one: its title and why."""

    entries: tuple[Entry, ...]
    left_out: tuple[tuple[str, str], ...]


FindRules = Callable[[str, str], Rules]
Failing = Callable[[Entry, str], str]
"""Why a test of an entry does not pass; empty if it does."""


def choose(
    runs: Iterable[StoredRun],
    round_name: str,
    division: str,
    failing: Failing,
    find_rules: FindRules = rules,
) -> Choice:
    """The best result of each system, model and scenario.

    `failing` compares a compliance test with the result that it is for. In the closed division a
    model counts only with all scenarios of its benchmark.
    """
    choosing = _Choosing(round_name, division, failing, find_rules)
    return choosing.run(sorted(runs, key=lambda run: run.run_id))


class _Choosing:
    def __init__(
        self, round_name: str, division: str, failing: Failing, find_rules: FindRules
    ) -> None:
        self.round, self.division = round_name, division
        self.failing, self.find_rules = failing, find_rules
        self.why: dict[str, str] = {}

    def run(self, runs: list[StoredRun]) -> Choice:
        usable: list[StoredRun] = []
        for run in runs:
            reason = self._unusable(run)
            if reason:
                self.why[run.run_id] = reason
            else:
                usable.append(run)
        by_place: dict[Place, list[Entry]] = {}
        for run in usable:
            if run.mode == "performance":
                entry = self._entry(run, usable)
                if entry is not None:
                    by_place.setdefault(entry.place, []).append(entry)
        entries = [self._best(found) for found in by_place.values()]
        if self.division == CLOSED:
            entries = self._whole(entries)
        taken = {run.run_id for entry in entries for _, run in entry.runs()}
        left_out = tuple(
            (run.title, self.why.get(run.run_id, "no result that could be submitted needs it"))
            for run in runs
            if run.run_id not in taken
        )
        return Choice(tuple(sorted(entries, key=lambda entry: entry.place.path)), left_out)

    def _unusable(self, run: StoredRun) -> str:
        """Why a run cannot be part of any submission."""
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

    def _entry(self, run: StoredRun, usable: Sequence[StoredRun]) -> Entry | None:
        """The result of a performance run, if all that belongs to it is there."""
        related = [other for other in usable if other.configuration == run.configuration]
        accuracy = [other for other in related if other.mode == "accuracy"]
        if not accuracy:
            self.why[run.run_id] = "there is no accuracy run of it that could be submitted"
            return None
        benchmark = str(run.mlperf["benchmark"])
        model = benchmark if self.division == CLOSED else str(run.row["benchmark"])
        place = Place(system_id(run), model, run.scenario)
        entry = Entry(place, self.find_rules(self.round, benchmark), run, accuracy[-1])
        tests: dict[str, StoredRun] = {}
        for test in TESTS:
            reason = f"there is no run of {test}"
            for candidate in (other for other in related if other.mode == test):
                tried = Entry(place, entry.rules, run, entry.accuracy, {test: candidate})
                failed = self.failing(tried, test)
                if failed:
                    reason = self.why[candidate.run_id] = f"{test} failed: {failed}"
                else:
                    tests[test] = candidate
            if test not in tests and self.division == CLOSED:
                self.why[run.run_id] = reason
                return None
        return Entry(place, entry.rules, run, entry.accuracy, tests)

    def _best(self, entries: list[Entry]) -> Entry:
        """The one with the best official figure; of equal ones the first."""
        sign = 1 if entries[0].place.scenario in LATENCIES else -1
        best = min(entries, key=lambda entry: sign * float(entry.performance.row["metric_value"]))
        for entry in entries:
            if entry is not best:
                self.why[entry.performance.run_id] = (
                    f"run {best.performance.run_id} of the same system is better"
                )
        return best

    def _whole(self, entries: list[Entry]) -> list[Entry]:
        """Only systems and models with all scenarios."""
        kept: list[Entry] = []
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


def system_id(run: StoredRun) -> str:
    """A name for the board with its runtime and precision, fit for file names."""
    row = run.row
    parts = (row["device"], row.get("runtime"), row.get("runtime_version"), row.get("precision"))
    text = "-".join(str(part) for part in parts if part)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")
