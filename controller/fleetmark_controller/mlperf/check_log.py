"""Checks of a performance run's logs by MLPerf's rules.

Source: `check_performance_dir`, `get_inferred_result` and `extra_check_llm` of the submission
checkers v5.0 and v5.1, `PerformanceCheck` of v6.1. They are stricter if a log contradicts itself or
its summary: then none of its figures is reliable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleetmark_controller.loadgen import consistency
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.loadgen_log import (
    PERFORMANCE,
    LoadgenLog,
    interpret,
    read_detail,
)
from fleetmark_controller.mlperf import summary
from fleetmark_controller.mlperf.inference import (
    SAMPLES_PER_QUERY,
    inferred_figure,
    may_infer,
    why_not,
)
from fleetmark_controller.mlperf.layout import DETAIL, SUMMARY
from fleetmark_controller.mlperf.problems import SubmissionProblem
from fleetmark_controller.mlperf.rules import EDGE, NETWORK, OPEN, Rules
from fleetmark_controller.mlperf.tree_reader import TreeReader

_FIGURES = {
    "SingleStream": "early_stopping_latency_ss",
    "MultiStream": "early_stopping_latency_ms",
    "Offline": "result_samples_per_second",
    "Server": "result_completed_samples_per_sec",
}
_LATENCIES = ("SingleStream", "MultiStream")
_FIRST_TOKEN = "result_first_token_99.00_percentile_latency_ns"  # noqa: S105
_EACH_TOKEN = "result_time_per_output_token_99.00_percentile_ns"  # noqa: S105
_NETWORK_SUT = "Network SUT"
_ONE_SAMPLE = ("effective_performance_issue_unique", "effective_performance_issue_same")


@dataclass(frozen=True)
class RunLog:
    """The logs of one run: its folder, the parsed and raw detail log, and the summary's bytes."""

    folder: str
    log: LoadgenLog
    values: Mapping[str, Any]
    summary: bytes

    @property
    def path(self) -> str:
        """Return the path of the detail log."""
        return f"{self.folder}/{DETAIL}"

    @classmethod
    def read(cls, tree: TreeReader, folder: str) -> tuple[RunLog | None, list[SubmissionProblem]]:
        """Read the logs of a folder; None with the reasons if it has no readable detail log."""
        path = f"{folder}/{DETAIL}"
        missing = list(tree.missing(path))
        if missing:
            return None, missing
        try:
            raw = read_detail(tree.root / path)
            log = interpret(raw)
        except IngestError as error:
            return None, [SubmissionProblem(path, error.what)]
        return cls(folder, log, raw.values, tree.read(f"{folder}/{SUMMARY}")), []

    def is_inferred(self, scenario: str) -> bool:
        """Return whether a result of `scenario` is inferred from this run of another scenario."""
        return may_infer(scenario, self.log.settings.scenario)

    def errors(self) -> Iterator[SubmissionProblem]:
        """Yield LoadGen's errors and unreadable lines: the checkers reject both."""
        log = self.log
        if log.error_count:
            first = f": {log.errors[0]}" if log.errors else ""
            yield SubmissionProblem(self.path, f"LoadGen logged {log.error_count} errors{first}")
        if log.bad_lines:
            text = f"has {log.bad_lines} broken lines: {log.first_bad_line}"
            yield SubmissionProblem(self.path, text)
        for text in log.contradictions:
            yield SubmissionProblem(self.path, f"contradicts itself: {text}")


def figure_of(run: RunLog, scenario: str, rules: Rules) -> float | None:
    """Return the official figure of a result: ms, samples/s or tokens/s; None if there is none."""
    measured = run.log.settings.scenario
    if run.is_inferred(scenario):
        return inferred_figure(scenario, measured, run.values)
    value = run.values.get(rules.terms.figures.get(measured, _FIGURES[measured]))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        return None
    return value / 1e6 if measured in _LATENCIES else float(value)


def check_log(
    run: RunLog,
    scenario: str,
    rules: Rules,
    division: str,
    system_type: str,
    *,
    network: bool,
) -> Iterator[SubmissionProblem]:
    """Yield problems of a performance run of a result or of a compliance test.

    Args:
        run: its logs.
        scenario: the scenario of the result.
        rules: the rules of its benchmark.
        division: the division of the submission.
        system_type: the type of the system.
        network: whether the system is reached over a network.
    """
    yield from run.errors()
    for text in (
        *_validity(run),
        *_settings(run, rules, division),
        *_scenario(run, scenario, system_type),
        *_latencies(run, scenario, rules),
        *_contradictions(run, rules),
    ):
        yield SubmissionProblem(run.path, text)
    if figure_of(run, scenario, rules) is None and (
        scenario == run.log.settings.scenario or run.is_inferred(scenario)
    ):
        text = "LoadGen gave no official figure"
        yield SubmissionProblem(
            run.path,
            why_not(scenario, run.log.settings.scenario) if run.is_inferred(scenario) else text,
        )
    for text in summary.contradictions(run.summary, run.values, run.log):
        yield SubmissionProblem(f"{run.folder}/{SUMMARY}", text)
    name = str(run.values.get("sut_name", ""))
    if network and division == NETWORK and _NETWORK_SUT not in name:
        yield SubmissionProblem(run.path, f"sut_name is {name!r}, must contain {_NETWORK_SUT!r}")


