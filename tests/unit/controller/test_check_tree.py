"""MLPerf's rules on submissions that Fleetmark did not write."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.mlperf.check_system import check_system
from fleetmark_controller.mlperf.layout import Layout
from fleetmark_controller.mlperf.problems import FLEETMARK, NOTICE
from fleetmark_controller.mlperf.rules import CHECKED_DIVISIONS, rules
from fleetmark_controller.mlperf.system import FIELDS
from fleetmark_controller.mlperf.validate import check_tree
from tests.support.third_party_submissions import ROOT, SYSTEM, lenient_rules, third_party_tree

RESULTS = f"results/{SYSTEM}/resnet50"
Mutation = Callable[[Path], None]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return third_party_tree(tmp_path_factory.mktemp("foreign"))


def texts(root: Path, round_name: str = "v5.1") -> list[str]:
    return [str(problem) for problem in check_tree(root, round_name, lenient_rules).problems]


def value(path: Path, key: str) -> Any:
    for line in path.read_text().splitlines():
        entry = json.loads(line.removeprefix(":::MLLOG "))
        if entry["key"] == key:
            return entry["value"]
    raise AssertionError(key)


def test_a_tree_of_others_keeps_the_rules_without_a_manifest(tree: Path) -> None:
    checked = check_tree(tree, "v5.1", lenient_rules)
    assert checked.findings == []
    found = {result.scenario: result for result in checked.results}
    assert set(found) == {"SingleStream", "MultiStream", "Offline"}
    assert {result.benchmark for result in found.values()} == {"resnet"}
    log = tree / ROOT / RESULTS / "singlestream/performance/run_1/mlperf_log_detail.txt"
    assert found["SingleStream"].figure == value(log, "early_stopping_latency_ss") / 1e6
    assert not found["SingleStream"].inferred
    assert found["MultiStream"].figure == 8 * value(log, "early_stopping_latency_ms") / 1e6
    assert found["MultiStream"].inferred
    assert found["Offline"].figure == value(log, "result_qps_without_loadgen_overhead")
    assert found["Offline"].inferred


def test_offline_inferred_from_a_measured_multistream(tmp_path: Path) -> None:
    root = third_party_tree(tmp_path, [("offline", "multistream")])
    (result,) = check_tree(root, "v5.1", lenient_rules).results
    log = root / ROOT / RESULTS / "offline/performance/run_1/mlperf_log_detail.txt"
    assert result.inferred and not result.problems
    assert result.figure == pytest.approx(8e9 / value(log, "result_mean_query_latency_ns"))


def test_the_real_rules_refuse_logs_of_a_moment(tree: Path) -> None:
    found = [str(problem) for problem in check_tree(tree, "v5.1", rules).problems]
    assert any("min_duration" in text for text in found)
    assert any("other seeds than those of round v5.1" in text for text in found)
    assert any("not all 50000 of the data set" in text for text in found)


def edit(path: str, old: str, new: str) -> Mutation:
    def mutate(root: Path) -> None:
        target = root / ROOT / path
        text = target.read_text()
        assert old in text
        target.write_text(text.replace(old, new))

    return mutate


def log_values(folder: str, **new: object) -> Mutation:
    def mutate(root: Path) -> None:
        path = root / ROOT / folder / "mlperf_log_detail.txt"
        lines, changed = [], set()
        for line in path.read_text().splitlines():
            entry = json.loads(line.removeprefix(":::MLLOG "))
            if entry["key"] in new:
                entry["value"] = new[entry["key"]]
                changed.add(entry["key"])
            lines.append(f":::MLLOG {json.dumps(entry)}\n")
        assert changed == set(new)
        path.write_text("".join(lines))

    return mutate


def each(*mutations: Mutation) -> Mutation:
    def mutate(root: Path) -> None:
        for change in mutations:
            change(root)

    return mutate


def field(name: str, new: object) -> Mutation:
    def mutate(root: Path) -> None:
        path = root / ROOT / f"systems/{SYSTEM}.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), name: new}))

    return mutate


def add(path: str, text: str = "x") -> Mutation:
    def mutate(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)

    return mutate


def rename(old: str, new: str) -> Mutation:
    return lambda root: (root / ROOT / old).rename(root / ROOT / new) and None


def link(target: str) -> Mutation:
    return lambda root: (root / ROOT / "code/other").symlink_to(target)


SINGLE = f"{RESULTS}/singlestream"
DETAIL = f"{SINGLE}/performance/run_1/mlperf_log_detail.txt"
MULTI = f"{RESULTS}/multistream/performance/run_1/mlperf_log_detail.txt"
SINGLE_RUN = DETAIL.rpartition("/")[0]
MULTI_RUN = MULTI.rpartition("/")[0]
OFFLINE_RUN = f"{RESULTS}/offline/performance/run_1"
MEASURED = f"measurements/{SYSTEM}/resnet50/singlestream"
REFUSED: dict[str, tuple[Mutation, str]] = {
    "no 99th percentile": (
        lambda root: edit(
            MULTI,
            f'"early_stopping_latency_ms", "value": '
            f"{value(root / ROOT / MULTI, 'early_stopping_latency_ms')}",
            '"early_stopping_latency_ms", "value": 0',
        )(root),
        "SingleStream needs 662 queries",
    ),
    "inferred the wrong way": (
        rename(f"{RESULTS}/offline", f"{RESULTS}/server"),
        "is of SingleStream, from which Server cannot be inferred",
    ),
    "inferred in a data center": (field("system_type", "datacenter"), "no benchmark of datacenter"),
    "INVALID": (edit(DETAIL, '"value": "VALID"', '"value": "INVALID"'), "calls it INVALID"),
    "errors": (edit(DETAIL, '"is_error": false', '"is_error": true'), "LoadGen logged"),
    "one sample": (
        edit(
            DETAIL,
            '"effective_performance_issue_same", "value": false',
            '"effective_performance_issue_same", "value": true',
        ),
        "only a compliance test may set",
    ),
    "other summary": (
        edit(DETAIL.replace("detail", "summary"), "Result is : VALID", "Result is : INVALID"),
        "Result is",
    ),
    "no accuracy": (edit(f"{SINGLE}/accuracy/accuracy.txt", "accuracy", "score"), "tells no acc"),
    "no hash": (edit(f"{SINGLE}/accuracy/accuracy.txt", "hash", "md5"), "tells no hash"),
    "answers not cut": (
        add(f"{ROOT}/{SINGLE}/accuracy/mlperf_log_accuracy.json", " " * 20_000),
        "must be cut",
    ),
    "a file too many": (
        add(f"{ROOT}/{SINGLE}/performance/run_1/notes.txt"),
        "must not be in this folder",
    ),
    "no user.conf": (rename(f"{MEASURED}/user.conf", f"{MEASURED}/old.conf"), "is missing"),
    "no weights": (edit(f"{MEASURED}/{SYSTEM}.json", '"retraining"', '"x"'), "field retraining"),
    "no code": (rename("code/resnet50", "code/other"), "the code that ran"),
    "a description of nothing": (
        add(f"{ROOT}/systems/other.json", "{}"),
        "no result belongs to it",
    ),
    "no counts": (field("accelerators_per_node", "two"), "must be a whole number"),
    "no processor": (field("host_processors_per_node", "0"), "at least 1"),
    "a number that counts as empty": (field("accelerators_per_node", 0), 'write "0"'),
    "status": (field("status", "soon"), "must be one of available"),
    "system type": (field("system_type", "phone"), "must be one of edge"),
    "submitter": (field("submitter", "Them"), "the folder's Others"),
    "division": (field("division", "closed"), "the folder's open"),
    "blank": (field("cooling", " "), "requires a meaningful response"),
    "over a network": (
        field("is_network", "true"),
        "field network_type is missing",
    ),
    "a file at the top": (add("summary.csv"), "outside of the divisions"),
    "a file of no submitter": (add("open/summary.csv"), "outside of a submitter's folder"),
    "no division": (add("other/x"), "is no division"),
    "a hidden file": (add(f"{ROOT}/code/.x"), "must not be submitted"),
    "a link out of the tree": (link("/etc"), "is a link"),
    "a link to nothing": (link("nowhere"), "is a link"),
    "an unknown model": (
        rename(RESULTS, f"results/{SYSTEM}/mystery"),
        "no MLPerf benchmark of round v5.1",
    ),
    "an unknown scenario": (rename(SINGLE, f"{RESULTS}/burst"), "no scenario of LoadGen"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_breaks_a_rule_is_refused(tree: Path, tmp_path: Path, case: str) -> None:
    mutate, expected = REFUSED[case]
    root = tmp_path / "tree"
    shutil.copytree(tree, root, symlinks=True)
    mutate(root)
    found = texts(root)
    assert any(expected in text for text in found), found or "it was accepted"


ESTIMATES = (
    "Early stopping 90.0th percentile estimate: 96213",
    "Early stopping 99.0th percentile estimate: 155401",
)
ACCEPTED: dict[str, Mutation] = {
    "a SingleStream log without an estimate of the 99th percentile": each(
        log_values(SINGLE_RUN, early_stopping_latency_ms=0),
        edit(DETAIL, f"  * {ESTIMATES[1]}", ""),
        edit(f"{SINGLE_RUN}/mlperf_log_summary.txt", f" * {ESTIMATES[1]}\n", ""),
    ),
    "a link to a folder of the tree": link("resnet50"),
    "a document": add("notes.pdf"),
    "a readme of a system": add(f"{ROOT}/results/{SYSTEM}/README.md"),
    "an empty file": add(f"{ROOT}/code/resnet50/__init__.py", ""),
    "scenarios as the rules write them": rename(SINGLE, f"{RESULTS}/SingleStream"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_the_checkers_accept_is_accepted(tree: Path, tmp_path: Path, case: str) -> None:
    root = tmp_path / "tree"
    shutil.copytree(tree, root)
    ACCEPTED[case](root)
    if case.startswith("scenarios"):
        (root / ROOT / MEASURED).rename((root / ROOT / MEASURED).with_name("SingleStream"))
    assert texts(root) == []


def test_a_model_of_another_name(tmp_path: Path) -> None:
    root = third_party_tree(tmp_path, [("singlestream", "singlestream")], model="mine")
    assert "no MLPerf benchmark" in texts(root)[0]
    (root / ROOT / "model_mapping.json").write_text('{"mine": "resnet"}')
    assert texts(root) == []


def test_rounds_differ(tree: Path, tmp_path: Path) -> None:
    """v6.1 looks for everything in the result's folder; v5.0 does not look at systems."""
    assert any("measurements.json: is missing" in text for text in texts(tree, "v6.1"))
    root = tmp_path / "tree"
    shutil.copytree(tree, root)
    assert texts(root, "v5.0") == []
    add(f"{ROOT}/systems/other.json", "{}")(root)
    assert texts(root, "v5.0") == []
    assert len(texts(root, "v5.1")) == 1


