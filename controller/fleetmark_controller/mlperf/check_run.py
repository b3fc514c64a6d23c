"""Checks of one run's logs against the rules, and of a result's runs against each other."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.loadgen import consistency
from fleetmark_controller.loadgen.accuracy_log import shown_answers
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.loadgen_log import ACCURACY, PERFORMANCE, LoadgenLog, parse_detail
from fleetmark_controller.loadgen.mllog import read
from fleetmark_controller.mlperf.compliance import PASS, not_quicker, same_speed
from fleetmark_controller.mlperf.layout import ACCURACY as ACCURACY_TEXT
from fleetmark_controller.mlperf.layout import (
    ANSWERS,
    DETAIL,
    SUMMARY,
    VERIFIED_ACCURACY,
    VERIFIED_PERFORMANCE,
)
from fleetmark_controller.mlperf.problems import SubmissionProblem
from fleetmark_controller.mlperf.rules import ACCURACY_LOG_BYTES, SAME_INDEX, TEST01_TARGET, Rules
from fleetmark_controller.mlperf.summary import contradictions
from fleetmark_controller.mlperf.user_conf import check_user_conf
from fleetmark_core.digest import sha256_hex

_ACCURACY_LINE = re.compile(r"accuracy=(\d+\.\d{3})%, good=(\d+), total=(\d+)")
_HASH_LINE = re.compile(r"hash=([0-9a-f]{64})")
_NEAR = 0.02
"""Share by which the log's wall clock may measure a shorter time than LoadGen's clock."""


@dataclass(frozen=True)
class RunPart:
    """The two logs of a run, and problems for those that are missing."""

    folder: str
    path: Path
    summary: bytes
    detail: bytes
    missing: tuple[SubmissionProblem, ...] = ()


@dataclass(frozen=True)
class AccuracyPart:
    """Files of an accuracy folder beside the logs."""

    folder: str
    text: bytes
    log: bytes


def stated_hash(part: AccuracyPart) -> str:
    """Return the sha256 of the whole accuracy log from accuracy.txt; empty unless it states one."""
    found = [_HASH_LINE.fullmatch(line) for line in part.text.decode("utf-8", "replace").split()]
    hashes = {match.group(1) for match in found if match}
    return hashes.pop() if len(hashes) == 1 else ""


def _parsed(part: RunPart) -> tuple[LoadgenLog | None, list[SubmissionProblem]]:
    try:
        return parse_detail(part.path), []
    except IngestError as error:
        return None, [SubmissionProblem(f"{part.folder}/{DETAIL}", error.what)]


def _settings(part: RunPart) -> Mapping[str, object]:
    return read(io.BytesIO(part.detail)).values


def _any_run(
    part: RunPart, log: LoadgenLog, scenario: str, rules: Rules, mode: str
) -> Iterator[SubmissionProblem]:
    """Yield problems by the rules for every run."""
    where = f"{part.folder}/{DETAIL}"
    settings, values = log.settings, _settings(part)
    if settings.scenario != scenario:
        yield SubmissionProblem(where, f"is of {settings.scenario}")
    if settings.mode != mode:
        yield SubmissionProblem(where, f"ran in mode {settings.mode}, not {mode}")
    if settings.seeds != rules.seeds:
        yield SubmissionProblem(where, f"has other seeds than those of round {rules.round}")
    if log.error_count:
        detail = f": {log.errors[0]}" if log.errors else ""
        yield SubmissionProblem(where, f"LoadGen logged {log.error_count} errors{detail}")
    if log.bad_lines:
        yield SubmissionProblem(where, f"has {log.bad_lines} broken lines: {log.first_bad_line}")
    if not part.detail.endswith(b"\n"):
        yield SubmissionProblem(where, "does not end with a whole line")
    if any(not line.startswith(b":::MLLOG ") for line in part.detail.splitlines()):
        yield SubmissionProblem(where, "has lines that LoadGen did not write")
    for text in log.contradictions:
        yield SubmissionProblem(where, f"contradicts itself: {text}")
    if settings.accuracy_sample_count != rules.dataset_samples or values.get(
        "qsl_reported_total_count"
    ) != (rules.dataset_samples):
        yield SubmissionProblem(
            where, f"is not about all {rules.dataset_samples} samples of the data set"
        )
    if settings.performance_sample_count < rules.performance_samples:
        count, least = settings.performance_sample_count, rules.performance_samples
        yield SubmissionProblem(where, f"held {count} samples, must be {least} at least")
    if mode == ACCURACY and log.result is not None:
        yield SubmissionProblem(where, "holds a result of performance")
    if values.get("effective_sample_concatenate_permutation") is True:
        yield SubmissionProblem(where, "sample_concatenate_permutation is not for this benchmark")
    for text in contradictions(part.summary, values, log):
        yield SubmissionProblem(f"{part.folder}/{SUMMARY}", text)


def _any_performance(part: RunPart, log: LoadgenLog, rules: Rules) -> Iterator[SubmissionProblem]:
    """Yield problems by the rules for each performance run, including compliance tests."""
    where = f"{part.folder}/{DETAIL}"
    result, settings = log.result, log.settings
    if result is None:
        yield SubmissionProblem(where, "holds no result")
        return
    if result.validity != "VALID":
        yield SubmissionProblem(where, f"LoadGen calls it {result.validity}")
    for text in consistency.denials(log, result):
        yield SubmissionProblem(where, text)
    for text in consistency.official_figures(log, result):
        yield SubmissionProblem(where, text)
    for text in consistency.figures(log, result):
        yield SubmissionProblem(where, text)
    if result.metric_value is None:
        yield SubmissionProblem(where, "LoadGen gave no official figure")
    if settings.min_duration_ms < rules.min_duration_ms:
        yield SubmissionProblem(
            where, f"min_duration is {settings.min_duration_ms} ms, not {rules.min_duration_ms}"
        )
    lasted_ms = (log.duration_s or 0.0) * 1000
    if lasted_ms < rules.min_duration_ms * (1 - _NEAR):
        yield SubmissionProblem(where, f"it measured for {lasted_ms:.0f} ms")
    if settings.scenario == "Offline" and result.sample_count < rules.offline_min_samples:
        yield SubmissionProblem(
            where, f"{result.sample_count} samples, not {rules.offline_min_samples}"
        )
    if settings.scenario == "MultiStream" and settings.samples_per_query != 8:
        yield SubmissionProblem(where, f"{settings.samples_per_query} samples a query, not 8")


def _audit(part: RunPart, wanted: Mapping[str, object]) -> Iterator[SubmissionProblem]:
    """Yield settings that differ from `wanted` or that only compliance tests may change."""
    values = _settings(part)
    usual: Mapping[str, object] = {
        "effective_performance_issue_unique": False,
        "effective_performance_issue_same": False,
        "effective_performance_issue_same_index": 0,
        "effective_accuracy_log_probability": 0,
        "effective_accuracy_log_sampling_target": 0,
    }
    for key, value in {**usual, **wanted}.items():
        if values.get(key) != value:
            text = f"{key} is {values.get(key)!r}, must be {value!r}"
            yield SubmissionProblem(f"{part.folder}/{DETAIL}", text)


def check_performance(
    part: RunPart, scenario: str, rules: Rules, conf: bytes, conf_path: str
) -> Iterator[SubmissionProblem]:
    """Yield problems of a result's performance run and its user.conf."""
    log, problems = _parsed(part)
    yield from problems
    if log is None:
        return
    yield from _any_run(part, log, scenario, rules, PERFORMANCE)
    yield from _any_performance(part, log, rules)
    yield from _audit(part, {})
    for text in check_user_conf(conf, scenario, _settings(part)):
        yield SubmissionProblem(conf_path, text)


