"""Checks of results that Fleetmark wrote against the format in which it writes them.

A model of a submitter is Fleetmark's if its code has Fleetmark's manifest, or the folder for it.
The format is stricter than MLPerf's rules: logs are those that the device delivered, accuracy is
recounted, answers belong to samples of the data set, descriptions have no further fields, and in a
tree that has only Fleetmark's results every file belongs to a result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleetmark_controller.mlperf.benchmarks import official_name
from fleetmark_controller.mlperf.check_files import check_files
from fleetmark_controller.mlperf.check_result import IMPLEMENTATION_FIELDS
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
    SubmissionPath,
)
from fleetmark_controller.mlperf.manifest import SubmissionManifest
from fleetmark_controller.mlperf.problems import FLEETMARK, SubmissionProblem
from fleetmark_controller.mlperf.rules import CLOSED, EDGE, TESTS, FindRules, Rules
from fleetmark_controller.mlperf.system import FIELDS, wrong_value
from fleetmark_controller.mlperf.templates import STAMP
from fleetmark_controller.mlperf.tree_reader import TreeReader


def check_own_form(
    tree: TreeReader, layouts: Sequence[Layout], find_rules: FindRules
) -> Iterator[SubmissionProblem]:
    """Yield deviations from Fleetmark's format in results that Fleetmark wrote."""
    own = {layout: _own_models(tree, layout) for layout in layouts}
    if not any(own.values()):
        return
    check = _OwnFormCheck(tree, find_rules)
    for layout, models in own.items():
        if models:
            for problem in check.submitter(layout, models):
                yield problem._replace(level=FLEETMARK)
    alone = all(own[layout] == set(_models(tree, layout)) for layout in layouts)
    for problem in check.leftovers() if alone else ():
        yield problem._replace(level=FLEETMARK)


def _models(tree: TreeReader, layout: Layout) -> Iterator[str]:
    results = f"{layout.root}/results"
    for system in tree.folders_in(results):
        yield from tree.folders_in(f"{results}/{system}")


def _own_models(tree: TreeReader, layout: Layout) -> set[str]:
    return {model for model in _models(tree, layout) if layout.code_of(model) in tree.folders}