MULTI_SUMMARY = f"{MULTI_RUN}/mlperf_log_summary.txt"
OFFLINE_SUMMARY = f"{OFFLINE_RUN}/mlperf_log_summary.txt"
INFERRED_AND_EDITED: dict[str, tuple[Mutation, str]] = {
    "an estimate below the latencies": (
        log_values(MULTI_RUN, early_stopping_latency_ms=1000),
        "estimate of the 99th percentile 0.001 ms does not lie between",
    ),
    "an estimate that LoadGen's text contradicts": (
        log_values(MULTI_RUN, early_stopping_latency_ms=150_000),
        "0.15 ms, and 0.155401 ms in LoadGen's own words",
    ),
    "an estimate that LoadGen's text lacks": (
        edit(MULTI, f"  * {ESTIMATES[1]}", ""),
        "0.155401 ms, and 0 ms in LoadGen's own words",
    ),
    "an estimate that the summary contradicts": (
        edit(MULTI_SUMMARY, ESTIMATES[1], ESTIMATES[1].replace("155401", "155400")),
        "Early stopping 99.0th percentile estimate: 155400, by the detail log 155401",
    ),
    "an estimate that the summary lacks": (
        edit(MULTI_SUMMARY, f" * {ESTIMATES[1]}\n", ""),
        "Early stopping 99.0th percentile estimate: is there 0 times",
    ),
    "an estimate that only the summary has": (
        log_values(MULTI_RUN, early_stopping_latency_ms=0),
        "Early stopping 99.0th percentile estimate: is there 1 times, must not be there",
    ),
    "too few queries": (
        log_values(MULTI_RUN, result_query_count=661),
        "661 queries are too few for an early stopping estimate of the 99th percentile",
    ),
    "a rate that the mean contradicts": (
        each(
            log_values(OFFLINE_RUN, result_qps_without_loadgen_overhead=999_999),
            edit(OFFLINE_SUMMARY, "overhead        : 10928.01", "overhead        : 999999.00"),
        ),
        "999999 queries/s without overhead, but the mean latency is 91508 ns",
    ),
    "a rate and a mean that the percentiles contradict": (
        each(
            log_values(
                OFFLINE_RUN,
                result_qps_without_loadgen_overhead=11_467.9,
                result_mean_latency_ns=87_200,
            ),
            edit(OFFLINE_SUMMARY, "overhead        : 10928.01", "overhead        : 11467.90"),
            edit(OFFLINE_SUMMARY, ": 91508", ": 87200"),
        ),
        "the mean latency 87200 ns does not fit the percentiles",
    ),
}