def check_accuracy(
    part: RunPart,
    answers: AccuracyPart,
    performance: RunPart,
    scenario: str,
    rules: Rules,
    *,
    closed: bool,
) -> Iterator[SubmissionProblem]:
    """Yield problems of a result's accuracy run."""
    log, problems = _parsed(part)
    yield from problems
    if log is not None:
        yield from _any_run(part, log, scenario, rules, ACCURACY)
        yield from _audit(part, {})
        other, _ = _parsed(performance) if not performance.missing else (None, [])
        if other is not None and (other.version, other.revision) != (log.version, log.revision):
            yield SubmissionProblem(
                f"{part.folder}/{DETAIL}", "is of another LoadGen than the performance"
            )
        if other is not None and performance.detail == part.detail:
            yield SubmissionProblem(f"{part.folder}/{DETAIL}", "is the log of the performance run")
    yield from _accuracy_text(answers, rules, closed=closed)
    yield from _answers_log(answers, rules)


def _accuracy_text(
    part: AccuracyPart, rules: Rules, *, closed: bool
) -> Iterator[SubmissionProblem]:
    where = f"{part.folder}/{ACCURACY_TEXT}"
    lines = part.text.decode("utf-8", "replace").splitlines()
    figures = [match for line in lines if (match := _ACCURACY_LINE.fullmatch(line))]
    if len(figures) != 1:
        yield SubmissionProblem(where, f"tells {len(figures)} accuracies")
    if not stated_hash(part):
        yield SubmissionProblem(where, "tells no hash, or several")
    strange = [
        line
        for line in lines
        if line and not _ACCURACY_LINE.fullmatch(line) and not _HASH_LINE.fullmatch(line)
    ]
    if strange:
        yield SubmissionProblem(where, f"has a line that means nothing: {strange[0][:80]!r}")
    for match in figures[:1]:
        percent, good, total = match.group(1), int(match.group(2)), int(match.group(3))
        if total != rules.dataset_samples:
            yield SubmissionProblem(where, f"is about {total} samples, not {rules.dataset_samples}")
        if good > total or not total or f"{100 * good / total:.3f}" != percent:
            yield SubmissionProblem(where, f"{good} of {total} are not {percent} %")
        if closed and float(percent) < rules.accuracy_target_percent:
            target = rules.accuracy_target_percent
            yield SubmissionProblem(
                where, f"{percent} % is below the closed division's {target:.3f} %"
            )