class _OwnFormCheck:
    def __init__(self, tree: TreeReader, find_rules: FindRules) -> None:
        self.tree, self.find_rules = tree, find_rules
        self.taken: set[str] = {README}

    def leftovers(self) -> Iterator[SubmissionProblem]:
        """Yield files that no result needs, and files that are missing at the top."""
        yield from self._need(README)
        yield from check_files(self.tree)
        for name in sorted(self.tree.links):
            yield SubmissionProblem(name, "is neither a file nor a folder")
        for name, size_bytes in sorted(self.tree.sizes.items()):
            if name not in self.taken:
                yield SubmissionProblem(name, "belongs to nothing that is submitted")
            if not size_bytes:
                yield SubmissionProblem(name, "is empty")

    # One submitter.

    def submitter(self, layout: Layout, models: set[str]) -> Iterator[SubmissionProblem]:
        """Yield problems of the results of `models`."""
        places = sorted(self._places(layout, models), key=lambda place: place.path)
        for system in sorted({place.system for place in places}):
            yield from self._system(layout, system)
        benchmarks, problems = self._benchmarks(layout, places)
        yield from problems
        if layout.division == CLOSED:
            yield from self._need(layout.calibration)
        manifests: dict[str, SubmissionManifest] = {}
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

    def _places(self, layout: Layout, models: set[str]) -> Iterator[SubmissionPath]:
        results = f"{layout.root}/results"
        for system in self.tree.folders_in(results):
            for model in models & set(self.tree.folders_in(f"{results}/{system}")):
                for scenario in self.tree.folders_in(f"{results}/{system}/{model}"):
                    yield SubmissionPath(system, model, scenario)

    def _benchmarks(
        self, layout: Layout, places: list[SubmissionPath]
    ) -> tuple[dict[str, Rules], list[SubmissionProblem]]:
        """Return the rules by model, and problems of the names of models."""
        mapping: Mapping[str, Any] = {}
        problems: list[SubmissionProblem] = []
        if layout.division != CLOSED:
            path = layout.model_mapping
            mapping, problems = self._json(path)
        found: dict[str, Rules] = {}
        models = sorted({place.model for place in places})
        for model in models:
            benchmark = official_name(layout.round, model, mapping)
            try:
                found[model] = self.find_rules(layout.round, benchmark)
            except KeyError:
                where = f"{layout.root}/results"
                problems.append(
                    SubmissionProblem(where, f"no MLPerf benchmark is known for {model}")
                )
        for model in sorted(set(mapping) - set(_models(self.tree, layout))):
            problems.append(
                SubmissionProblem(f"{layout.root}/{MODEL_MAPPING}", f"{model} has no result")
            )
        return found, problems

    def _system(self, layout: Layout, system: str) -> Iterator[SubmissionProblem]:
        path = layout.system(system)
        values, problems = self._json(path)
        yield from problems
        if problems:
            return
        for name, value in values.items():
            if name not in FIELDS:
                yield SubmissionProblem(path, f"there is no field {name}")
            elif not isinstance(value, str):
                yield SubmissionProblem(path, f"field {name} is no text")
            elif why := wrong_value(name, value):
                yield SubmissionProblem(path, f"field {why}")
        if EDGE not in str(values.get("system_type")):
            yield SubmissionProblem(
                path, "field system_type: Fleetmark writes results of edge systems only"
            )

    def _manifest(
        self, layout: Layout, model: str
    ) -> tuple[SubmissionManifest | None, list[SubmissionProblem]]:
        path = f"{layout.code_of(model)}/{MANIFEST}"
        values, problems = self._json(path)
        if problems:
            return None, problems
        try:
            return SubmissionManifest(path, values), []
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return None, [SubmissionProblem(path, f"is no manifest: {error!r}")]

    def _code(
        self, layout: Layout, model: str, manifest: SubmissionManifest
    ) -> Iterator[SubmissionProblem]:
        folder = layout.code_of(model)
        yield from self._need(f"{folder}/{README}")
        for lock in sorted(manifest.locks):
            place = f"{folder}/{lock[:12]}"
            yield from self._need(f"{place}/lock.json")
            if f"{place}/lock.json" in self.tree.sizes:
                yield from manifest.other_bytes(
                    f"{place}/lock.json", self.tree.read(f"{place}/lock.json"), lock
                )
            for part in ("program", "harness"):
                held = [name for name in self.tree.sizes if name.startswith(f"{place}/{part}/")]
                self.taken.update(held)
                if not held:
                    yield SubmissionProblem(f"{place}/{part}", "is missing: the code that ran")

    def _stamped(self, layout: Layout, places: list[SubmissionPath]) -> Iterator[SubmissionProblem]:
        """Yield files of a rehearsal that do not state that it is one."""
        paths = {README, *(layout.system(place.system) for place in places)}
        paths |= {f"{layout.measurements(place)}/{README}" for place in places}
        for path in sorted(paths & set(self.tree.sizes)):
            if STAMP.encode() not in self.tree.read(path):
                yield SubmissionProblem(path, "does not say that this is a rehearsal")

    # One result.

    def _result(
        self,
        layout: Layout,
        place: SubmissionPath,
        rules: Rules,
        manifest: SubmissionManifest | None,
    ) -> Iterator[SubmissionProblem]:
        if place.scenario not in rules.scenarios:
            yield SubmissionProblem(
                layout.results(place), f"{place.scenario} is no scenario of edge systems"
            )
            return
        measurements = layout.measurements(place)
        yield from self._implementation(layout.implementation(place))
        yield from self._need(f"{measurements}/{README}")
        yield from self._need(f"{measurements}/{USER_CONF}")
        conf = self.tree.read(f"{measurements}/{USER_CONF}")
        performance = self._run(layout.performance(place))
        accuracy = self._run(layout.accuracy(place))
        yield from performance.missing
        yield from accuracy.missing
        for name in (ACCURACY, ANSWERS):
            yield from self._need(f"{layout.accuracy(place)}/{name}")
        answers = self._answers(layout.accuracy(place))
        measured = manifest.measured(place) if manifest else place.scenario
        if not performance.missing:
            yield from check_performance(
                performance, measured, rules, conf, f"{measurements}/{USER_CONF}"
            )
        if not accuracy.missing:
            yield from check_accuracy(
                accuracy, answers, performance, measured, rules, closed=layout.division == CLOSED
            )
        shown = {"performance": performance, "accuracy": accuracy}
        texts = {"accuracy": answers}
        for test in TESTS:
            folder = layout.test(place, test)
            if not any(name.startswith(f"{folder}/") for name in self.tree.sizes):
                if layout.division == CLOSED:
                    yield SubmissionProblem(folder, f"the closed division wants {test}")
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
                verdicts[name] = self.tree.read(f"{folder}/{name}")
            if not part.missing and not performance.missing:
                yield from check_test(
                    test, part, verdicts, texts.get(test), answers, performance, measured, rules
                )
        if manifest is not None:
            yield from manifest.check(place, shown, texts)

    def _implementation(self, path: str) -> Iterator[SubmissionProblem]:
        values, problems = self._json(path)
        yield from problems
        for name in IMPLEMENTATION_FIELDS if not problems else ():
            if not isinstance(values.get(name), str) or not str(values[name]).strip():
                yield SubmissionProblem(path, f"field {name} is missing, or says nothing")

    def _run(self, folder: str) -> RunPart:
        missing = []
        for name in (SUMMARY, DETAIL):
            missing += list(self._need(f"{folder}/{name}"))
        return RunPart(
            folder,
            self.tree.root / folder / DETAIL,
            self.tree.read(f"{folder}/{SUMMARY}"),
            self.tree.read(f"{folder}/{DETAIL}"),
            tuple(missing),
        )

    def _answers(self, folder: str) -> AccuracyPart:
        return AccuracyPart(
            folder, self.tree.read(f"{folder}/{ACCURACY}"), self.tree.read(f"{folder}/{ANSWERS}")
        )

    # Files.

    def _need(self, path: str) -> Iterator[SubmissionProblem]:
        self.taken.add(path)
        yield from self.tree.missing(path)

    def _json(self, path: str) -> tuple[Mapping[str, Any], list[SubmissionProblem]]:
        self.taken.add(path)
        return self.tree.json(path)
