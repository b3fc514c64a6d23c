"""Checks a tree before it is handed in: our own reading of MLPerf's written rules.

Stricter than the official checkers where those look away: a summary that is not that of its detail
log, logs that are not the ones that the board delivered, results that LoadGen calls INVALID, error
lines, files that belong to nothing. Every finding is a path and a text; an empty list is a pass.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fleetmark_controller.loadgen import limits
from fleetmark_controller.mlperf import rules
from fleetmark_controller.mlperf.check_run import (
    AccuracyPart,
    RunPart,
    check_accuracy,
    check_performance,
    check_test,
)
from fleetmark_controller.mlperf.layout import (
    ACCURACY,
    ANSWERS,
    DETAIL,
    MANIFEST,
    MODEL_MAPPING,
    README,
    SUMMARY,
    USER_CONF,
    VERIFIED_ACCURACY,
    VERIFIED_PERFORMANCE,
    Layout,
    Place,
)
from fleetmark_controller.mlperf.manifest import Manifest
from fleetmark_controller.mlperf.problems import Problem
from fleetmark_controller.mlperf.rules import CLOSED, DIVISIONS, LARGEST_FILE_BYTES, TESTS, Rules
from fleetmark_controller.mlperf.system import CHOICES, FIELDS, MAY_BE_EMPTY
from fleetmark_controller.mlperf.templates import STAMP
from fleetmark_core.document_parser import parse_json
from fleetmark_core.regular_file import open_regular

_IMPLEMENTATION = (
    *("input_data_types", "retraining", "starting_weights_filename"),
    *("weight_data_types", "weight_transformations"),
)
FindRules = Callable[[str, str], Rules]


def validate(folder: Path, round_name: str, find_rules: FindRules = rules.rules) -> list[Problem]:
    """What is wrong with the submission in `folder`."""
    return list(_Check(folder, round_name, find_rules).run())


class _Check:
    def __init__(self, folder: Path, round_name: str, find_rules: FindRules) -> None:
        self.folder, self.round, self.find_rules = folder, round_name, find_rules
        self.files: set[str] = set()
        self.taken: set[str] = set()

    def run(self) -> Iterator[Problem]:
        yield from self._walk()
        tops = {name.split("/")[0] for name in self.files if "/" in name}
        for top in sorted(tops - set(DIVISIONS)):
            yield Problem(top, f"is no division: {' or '.join(DIVISIONS)}")
        self.taken.add(README)
        if README not in self.files:
            yield Problem(README, "is missing")
        found = False
        for division in DIVISIONS:
            names = {
                name.split("/")[1]
                for name in self.files
                if name.startswith(f"{division}/") and name.count("/") > 1
            }
            for submitter in sorted(names):
                found = True
                yield from self._submitter(Layout(self.round, division, submitter))
        if not found:
            yield Problem(".", "holds no submission")
        for name in sorted(self.files - self.taken):
            yield Problem(name, "belongs to nothing that is submitted")

    def _walk(self) -> Iterator[Problem]:
        """Plain files with plain names and contents; no folder is empty."""
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                yield Problem(name, "is neither a file nor a folder")
            elif " " in path.name or path.name.startswith(".") or path.name == "__pycache__":
                yield Problem(name, "has a name that must not be submitted")
            elif path.is_dir():
                if not any(path.iterdir()):
                    yield Problem(name, "is an empty folder")
            else:
                self.files.add(name)
                size = path.stat().st_size
                if size > LARGEST_FILE_BYTES:
                    yield Problem(name, f"has more than {LARGEST_FILE_BYTES >> 20} MiB")
                elif size == 0:
                    yield Problem(name, "is empty")

    # One submitter.

    def _submitter(self, layout: Layout) -> Iterator[Problem]:
        places = sorted(self._places(layout), key=lambda place: place.path)
        if not places:
            yield Problem(f"{layout.root}/results", "holds no result")
        for system in sorted({place.system for place in places}):
            yield from self._system(layout, system)
        benchmarks, problems = self._benchmarks(layout, places)
        yield from problems
        if layout.division == CLOSED:
            yield from self._need(layout.calibration)
            yield from self._all_scenarios(places, benchmarks, layout)
        manifests: dict[str, Manifest] = {}
        for model in sorted({place.model for place in places}):
            found, problems = self._manifest(layout, model)
            yield from problems
            if found is not None:
                manifests[model] = found
                yield from self._code(layout, model, found)
                yield from found.not_here([p for p in places if p.model == model])
        if any(found.rehearsal for found in manifests.values()):
            yield from self._stamped(layout, places)
        for place in places:
            rules = benchmarks.get(place.model)
            if rules is not None:
                yield from self._result(layout, place, rules, manifests.get(place.model))

    def _places(self, layout: Layout) -> set[Place]:
        start = f"{layout.root}/results/"
        found = set()
        for name in self.files:
            parts = name.removeprefix(start).split("/")
            if name.startswith(start) and len(parts) > 3:
                found.add(Place(*parts[:3]))
        return found

    def _benchmarks(
        self, layout: Layout, places: list[Place]
    ) -> tuple[dict[str, Rules], list[Problem]]:
        """The rules by model, and what is wrong with the names of models."""
        mapping: Mapping[str, Any] = {}
        problems: list[Problem] = []
        if layout.division != CLOSED:
            path = layout.model_mapping
            mapping, problems = self._json(path)
        found: dict[str, Rules] = {}
        models = sorted({place.model for place in places})
        for model in models:
            benchmark = model if layout.division == CLOSED else mapping.get(model)
            try:
                found[model] = self.find_rules(layout.round, str(benchmark))
            except KeyError:
                where = f"{layout.root}/results"
                problems.append(Problem(where, f"no MLPerf benchmark is known for {model}"))
        for model in sorted(set(mapping) - set(models)):
            problems.append(Problem(f"{layout.root}/{MODEL_MAPPING}", f"{model} has no result"))
        return found, problems

    def _all_scenarios(
        self, places: list[Place], benchmarks: Mapping[str, Rules], layout: Layout
    ) -> Iterator[Problem]:
        for system, model in sorted({(place.system, place.model) for place in places}):
            have = {p.scenario for p in places if (p.system, p.model) == (system, model)}
            for scenario in benchmarks[model].scenarios if model in benchmarks else ():
                if scenario not in have:
                    where = f"{layout.root}/results/{system}/{model}"
                    yield Problem(where, f"the closed division wants {scenario}, too")

    def _system(self, layout: Layout, system: str) -> Iterator[Problem]:
        path = layout.system(system)
        values, problems = self._json(path)
        yield from problems
        if problems:
            return
        for name in FIELDS:
            value = values.get(name)
            if not isinstance(value, str):
                yield Problem(path, f"field {name} is missing, or no text")
            elif not value.strip() and name not in MAY_BE_EMPTY:
                yield Problem(path, f"field {name} says nothing")
            elif name in CHOICES and value not in CHOICES[name]:
                yield Problem(path, f"field {name} is {value!r}")
        for name in sorted(set(values) - set(FIELDS)):
            yield Problem(path, f"there is no field {name}")
        for name, wanted in (("submitter", layout.submitter), ("division", layout.division)):
            if values.get(name) != wanted:
                yield Problem(path, f"field {name} is {values.get(name)!r}, the folder's {wanted}")
        if "edge" not in str(values.get("system_type")):
            yield Problem(path, "field system_type: only edge systems can be checked")

    def _manifest(self, layout: Layout, model: str) -> tuple[Manifest | None, list[Problem]]:
        path = f"{layout.code_of(model)}/{MANIFEST}"
        values, problems = self._json(path)
        if problems:
            return None, problems
        try:
            return Manifest(path, values), []
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return None, [Problem(path, f"is no manifest: {error!r}")]

    def _code(self, layout: Layout, model: str, manifest: Manifest) -> Iterator[Problem]:
        folder = layout.code_of(model)
        yield from self._need(f"{folder}/{README}")
        for lock in sorted(manifest.locks):
            place = f"{folder}/{lock[:12]}"
            yield from self._need(f"{place}/lock.json")
            if f"{place}/lock.json" in self.files:
                yield from manifest.other_bytes(
                    f"{place}/lock.json", self._read(f"{place}/lock.json"), lock
                )
            for part in ("program", "harness"):
                held = [name for name in self.files if name.startswith(f"{place}/{part}/")]
                self.taken.update(held)
                if not held:
                    yield Problem(f"{place}/{part}", "is missing: the code that ran")

    def _stamped(self, layout: Layout, places: list[Place]) -> Iterator[Problem]:
        """What is a rehearsal says so wherever somebody may look."""
        paths = {README, *(layout.system(place.system) for place in places)}
        paths |= {f"{layout.measurements(place)}/{README}" for place in places}
        for path in sorted(paths & self.files):
            if STAMP.encode() not in self._read(path):
                yield Problem(path, "does not say that this is a rehearsal")

    # One result.

    def _result(
        self, layout: Layout, place: Place, rules: Rules, manifest: Manifest | None
    ) -> Iterator[Problem]:
        if place.scenario not in rules.scenarios:
            yield Problem(layout.results(place), f"{place.scenario} is no scenario of edge systems")
            return
        measurements = layout.measurements(place)
        yield from self._implementation(layout.implementation(place))
        yield from self._need(f"{measurements}/{README}")
        yield from self._need(f"{measurements}/{USER_CONF}")
        conf = self._read(f"{measurements}/{USER_CONF}")
        performance = self._run(layout.performance(place))
        accuracy = self._run(layout.accuracy(place))
        yield from performance.missing
        yield from accuracy.missing
        for name in (ACCURACY, ANSWERS):
            yield from self._need(f"{layout.accuracy(place)}/{name}")
        answers = self._answers(layout.accuracy(place))
        if not performance.missing:
            yield from check_performance(
                performance, place, rules, conf, f"{measurements}/{USER_CONF}"
            )
        if not accuracy.missing:
            yield from check_accuracy(
                accuracy, answers, performance, place, rules, closed=layout.division == CLOSED
            )
        shown = {"performance": performance, "accuracy": accuracy}
        texts = {"accuracy": answers}
        for test in TESTS:
            folder = layout.test(place, test)
            if not any(name.startswith(f"{folder}/") for name in self.files):
                if layout.division == CLOSED:
                    yield Problem(folder, f"the closed division wants {test}")
                continue
            shown[test] = part = self._run(f"{folder}/performance/run_1")
            yield from part.missing
            names = [VERIFIED_PERFORMANCE]
            if test == "TEST01":
                names += [VERIFIED_ACCURACY, f"accuracy/{ANSWERS}", f"accuracy/{ACCURACY}"]
                texts[test] = self._answers(f"{folder}/accuracy")
            verdicts = {}
            for name in names:
                yield from self._need(f"{folder}/{name}")
                verdicts[name] = self._read(f"{folder}/{name}")
            if not part.missing and not performance.missing:
                yield from check_test(
                    test, part, verdicts, texts.get(test), answers, performance, place, rules
                )
        if manifest is not None:
            yield from manifest.check(place, shown, texts)

    def _implementation(self, path: str) -> Iterator[Problem]:
        values, problems = self._json(path)
        yield from problems
        for name in _IMPLEMENTATION if not problems else ():
            if not isinstance(values.get(name), str) or not str(values[name]).strip():
                yield Problem(path, f"field {name} is missing, or says nothing")

    def _run(self, folder: str) -> RunPart:
        missing = []
        for name in (SUMMARY, DETAIL):
            missing += list(self._need(f"{folder}/{name}"))
        return RunPart(
            folder,
            self.folder / folder / DETAIL,
            self._read(f"{folder}/{SUMMARY}"),
            self._read(f"{folder}/{DETAIL}"),
            tuple(missing),
        )

    def _answers(self, folder: str) -> AccuracyPart:
        return AccuracyPart(
            folder, self._read(f"{folder}/{ACCURACY}"), self._read(f"{folder}/{ANSWERS}")
        )

    # Files.

    def _need(self, path: str) -> Iterator[Problem]:
        self.taken.add(path)
        if path not in self.files:
            yield Problem(path, "is missing")

    def _read(self, path: str) -> bytes:
        """The bytes of a file; nothing where it is missing, which is told elsewhere."""
        if path not in self.files:
            return b""
        with open_regular(self.folder / path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            return file.read(min(size_bytes, limits.MAX_DETAIL_BYTES))

    def _json(self, path: str) -> tuple[Mapping[str, Any], list[Problem]]:
        missing = list(self._need(path))
        if missing:
            return {}, missing
        try:
            values = parse_json(self._read(path))
            if not isinstance(values, dict):
                raise ValueError("no object")
        except ValueError as error:
            return {}, [Problem(path, f"is no JSON: {error}")]
        return values, []