def _answers_log(part: AccuracyPart, rules: Rules | None) -> Iterator[SubmissionProblem]:
    where = f"{part.folder}/{ANSWERS}"
    if len(part.log) > ACCURACY_LOG_BYTES:
        yield SubmissionProblem(where, f"has {len(part.log)} bytes: it must be cut")
    found, whole, strange = shown_answers(part.log)
    if strange:
        yield SubmissionProblem(where, strange)
    if whole and sha256_hex(part.log) != stated_hash(part):
        yield SubmissionProblem(
            where, "is complete, but its hash differs from that in accuracy.txt"
        )
    indices = [index for index, _ in found]
    if rules is None:
        return
    if not found or max(indices) >= rules.dataset_samples:
        yield SubmissionProblem(where, "has no answer, or one of a sample that there is not")
    if len(set(indices)) != len(indices):
        yield SubmissionProblem(where, "answers a sample twice")
    if whole and len(found) != rules.dataset_samples:
        yield SubmissionProblem(where, f"has {len(found)} answers, not {rules.dataset_samples}")


def check_test(
    test: str,
    part: RunPart,
    verdicts: Mapping[str, bytes],
    answers: AccuracyPart | None,
    accuracy: AccuracyPart,
    performance: RunPart,
    scenario: str,
    rules: Rules,
) -> Iterator[SubmissionProblem]:
    """Yield problems of a compliance test's run and of its comparison with the result."""
    log, problems = _parsed(part)
    reference, _ = _parsed(performance)
    yield from problems
    if log is None:
        return
    yield from _any_run(part, log, scenario, rules, PERFORMANCE)
    yield from _any_performance(part, log, rules)
    if test == "TEST01":
        wanted: dict[str, object] = {"effective_accuracy_log_sampling_target": TEST01_TARGET}
    else:
        wanted = {
            "effective_performance_issue_same": True,
            "effective_performance_issue_same_index": SAME_INDEX,
        }
    yield from _audit(part, wanted)
    if part.detail == performance.detail:
        yield SubmissionProblem(f"{part.folder}/{DETAIL}", "is the log of the performance run")
    folder = part.folder.removesuffix("/performance/run_1")
    for name in (VERIFIED_PERFORMANCE, VERIFIED_ACCURACY):
        if name in verdicts and PASS not in verdicts[name].decode("utf-8", "replace").splitlines():
            yield SubmissionProblem(f"{folder}/{name}", f"does not say {PASS}")
    if reference is not None and reference.result is not None and log.result is not None:
        known, tried = reference.result.metric_value, log.result.metric_value
        if known and tried:
            compare = same_speed if test == "TEST01" else not_quicker
            verdict = compare(scenario, known, tried)
            if not verdict.passed:
                yield SubmissionProblem(f"{folder}/{VERIFIED_PERFORMANCE}", verdict.why)
            elif verdict.text.encode() != verdicts.get(VERIFIED_PERFORMANCE):
                yield SubmissionProblem(
                    f"{folder}/{VERIFIED_PERFORMANCE}", "tells other figures than the logs"
                )
    if answers is not None:
        yield from _answers_log(answers, None)
        if not stated_hash(answers):
            yield SubmissionProblem(
                f"{answers.folder}/{ACCURACY_TEXT}", "tells no hash, or several"
            )
        expected = dict(shown_answers(accuracy.log)[0])
        for index, answer in shown_answers(answers.log)[0]:
            if expected.get(index, answer) != answer:
                yield SubmissionProblem(
                    f"{answers.folder}/{ANSWERS}",
                    f"answers sample {index} otherwise than the accuracy run",
                )
