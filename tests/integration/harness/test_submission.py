"""Submissions to MLPerf, from real jobs: what is written, what is left out, what is refused."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetmark_controller.client.export_mlperf import check_submission, write_submission
from fleetmark_controller.loadgen import mllog
from fleetmark_controller.mlperf import compliance
from fleetmark_controller.mlperf.inference import inferred_figure
from fleetmark_controller.mlperf.layout import Layout
from fleetmark_controller.mlperf.rules import rules
from fleetmark_controller.mlperf.selection import choose
from fleetmark_controller.mlperf.validate import check_tree, validate
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.submission_mutations import MANIFEST, MUTATIONS, RESULTS, SYSTEM, edit, files
from tests.support.submissions import OUTPUT, Store, output, short_rules

pytestmark = pytest.mark.timeout(900)
CLOSED = Layout("v6.1", "closed", "Us")


@pytest.fixture(scope="module")
def store(bench: Any, quick: Any) -> Iterator[Store]:
    """Everything that the closed division of v6.1 wants, and a result of v5.1."""
    # How fast the machine is from one moment to the next is not what is tested here.
    patch = pytest.MonkeyPatch()
    patch.setattr(compliance, "TEST_TOLERANCE", 1e6)
    patch.setattr(compliance, "QUICK_TOLERANCE", 1e6)
    made = Store(bench)
    for scenario in ("SingleStream", "MultiStream", "Offline"):
        for mode in ("performance", "accuracy", "TEST01", "TEST04"):
            made.add(quick(scenario, mode))
    yield made
    patch.undo()


def written(store: Store, folder: Path, layout: Layout = CLOSED, **changes: Any) -> Path:
    out = folder / "submission"
    write_submission(changes.get("runs", store.runs), output, store.read, layout, out, short_rules)
    return out


@pytest.fixture(scope="module")
def tree(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(store, tmp_path_factory.mktemp("closed"))


def test_the_closed_division_of_v6_1(store: Store, tree: Path) -> None:
    found = files(tree)
    for scenario in ("SingleStream", "MultiStream", "Offline"):
        for name in (
            *("measurements.json", "user.conf", "README.md", "accuracy/accuracy.txt"),
            *("performance/run_1/mlperf_log_detail.txt", "accuracy/mlperf_log_summary.txt"),
            *("TEST01/verify_accuracy.txt", "TEST01/verify_performance.txt"),
            *("TEST04/verify_performance.txt", "TEST04/performance/run_1/mlperf_log_detail.txt"),
        ):
            assert f"{RESULTS}/{scenario}/{name}" in found
    # Raw logs are those of the device, byte for byte.
    first = store.runs[0].files["mlperf_log_detail.txt"].sha256
    log = found[f"{RESULTS}/SingleStream/performance/run_1/mlperf_log_detail.txt"]
    assert sha256_hex(log) == first
    text = found[f"{RESULTS}/SingleStream/accuracy/accuracy.txt"].decode()
    whole = store.runs[1].files["mlperf_log_accuracy.json"].sha256
    assert text == f"accuracy=93.700%, good=937, total=1000\n\nhash={whole}\n"
    assert len(found[f"{RESULTS}/SingleStream/accuracy/mlperf_log_accuracy.json"]) < 10 * 1024
    system = json.loads(found[f"closed/Us/systems/{SYSTEM}.json"])
    assert system["host_processor_model_name"] == "Test CPU"
    assert "REHEARSAL" in system["sw_notes"]
    assert b"REHEARSAL" in found["README.md"]
    assert (
        f"closed/Us/src/resnet/fleetmark/{store.runs[0].row['lockfile_sha256'][:12]}"
        in "\n".join(found)
    )


def test_the_same_runs_give_the_same_bytes(store: Store, tree: Path, tmp_path: Path) -> None:
    again = written(store, tmp_path, runs=list(reversed(store.runs)))
    assert files(again) == files(tree)


def test_v5_1_has_other_folders(store: Store, bench: Any, quick: Any, tmp_path: Path) -> None:
    old = Store(bench)
    for mode in ("performance", "accuracy"):
        old.add(quick("Offline", mode, "v5.1"))
    layout = Layout("v5.1", "open", "Us")
    found = files(written(old, tmp_path, layout, runs=[*old.runs, *store.runs]))
    place = f"{SYSTEM}/fashion-mnist/Offline"
    assert f"open/Us/results/{place}/performance/run_1/mlperf_log_summary.txt" in found
    assert f"open/Us/measurements/{place}/{SYSTEM}_fleetmark_Offline.json" in found
    assert json.loads(found["open/Us/model_mapping.json"]) == {"fashion-mnist": "resnet"}
    assert any(name.startswith("open/Us/code/fashion-mnist/fleetmark/") for name in found)


def test_the_open_division_takes_what_there_is(store: Store, tmp_path: Path) -> None:
    layout = Layout("v6.1", "open", "Us")
    done = write_submission(
        store.runs[:2], output, store.read, layout, tmp_path / "out", short_rules
    )
    assert done.results == (f"{SYSTEM}/fashion-mnist/SingleStream",)
    assert not done.left_out


def changed(run: Any, **row: Any) -> Any:
    return replace(run, row={**run.row, **row})


LEFT_OUT = {
    "late": ({"official": 0}, "it came late"),
    "invalid": ({"loadgen_validity": "INVALID"}, "INVALID"),
    "short": ({"profile": "quick"}, "shorter than MLPerf asks for"),
    "damaged": (
        {"submittable": 0, "condition_reasons": '[{"code": "log_damaged"}]'},
        "rules: log_damaged",
    ),
    "server": ({"scenario": "Server"}, "no scenario of edge systems"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_cannot_be_submitted_is_left_out_with_its_reason(store: Store, case: str) -> None:
    change, why = LEFT_OUT[case]
    runs = [changed(store.runs[0], **change), *store.runs[1:2]]
    choice = choose(runs, "v6.1", "open", lambda entry, test: "", short_rules)
    assert not choice.entries
    reasons = dict(choice.left_out)
    assert why in reasons[runs[0].title]


def test_closed_wants_all_scenarios_tests_and_accuracy(store: Store) -> None:
    def why(runs: list[Any], failing: Callable[..., str] = lambda entry, test: "") -> str:
        choice = choose(runs, "v6.1", "closed", failing, short_rules)
        assert not choice.entries
        return "; ".join(text for _, text in choice.left_out)

    assert "wants MultiStream and Offline" in why(store.runs[:4])
    assert "there is no run of TEST04" in why(store.runs[:3])
    assert "no accuracy run" in why([store.runs[0], *store.runs[2:4]])
    low = changed(store.runs[1], accuracy=0.5)
    assert "accuracy 50.000 % is below" in why([store.runs[0], low, *store.runs[2:]])
    assert "TEST01 failed: because" in why(
        store.runs, lambda entry, test: "because" if test == "TEST01" else ""
    )
    other = choose(store.runs, "v5.1", "closed", lambda entry, test: "", short_rules)
    assert "LoadGen of round v6.1" in other.left_out[0][1]


def test_the_best_of_several_is_taken(store: Store) -> None:
    better = changed(store.runs[0], run_id="run-900", metric_value=1e-3)
    runs = [*store.runs[:2], better]
    choice = choose(runs, "v6.1", "open", lambda entry, test: "", short_rules)
    assert [entry.performance.run_id for entry in choice.entries] == ["run-900"]
    assert dict(choice.left_out)[store.runs[0].title] == "run run-900 of the same system is better"


def raw_values(store: Store, run: Any) -> dict[str, Any]:
    log = store.read(run.files["mlperf_log_detail.txt"].sha256)
    return dict(mllog.read(io.BytesIO(log)).values)


@pytest.fixture(scope="module")
def single(store: Store, quick: Any) -> list[Any]:
    """A result of SingleStream with its tests, of enough queries to estimate a 99th percentile."""

    def long_enough(mode: str) -> Any:
        for seconds in (1, 4, 16, 64):
            run = store.add(quick("SingleStream", mode, min_duration_s=str(seconds)))
            store.runs.pop()
            if raw_values(store, run)["early_stopping_latency_ms"]:
                return run
        raise AssertionError("not even 662 queries in a minute")

    return [long_enough("performance"), store.runs[1], long_enough("TEST01"), long_enough("TEST04")]


def test_scenarios_that_were_not_measured_are_inferred(
    store: Store, single: list[Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = write_submission(
        single, output, store.read, CLOSED, out, short_rules, infer_missing=True
    )
    assert done.results == (
        f"{SYSTEM}/resnet/MultiStream (inferred from SingleStream)",
        f"{SYSTEM}/resnet/Offline (inferred from SingleStream)",
        f"{SYSTEM}/resnet/SingleStream",
    )
    checked = check_tree(out, "v6.1", short_rules)
    assert checked.findings == []
    values = raw_values(store, single[0])
    figures = {result.scenario: (result.figure, result.inferred) for result in checked.results}
    assert figures == {
        "MultiStream": (8 * values["early_stopping_latency_ms"] / 1e6, True),
        "Offline": (values["result_qps_without_loadgen_overhead"], True),
        "SingleStream": (values["early_stopping_latency_ss"] / 1e6, False),
    }
    for scenario in ("MultiStream", "Offline"):
        readme = (out / RESULTS / scenario / "README.md").read_text()
        assert "Inferred from the SingleStream result" in readme
    assert "inferred from SingleStream" in (out / "README.md").read_text()


def test_offline_is_inferred_from_the_better_one(store: Store, tmp_path: Path) -> None:
    layout = Layout("v6.1", "open", "Us")
    runs = [run for run in store.runs if run.scenario != "Offline"]
    out = tmp_path / "out"
    write_submission(runs, output, store.read, layout, out, short_rules, infer_missing=True)
    checked = check_tree(out, "v6.1", short_rules)
    found = {result.scenario: result for result in checked.results}
    single = raw_values(store, store.runs[0])["result_qps_without_loadgen_overhead"]
    multi = 8e9 / raw_values(store, store.runs[4])["result_mean_query_latency_ns"]
    assert found["Offline"].figure == pytest.approx(max(single, multi))
    assert not found["MultiStream"].inferred


def test_too_few_queries_for_an_inferred_result(store: Store) -> None:
    """661 queries of SingleStream give no 99th percentile: only Offline follows from them."""

    def infer(run: Any, scenario: str) -> float | None:
        values = raw_values(store, run) | {"early_stopping_latency_ms": 0}
        return inferred_figure(scenario, run.scenario, values)

    choice = choose(store.runs[:2], "v6.1", "open", lambda e, t: "", short_rules, infer)
    assert {entry.place.scenario for entry in choice.entries} == {"Offline", "SingleStream"}
    reasons = dict(choice.left_out)
    assert "SingleStream needs 662 queries" in reasons[f"MultiStream of {SYSTEM}, fashion-mnist"]


def test_an_inferred_result_that_the_manifest_does_not_name_so(
    store: Store, single: list[Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_submission(single, output, store.read, CLOSED, out, short_rules, infer_missing=True)
    edit(MANIFEST, r'      "inferred_from": "SingleStream",\n', "")(out)
    found = [str(problem) for problem in validate(out, "v6.1", short_rules)]
    assert any("is of SingleStream" in text for text in found)
    assert any("more than once" in text for text in found)


def test_a_device_of_which_something_is_not_known(store: Store, tmp_path: Path) -> None:
    def little(device: str) -> tuple[dict[str, str], dict[str, str]]:
        return {name: text for name, text in OUTPUT.items() if name != "cooling"}, {}

    with pytest.raises(FleetmarkError) as caught:
        write_submission(store.runs, little, store.read, CLOSED, tmp_path / "out", short_rules)
    assert caught.value.kind is ErrorKind.NOTHING_FITS
    assert 'controller fleet set-system-info device cooling="…"' in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_short_runs_break_the_real_rules(tree: Path) -> None:
    found = [str(problem) for problem in check_submission(tree, "v6.1").problems]
    assert found == [str(problem) for problem in validate(tree, "v6.1", rules)]
    assert any("min_duration is 300 ms, not 600000" in text for text in found)
    assert any("not about all 50000 samples" in text for text in found)


def test_the_accepted_tree_is_accepted(tree: Path) -> None:
    assert validate(tree, "v6.1", short_rules) == []
    assert len(MUTATIONS) >= 40


@pytest.mark.parametrize("case", MUTATIONS)
def test_each_mutation_is_refused(tree: Path, tmp_path: Path, case: str) -> None:
    mutate, expected = MUTATIONS[case]
    folder = tmp_path / "mutated"
    shutil.copytree(tree, folder)
    mutate(folder)
    found = [str(problem) for problem in validate(folder, "v6.1", short_rules)]
    assert any(expected in text for text in found), found or "it was accepted"