def _validity(run: RunLog) -> Iterator[str]:
    log = run.log
    if log.settings.mode != PERFORMANCE:
        yield f"ran in mode {log.settings.mode}, not {PERFORMANCE}"
    if log.result is None:
        yield "holds no result"
        return
    if log.result.validity != "VALID":
        yield f"LoadGen calls it {log.result.validity}"
    yield from consistency.denials(log, log.result)


def _settings(run: RunLog, rules: Rules, division: str) -> Iterator[str]:
    settings, values = run.log.settings, run.values
    if settings.seeds != rules.seeds:
        yield f"has other seeds than those of round {rules.round}"
    if settings.performance_sample_count < rules.performance_samples:
        count, least = settings.performance_sample_count, rules.performance_samples
        yield f"held {count} samples, must be {least} at least"
    if settings.min_duration_ms < rules.min_duration_ms:
        yield f"min_duration is {settings.min_duration_ms} ms, not {rules.min_duration_ms}"
    if settings.scenario == "MultiStream" and settings.samples_per_query != SAMPLES_PER_QUERY:
        # inference_rules.adoc, table of scenarios: 8 samples per query. The checkers multiply an
        # inferred Offline result by the logged number.
        yield f"{settings.samples_per_query} samples per query, must be {SAMPLES_PER_QUERY}"
    everywhere = rules.round == "v5.1"
    if rules.terms.equal_issue and (everywhere or division != OPEN):
        key = "effective_sample_concatenate_permutation"
        if values.get(key) is not True:
            yield f"{key} is {values.get(key)}, must be true for {rules.benchmark}"
    if settings.scenario == "Offline" and (rules.round != "v6.1" or division != OPEN):
        count, least = settings.samples_per_query, rules.offline_min_samples
        if rules.terms.offline_samples is None:
            yield f"{rules.benchmark} has no scenario Offline"
        elif count < least:
            yield f"{count} samples, not {least}"


def check_issued_samples(run: RunLog) -> Iterator[SubmissionProblem]:
    """Yield settings of compliance tests that a result must not have.

    inference_rules.adoc: "For performance runs, the LoadGen will select queries uniformly at random
    (with replacement) from a test set." The checkers do not check this.
    """
    for key in _ONE_SAMPLE:
        if run.values.get(key) is True:
            yield SubmissionProblem(
                run.path, f"{key} is true, which only a compliance test may set"
            )


def _scenario(run: RunLog, scenario: str, system_type: str) -> Iterator[str]:
    measured = run.log.settings.scenario
    if measured == scenario or (measured, scenario) == ("Server", "Interactive"):
        return
    if not may_infer(scenario, measured):
        yield f"is of {measured}, from which {scenario} cannot be inferred"
    elif EDGE not in system_type:
        # inference_rules.adoc: "Edge submitters are allowed to infer a multistream result from
        # single stream […]". The checkers before v6.1 do not check this.
        yield f"is of {measured}: only edge systems may infer {scenario} from it"


def _latencies(run: RunLog, scenario: str, rules: Rules) -> Iterator[str]:
    """Yield the latencies above their bounds; only Server and Interactive have bounds."""
    values, terms = run.values, rules.terms
    if terms.token_latencies and values.get("requested_use_token_latencies") is not True:
        yield f"use_token_latencies must be set for {rules.benchmark}"
        return
    if run.log.settings.scenario != "Server":
        return
    aimed = values.get("effective_target_latency_ns")
    limit = terms.server_latency_ns
    if limit and (not isinstance(aimed, (int, float)) or aimed > limit):
        yield f"target_latency is {aimed} ns, must be {limit} at most"
    limits = terms.token_limits.get(scenario)
    if limits is None:
        return
    for key, most in ((_FIRST_TOKEN, limits.first_token_ns), (_EACH_TOKEN, limits.per_token_ns)):
        value = values.get(key)
        if not isinstance(value, (int, float)) or value >= most:
            yield f"{key} is {value}, must be below {most}"


def _contradictions(run: RunLog, rules: Rules) -> Iterator[str]:
    log = run.log
    if log.result is None:
        return
    single = log.settings.scenario == "SingleStream"
    percentile = rules.terms.percentile if single else None
    yield from consistency.official_figures(log, log.result, percentile)
    yield from consistency.figures(log, log.result)