@pytest.mark.parametrize("case", INFERRED_AND_EDITED)
def test_an_edited_figure_that_is_inferred_is_refused(
    tree: Path, tmp_path: Path, case: str
) -> None:
    mutate, expected = INFERRED_AND_EDITED[case]
    root = tmp_path / "tree"
    shutil.copytree(tree, root, symlinks=True)
    mutate(root)
    found = texts(root)
    assert any(expected in text for text in found), found or "it was accepted"


@pytest.mark.parametrize(
    ("mean_ns", "per_query", "expected"),
    [
        (None, 8000, "8000 samples per query, must be 8"),
        ("min", 8, "does not fit the percentiles"),
    ],
)
def test_an_edited_multistream_log_gives_no_inferred_offline(
    tmp_path: Path, mean_ns: str | None, per_query: int, expected: str
) -> None:
    root = third_party_tree(tmp_path, [("offline", "multistream")])
    log = root / ROOT / OFFLINE_RUN / "mlperf_log_detail.txt"
    key = "result_mean_query_latency_ns"
    mean = value(log, "result_min_query_latency_ns" if mean_ns else key)
    log_values(OFFLINE_RUN, effective_samples_per_query=per_query, **{key: mean})(root)
    found = texts(root)
    assert any(expected in text for text in found), found or "it was accepted"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from((*FIELDS, "is_network", "colour")), JSON_VALUES),
    st.sampled_from(CHECKED_DIVISIONS),
)
def test_whatever_a_description_says(values: dict[str, Any], division: str) -> None:
    found = list(check_system("x.json", values, Layout("v6.1", division, "Us")))
    assert found, "no such description is complete"


