"""Submissions to MLPerf, from real jobs: what is written, what is left out, what is refused."""

from __future__ import annotations

import io
import json
import re
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
from tests.support.submissions import SAID, Store, said, short_rules

pytestmark = pytest.mark.timeout(900)
CLOSED = Layout("v6.1", "closed", "Us")
SYSTEM = "board-onnxruntime-1.23.2-fp32"
RESULTS = f"closed/Us/results/{SYSTEM}/resnet"


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
    write_submission(changes.get("runs", store.runs), said, store.read, layout, out, short_rules)
    return out


@pytest.fixture(scope="module")
def tree(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(store, tmp_path_factory.mktemp("closed"))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


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
    # Raw logs are those of the board, byte for byte.
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
    done = write_submission(store.runs[:2], said, store.read, layout, tmp_path / "out", short_rules)
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
    done = write_submission(single, said, store.read, CLOSED, out, short_rules, infer_missing=True)
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
    write_submission(runs, said, store.read, layout, out, short_rules, infer_missing=True)
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
    write_submission(single, said, store.read, CLOSED, out, short_rules, infer_missing=True)
    edit(MANIFEST, r'      "inferred_from": "SingleStream",\n', "")(out)
    found = [str(problem) for problem in validate(out, "v6.1", short_rules)]
    assert any("is of SingleStream" in text for text in found)
    assert any("more than once" in text for text in found)


def test_a_board_of_which_something_is_not_known(store: Store, tmp_path: Path) -> None:
    def little(device: str) -> tuple[dict[str, str], dict[str, str]]:
        return {name: text for name, text in SAID.items() if name != "cooling"}, {}

    with pytest.raises(FleetmarkError) as caught:
        write_submission(store.runs, little, store.read, CLOSED, tmp_path / "out", short_rules)
    assert caught.value.kind is ErrorKind.NOTHING_FITS
    assert 'controller fleet describe board cooling="…"' in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_short_runs_break_the_real_rules(tree: Path) -> None:
    found = [str(problem) for problem in check_submission(tree, "v6.1").problems]
    assert found == [str(problem) for problem in validate(tree, "v6.1", rules)]
    assert any("min_duration is 300 ms, not 600000" in text for text in found)
    assert any("not about all 50000 samples" in text for text in found)


# The table of mutations: each breaks an accepted tree in one way.

SS = f"{RESULTS}/SingleStream"
DETAIL = f"{SS}/performance/run_1/mlperf_log_detail.txt"
SUMMARY = f"{SS}/performance/run_1/mlperf_log_summary.txt"
ACCURACY = f"{SS}/accuracy/accuracy.txt"
ANSWERS = f"{SS}/accuracy/mlperf_log_accuracy.json"
SYSTEM_FILE = f"closed/Us/systems/{SYSTEM}.json"
MANIFEST = "closed/Us/src/resnet/fleetmark/manifest.json"
Mutation = Callable[[Path], None]


def edit(path: str, pattern: str, new: str | Callable[[re.Match[str]], str]) -> Mutation:
    def mutate(folder: Path) -> None:
        text = (folder / path).read_text()
        changed_text, count = re.subn(pattern, new, text, flags=re.MULTILINE)
        assert count, f"{pattern} is not in {path}"
        (folder / path).write_text(changed_text)

    return mutate


def value(path: str, key: str, new: str) -> Mutation:
    return edit(path, rf'("key": "{re.escape(key)}", "value": )("[^"]*"|[^,]+)', rf"\g<1>{new}")


def field(path: str, name: str, new: Any) -> Mutation:
    def mutate(folder: Path) -> None:
        document = json.loads((folder / path).read_text())
        if new is None:
            del document[name]
        else:
            document[name] = new
        (folder / path).write_text(json.dumps(document))

    return mutate


def remove(path: str) -> Mutation:
    def mutate(folder: Path) -> None:
        target = folder / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return mutate


def write(path: str, data: str) -> Mutation:
    def mutate(folder: Path) -> None:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(data)

    return mutate


def copy(source: str, target: str) -> Mutation:
    def mutate(folder: Path) -> None:
        shutil.copyfile(folder / source, folder / target)

    return mutate


def forged(*mutations: Mutation) -> Mutation:
    """With the manifest made to fit, as somebody would who knows of it."""

    def mutate(folder: Path) -> None:
        for mutation in mutations:
            mutation(folder)
        document = json.loads((folder / MANIFEST).read_text())
        for result in document["results"]:
            for part in result["parts"].values():
                for name in ("mlperf_log_summary.txt", "mlperf_log_detail.txt"):
                    path = folder / part["folder"] / name
                    if path.exists():
                        part["files"][name] = sha256_hex(path.read_bytes())
                shown = folder / part["folder"].replace("performance/run_1", "accuracy")
                log = shown / "mlperf_log_accuracy.json"
                if "shown_sha256" in part and log.exists():
                    part["shown_sha256"] = sha256_hex(log.read_bytes())
        (folder / MANIFEST).write_text(json.dumps(document))

    return mutate


def link(folder: Path) -> None:
    (folder / SUMMARY).unlink()
    (folder / SUMMARY).symlink_to(folder / DETAIL)


TESTS = f"{SS}/TEST01"
TEST_DETAIL = f"{TESTS}/performance/run_1/mlperf_log_detail.txt"
SAME_DETAIL = f"{SS}/TEST04/performance/run_1/mlperf_log_detail.txt"
MUTATIONS: dict[str, tuple[Mutation, str]] = {
    "latency edited in the detail log": (
        value(DETAIL, "early_stopping_latency_ss", "1000"),
        "is not the file that the device delivered",
    ),
    "latency edited, manifest forged": (
        forged(value(DETAIL, "early_stopping_latency_ss", "1000")),
        "early stopping estimate",
    ),
    "latency edited in both logs, manifest forged": (
        forged(
            value(DETAIL, "early_stopping_latency_ss", "1000"),
            edit(SUMMARY, r"(90\.0th percentile estimate: )\d+", r"\g<1>1000"),
        ),
        "does not lie between",
    ),
    "mean latency edited in both logs": (
        forged(
            value(DETAIL, "result_mean_latency_ns", "1"),
            edit(SUMMARY, r"(Mean latency \(ns\) +: )\d+", r"\g<1>1"),
        ),
        "out of order",
    ),
    "rate edited in both logs": (
        forged(
            value(DETAIL, "result_qps_with_loadgen_overhead", "999999"),
            edit(SUMMARY, r"(QPS w/ loadgen overhead +: )[\d.]+", r"\g<1>999999"),
        ),
        "the mean latency is",
    ),
    "offline rate edited": (
        forged(
            value(DETAIL.replace("SingleStream", "Offline"), "result_samples_per_second", "1e6"),
            edit(
                SUMMARY.replace("SingleStream", "Offline"),
                r"(Samples per second: ).*",
                r"\g<1>1e+06",
            ),
        ),
        "counts and latencies make it",
    ),
    "summary against detail": (
        forged(edit(SUMMARY, r"(Mean latency \(ns\) +: )(\d+)", r"\g<1>1\2")),
        "Mean latency (ns)",
    ),
    "summary says VALID twice": (
        forged(edit(SUMMARY, r"^(Result is : VALID)$", r"\1\n\1")),
        "Result is: is there 2 times",
    ),
    "summary says INVALID": (
        forged(edit(SUMMARY, "Result is : VALID", "Result is : INVALID")),
        "Result is",
    ),
    "summary hides errors": (
        forged(edit(SUMMARY, "No errors encountered during test.", "")),
        "whether there were errors",
    ),
    "invalid run": (
        forged(
            value(DETAIL, "result_validity", '"INVALID"'),
            edit(SUMMARY, "Result is : VALID", "Result is : INVALID"),
        ),
        "LoadGen calls it INVALID",
    ),
    "early stopping not met": (
        forged(value(DETAIL, "early_stopping_met", "false")),
        "too few queries for early stopping",
    ),
    "minimum duration not met": (
        forged(value(DETAIL, "result_min_duration_met", "false")),
        "minimum duration not reached",
    ),
    "short run": (
        forged(value(DETAIL, "effective_min_duration_ms", "10")),
        "min_duration is 10 ms",
    ),
    "it measured for a moment": (
        forged(
            edit(
                DETAIL, r'("key": "power_begin", "value": ")([^"]+)', r"\g<1>01-01-2020 00:00:00.0"
            ),
            edit(
                DETAIL, r'("key": "power_end", "value": ")([^"]+)', r"\g<1>01-01-2020 00:00:00.010"
            ),
            edit(DETAIL, r'"time_ms": [\d.]+', '"time_ms": 1.0'),
        ),
        "measured for",
    ),
    "too few queries": (
        forged(value(DETAIL, "effective_min_query_count", "99999999")),
        "of 99999999 queries",
    ),
    "wrong seed": (
        forged(value(DETAIL, "effective_qsl_rng_seed", "1")),
        "other seeds than those of round v6.1",
    ),
    "wrong seed of the schedule in accuracy": (
        forged(value(f"{SS}/accuracy/mlperf_log_detail.txt", "effective_schedule_rng_seed", "1")),
        "other seeds",
    ),
    "another scenario": (
        forged(value(DETAIL, "effective_scenario", '"Offline"')),
        "is of Offline",
    ),
    "accuracy mode as performance": (
        forged(value(DETAIL, "effective_test_mode", '"AccuracyOnly"')),
        "ran in mode AccuracyOnly",
    ),
    "an error line": (
        forged(edit(DETAIL, r'"is_error": false', '"is_error": true')),
        "LoadGen logged",
    ),
    "a second verdict": (
        forged(
            edit(DETAIL, r'^(.*"result_validity", "value": )"VALID"(.*)$', r'\g<0>\n\1"INVALID"\2')
        ),
        "contradicts itself",
    ),
    "a foreign line": (
        forged(edit(DETAIL, r"\A", "hello\n")),
        "lines that LoadGen did not write",
    ),
    "a broken line": (
        forged(edit(DETAIL, r"\A", ":::MLLOG {broken\n")),
        "broken lines",
    ),
    "a log that is cut short": (
        forged(edit(DETAIL, r"(?s)\n[^\n]*\Z", "")),
        "does not end with a whole line",
    ),
    "fewer samples in memory": (
        forged(value(DETAIL, "effective_performance_sample_count", "10")),
        "held 10 samples",
    ),
    "part of the data set": (
        forged(
            value(f"{SS}/accuracy/mlperf_log_detail.txt", "qsl_reported_total_count", "10"),
        ),
        "not about all 1000 samples",
    ),
    "audit settings in the result": (
        forged(value(DETAIL, "effective_performance_issue_same", "true")),
        "effective_performance_issue_same is True",
    ),
    "TEST04 without its settings": (
        forged(value(SAME_DETAIL, "effective_performance_issue_same", "false")),
        "effective_performance_issue_same is False",
    ),
    "TEST01 is the performance run": (
        forged(
            copy(DETAIL, TEST_DETAIL),
            copy(SUMMARY, TEST_DETAIL.replace("detail", "summary")),
        ),
        "is the log of the performance run",
    ),
    "TEST01 did not pass": (
        edit(f"{TESTS}/verify_accuracy.txt", "TEST PASS", "TEST FAIL"),
        "does not say TEST PASS",
    ),
    "TEST04 tells other figures": (
        edit(f"{SS}/TEST04/verify_performance.txt", r"(Test score = ).*", r"\g<1>1.0"),
        "tells other figures than the logs",
    ),
    "TEST01 answers otherwise": (
        forged(
            edit(
                f"{TESTS}/accuracy/mlperf_log_accuracy.json",
                r'"data" : "0(\d)',
                lambda match: f'"data" : "0{(int(match[1]) + 1) % 10}',
            )
        ),
        "otherwise than the accuracy run",
    ),
    "no TEST04": (remove(f"{SS}/TEST04"), "wants TEST04"),
    "wrong hash": (edit(ACCURACY, r"hash=\w{6}", "hash=000000"), "its hash differs from that"),
    "no hash": (edit(ACCURACY, r"hash=\w+\n", ""), "tells no hash"),
    "two accuracies": (
        edit(ACCURACY, r"\A", "accuracy=99.000%, good=990, total=1000\n"),
        "2 accuracies",
    ),
    "higher accuracy": (edit(ACCURACY, "93.700%", "99.700%"), "are not 99.700 %"),
    "accuracy of fewer samples": (
        edit(ACCURACY, "good=937, total=1000", "good=93, total=100"),
        "about 100 samples",
    ),
    "accuracy below the target": (
        edit(ACCURACY, "93.700%, good=937", "50.000%, good=500"),
        "below the closed division",
    ),
    "answers edited": (
        edit(ANSWERS, r'"data" : "0.', '"data" : "09'),
        "is not the file that the device delivered",
    ),
    "answers not cut": (
        edit(
            ANSWERS,
            r"\A\[\n",
            "[\n" + '{ "seq_id" : 0, "qsl_idx" : 1, "data" : "00000000" },\n' * 200,
        ),
        "it must be cut",
    ),
    "answers are no log": (write(ANSWERS, "yes\n"), "does not begin and end"),
    "a missing summary": (remove(SUMMARY), "is missing"),
    "a missing detail log": (remove(DETAIL), "is missing"),
    "a missing accuracy.txt": (remove(ACCURACY), "is missing"),
    "a missing user.conf": (remove(f"{SS}/user.conf"), "is missing"),
    "a missing readme": (remove(f"{SS}/README.md"), "is missing"),
    "a missing manifest": (remove(MANIFEST), "is missing"),
    "no calibration document": (remove("closed/Us/documentation/calibration.md"), "is missing"),
    "no code": (remove("closed/Us/src"), "is missing: the code that ran"),
    "a missing scenario": (remove(f"{RESULTS}/MultiStream"), "wants MultiStream"),
    "a scenario of data centres": (
        lambda folder: (folder / f"{RESULTS}/Offline").rename(folder / f"{RESULTS}/Server"),
        "no scenario of edge systems",
    ),
    "a stray file": (write(f"{SS}/performance/run_1/notes.txt", "x"), "belongs to nothing"),
    "a second run": (
        write(f"{SS}/performance/run_2/mlperf_log_detail.txt", "x"),
        "belongs to nothing",
    ),
    "a stray file at the root": (write("summary.csv", "x"), "belongs to nothing"),
    "a foreign division": (write("other/Us/results/a/b/c/d", "x"), "is no division"),
    "a hidden file": (write(f"{SS}/.gitkeep", "x"), "must not be submitted"),
    "a name with a space": (write(f"{SS}/my notes.md", "x"), "must not be submitted"),
    "an empty folder": (
        lambda folder: (folder / SS / "empty").mkdir(),
        "is an empty folder",
    ),
    "an empty file": (write(f"{SS}/README.md", ""), "is empty"),
    "a link": (link, "neither a file nor a folder"),
    "no system description": (remove(SYSTEM_FILE), "is missing"),
    "a missing field": (field(SYSTEM_FILE, "cooling", None), "field cooling is missing"),
    "a field that says nothing": (
        field(SYSTEM_FILE, "host_networking", " "),
        "requires a meaningful response",
    ),
    "a number as field": (field(SYSTEM_FILE, "accelerators_per_node", 0), "no text"),
    "an invented field": (field(SYSTEM_FILE, "colour", "red"), "there is no field colour"),
    "another submitter": (field(SYSTEM_FILE, "submitter", "Them"), "field submitter"),
    "another division": (field(SYSTEM_FILE, "division", "open"), "field division"),
    "an unknown status": (field(SYSTEM_FILE, "status", "soon"), "field status is 'soon'"),
    "a data centre": (
        field(SYSTEM_FILE, "system_type", "datacenter"),
        "no benchmark of datacenter systems",
    ),
    "no word on retraining": (
        field(f"{SS}/measurements.json", "retraining", ""),
        "field retraining",
    ),
    "a seed in user.conf": (
        edit(f"{SS}/user.conf", r"\Z", "*.SingleStream.qsl_rng_seed = 1\n"),
        "must not set",
    ),
    "another user.conf": (
        edit(f"{SS}/user.conf", r"(target_latency = ).*", r"\g<1>99"),
        "the run was asked for",
    ),
    "a stamp removed": (edit(SYSTEM_FILE, "REHEARSAL", "Final"), "a rehearsal"),
    "a result copied to another": (
        forged(
            *(
                copy(
                    f"{SS}/{part}/mlperf_log_{log}.txt",
                    f"{RESULTS}/Offline/{part}/mlperf_log_{log}.txt",
                )
                for part in ("performance/run_1", "accuracy")
                for log in ("detail", "summary")
            )
        ),
        "is of SingleStream",
    ),
    "another lock": (
        lambda folder: edit(next(p for p in files(folder) if p.endswith("/lock.json")), r"\A", " ")(
            folder
        ),
        "is not the file",
    ),
}


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
