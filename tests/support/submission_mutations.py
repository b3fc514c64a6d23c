"""Mutations of an accepted submission: each breaks the tree in one way."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleetmark_core.digest import sha256_hex

SYSTEM = "device-onnxruntime-1.23.2-fp32"
RESULTS = f"closed/Us/results/{SYSTEM}/resnet"
SS = f"{RESULTS}/SingleStream"
DETAIL = f"{SS}/performance/run_1/mlperf_log_detail.txt"
SUMMARY = f"{SS}/performance/run_1/mlperf_log_summary.txt"
ACCURACY = f"{SS}/accuracy/accuracy.txt"
ANSWERS = f"{SS}/accuracy/mlperf_log_accuracy.json"
SYSTEM_FILE = f"closed/Us/systems/{SYSTEM}.json"
MANIFEST = "closed/Us/src/resnet/fleetmark/manifest.json"
Mutation = Callable[[Path], None]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


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
    """Return the mutations with a manifest that matches the mutated files."""

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