def test_a_name_that_is_no_text(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(tree, root)
    with open(os.fsencode(root / ROOT / "code") + b"/\xff .md", "wb"):
        pass
    assert any("must not be submitted" in text for text in texts(root))


def test_files_that_v6_1_does_not_look_at_are_notices(tree: Path, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    shutil.copytree(tree, root)
    add("summary.csv")(root)
    found = check_tree(root, "v6.1", lenient_rules)
    levels = [problem.level for problem in found.findings if problem.path == "summary.csv"]
    assert levels == [NOTICE]
    assert not [problem for problem in found.problems if problem.path == "summary.csv"]


def test_the_closed_division_wants_scenarios_tests_and_accuracy(tmp_path: Path) -> None:
    root = third_party_tree(tmp_path, [("singlestream", "singlestream")])
    (root / "open").rename(root / "closed")
    path = root / "closed/Others/systems" / f"{SYSTEM}.json"
    path.write_text(path.read_text().replace('"open"', '"closed"'))
    found = texts(root)
    for expected in (
        *("calibration.md: is missing", "wants MultiStream, too", "wants Offline, too"),
        *(
            "is missing: the closed division requires TEST01",
            "is missing: the closed division requires TEST04",
        ),
    ):
        assert any(expected in text for text in found), expected
    accuracy = root / "closed/Others" / SINGLE / "accuracy/accuracy.txt"
    accuracy.write_text("accuracy=70.000%, good=700, total=1000\nhash=ab12\n")
    assert any("acc 70 is below the closed division's 75.6954" in text for text in texts(root))


def test_only_trees_with_fleetmarks_manifest_are_held_to_its_form(
    tree: Path, tmp_path: Path
) -> None:
    root = tmp_path / "tree"
    shutil.copytree(tree, root)
    add(f"{ROOT}/code/resnet50/fleetmark/manifest.json", "{}")(root)
    problems = check_tree(root, "v5.1", lenient_rules).problems
    assert problems and {problem.level for problem in problems} == {FLEETMARK}
    assert any("is no manifest" in problem.text for problem in problems)
