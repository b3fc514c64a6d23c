"""Derive the facts of a run from the raw files of its attempt.

`evaluate` is a plain function of picklable values and never raises for the content of the files, so
that it can run in a process pool. Claims of the job (result.json) are used only if no log has the
figure (memory), and compared if one does; they never override a log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetmark_controller.evaluation import (
    accuracy,
    condition,
    confidence,
    crosscheck,
    energy,
    operator_profile,
    phases,
    samples,
    search_trace,
    telemetry,
    thresholds,
)
from fleetmark_controller.evaluation.claimed_values import number, table
from fleetmark_controller.evaluation.estimate import estimate_reason
from fleetmark_controller.evaluation.minimums import TESTS, meets_minimums
from fleetmark_controller.evaluation.recomputation import Recomputed, Reference, recompute
from fleetmark_controller.evaluation.records import MAX_INTEGER
from fleetmark_controller.evaluation.run_facts import RunFacts, RunInputs
from fleetmark_controller.evaluation.sustained import sustained_run
from fleetmark_controller.loadgen import consistency, limits, loadgen_log
from fleetmark_controller.loadgen.errors import IngestError, excerpt
from fleetmark_controller.loadgen.loadgen_log import LoadgenLog, LoadgenResult
from fleetmark_controller.loadgen.mllog import clean_text
from fleetmark_controller.loadgen.summary import Summary, read_summary
from fleetmark_core.clock import iso
from fleetmark_core.modes import CROSSCHECK, FIND
from fleetmark_core.regular_file import read_regular

_MODES = {
    "performance": loadgen_log.PERFORMANCE,
    "accuracy": loadgen_log.ACCURACY,
    **dict.fromkeys(TESTS, loadgen_log.PERFORMANCE),
    FIND: loadgen_log.PERFORMANCE,
    CROSSCHECK: loadgen_log.PERFORMANCE,
}
_CLAIM_TOLERANCE = 1e-6
_MAX_METRIC = 1e300
_MAX_UNIX_NS = float(1 << 63)


def evaluate(job: RunInputs) -> RunFacts:
    """Evaluate a finished attempt from its files."""
    return _Evaluation(job).run()


class _Evaluation:
    def __init__(self, job: RunInputs) -> None:
        self.job = job
        self.facts = RunFacts()
        self._taken: samples.Samples | None = None
        self.scenario = str(job.order.get("scenario", ""))
        self.mode = str(job.order.get("mode", ""))
        locked = table(job.lock.get("job"))
        self.loadgen = table(locked.get("loadgen"))
        self.dataset = table(locked.get("dataset"))
        quality = table(table(locked.get("benchmark")).get("quality"))
        self.metric = str(quality.get("metric", accuracy.METRIC))
        self.thresholds = thresholds.Thresholds().overridden(
            table(locked.get("benchmark")).get("condition")
        )

    def run(self) -> RunFacts:
        facts = self.facts
        claim = self._claim()
        observed = telemetry.read(*self.job.telemetry)
        if observed.refused:
            self._note(
                "refused_figures",
                f"{observed.refused} telemetry readings were out of range and rejected",
            )
        facts.temperature_max_c = observed.maximum("temperature_c")
        facts.temperature_start_c = self._start_c(observed)
        facts.peak_memory_bytes = self._memory(claim, self._before_profile(claim, observed))
        self._phases(claim)
        self._operators(claim)
        if claim.get("nonfinite_outputs") is True:
            self._note("nonfinite_outputs", "an output of the model has NaN or infinite values")
        log = self._log()
        if log is not None:
            self._common(log)
            if self.mode == "accuracy":
                self._accuracy(log, claim)
            elif self.mode == CROSSCHECK:
                self._crosscheck(log, claim)
            else:
                self._performance(log)
                self._computed(log, claim)
                self._estimate(log, claim)
                if self.mode == FIND:
                    self._search(log, claim)
        if not facts.started_at:
            self._start(self.job.final.get("started_unix_ns"))
        if facts.problems:
            facts.loadgen_validity, facts.estimate_reason = "INVALID", None
        measured = self.mode != "accuracy"
        # A cross-check has blocks before and after the one with the log.
        during = observed if self.mode == CROSSCHECK else self._during(observed, log)
        if self.job.is_sustained and log is not None:
            self._sustained(log, observed)
        if measured:
            if self.mode != CROSSCHECK:
                self._energy(log)
            facts.condition_reasons += condition.disturbances(
                during,
                self.thresholds,
                start_c=facts.temperature_start_c,
                power_modes=self._power_modes(),
            )
            facts.condition_reasons += condition.refused_settings(
                table(self._provenance().get("stable"))
            )
            facts.condition_reasons += condition.interval(facts.interval_percent, self.thresholds)
        facts.condition = condition.verdict(
            facts.condition_reasons,
            checked=not measured or bool(during.readings("foreign_cpu_percent")),
        )
        facts.submittable = log is not None and meets_minimums(
            facts, log, self.job.order, self.loadgen
        )
        return facts

    def _note(self, code: str, text: str) -> None:
        self.facts.condition_reasons.append(condition.reason(code, text))

    def _file(self, role: str) -> Path | None:
        path = self.job.files.get(role)
        return Path(path) if path is not None else None

    # Figures from the logs.

    def _log(self) -> LoadgenLog | None:
        path = self._file("loadgen_detail")
        if path is None:
            self.facts.problems.append("LoadGen's detail log is missing")
            return None
        try:
            return loadgen_log.parse_detail(path)
        except IngestError as error:
            self.facts.problems.append(f"LoadGen's detail log {error.what}")
            return None

    def _common(self, log: LoadgenLog) -> None:
        facts = self.facts
        facts.loadgen_version = log.version or None
        facts.query_count = log.query_count
        facts.duration_s = log.duration_s
        self._start(log.started_unix_ns)
        if log.settings.scenario != self.scenario:
            facts.problems.append(
                f"LoadGen ran {log.settings.scenario}, but the order asked for"
                f" {clean_text(self.scenario)}"
            )
        wanted = _MODES.get(self.mode)
        if wanted and log.settings.mode != wanted:
            facts.problems.append(
                f"LoadGen ran in mode {log.settings.mode}, but the order asked for {wanted}"
            )
        for text in log.contradictions:
            self._note("log_contradiction", f"in the detail log, {text}")
        if log.bad_lines:
            self._note(
                "log_damaged", f"damaged lines: {log.bad_lines}, the first: {log.first_bad_line}"
            )
        if log.error_count:
            first = f": {log.errors[0]}" if log.errors else ""
            count = "an error" if log.error_count == 1 else f"{log.error_count} errors"
            self._note("loadgen_errors", f"LoadGen logged {count}{first}")
        locked = self.loadgen.get("package_version")
        if isinstance(locked, str) and locked != log.version:
            text = f"LoadGen {log.version or '(none)'} wrote the log, but the lockfile has {locked}"
            self._note("loadgen_version", text)

    def _start(self, unix_ns: object) -> None:
        if isinstance(unix_ns, bool) or not isinstance(unix_ns, int):
            return
        if not 0 <= unix_ns < 253_402_300_800 * 10**9:  # the year 10000
            self._note(
                "clock", f"the device reported an impossible start time: {excerpt(unix_ns)} ns"
            )
            return
        self.facts.started_at = iso(unix_ns)
        received = self.job.received_unix_ns
        if unix_ns < thresholds.EARLIEST_UNIX_NS:
            self._note("clock", f"the device's clock shows a start at {self.facts.started_at}")
        elif received is not None and unix_ns > received + thresholds.CLOCK_AHEAD_NS:
            ahead_s = (unix_ns - received) // 10**9
            self._note("clock", f"the device's clock is ahead by at least {ahead_s} s")

    def _performance(self, log: LoadgenLog) -> None:
        result = log.result
        if result is None:
            self.facts.problems.append("LoadGen did not finish: its log holds no result")
            return
        facts = self.facts
        facts.loadgen_validity = self._validity(result, log)
        if result.validity == "INVALID":
            texts = (*result.failed_checks, *result.reasons)
            facts.loadgen_reasons = [" ".join(clean_text(text).split()) for text in texts]
        facts.sample_count = result.sample_count
        facts.metric_name = result.metric_name
        facts.metric_value = result.metric_value
        facts.throughput_samples_per_s = result.throughput_samples_per_s
        # In MultiStream the figure is a latency of queries (of 8 samples), otherwise of samples.
        latency = result.query_latency or result.latency
        facts.latency_mean_ms = None if latency.mean_ns is None else latency.mean_ns / 1e6
        facts.latency_p50_ms = latency.percentiles["50.00"] / 1e6
        facts.latency_p90_ms = latency.percentiles["90.00"] / 1e6
        facts.latency_p95_ms = latency.percentiles["95.00"] / 1e6
        facts.latency_p99_ms = latency.percentiles["99.00"] / 1e6
        facts.latency_p999_ms = latency.percentiles["99.90"] / 1e6
        self._samples(result)

    def _validity(self, result: LoadgenResult, log: LoadgenLog) -> str:
        """Return LoadGen's verdict, or INVALID if its own figures or its summary contradict it."""
        official = list(consistency.official_figures(log, result))
        for text in (*official, *consistency.figures(log, result)):
            self._note("log_contradiction", text)
        denials = consistency.denials(log, result)
        if result.validity == "VALID" and denials:
            text = f"the detail log says VALID, but: {', '.join(denials)}"
            self._note("log_contradiction", text)
            return "INVALID"
        summary = self._summary()
        if summary is not None:
            for text in consistency.summary_figures(summary, log, result):
                self._note("log_contradiction", text)
            if summary.validity not in (None, result.validity):
                text = f"the detail log says {result.validity}, the summary {summary.validity}"
                self._note("log_contradiction", text)
                return "INVALID"
        # Log lines that repeat the verdict or early stopping with another value, or an official
        # figure that other figures contradict.
        decisive = ("result_validity ", "early_stopping_")
        if official or any(text.startswith(decisive) for text in log.contradictions):
            return "INVALID"
        return result.validity

    def _summary(self) -> Summary | None:
        path = self._file("loadgen_summary")
        if path is None:
            return None
        try:
            return read_summary(path)
        except IngestError as error:
            self._note("log_damaged", f"the summary {error.what}")
            return None

    def _samples(self, result: LoadgenResult) -> None:
        path = self._file("samples")
        if path is None:
            self._note("samples_missing", "the job did not save its own samples")
            return
        import numpy as np

        try:
            taken = samples.read_raw(path)
            self.facts.samples = samples.encode(taken)
            self._taken = taken
        except IngestError as error:
            self._note("refused_figures", f"the file of samples {error.what}")
            return
        self.facts.interval_percent = confidence.within_run(taken, self.scenario)
        self.facts.condition_reasons += condition.timings(
            np.sort(taken), result.latency, self.scenario, result.sample_count, self.thresholds
        )

    def _computed(self, log: LoadgenLog, claim: Mapping[str, Any]) -> None:
        """Refuse a figure that counts fewer samples than the runtime computed.

        A runtime with a fixed batch computes whole batches. Only Offline's figure counts samples;
        elsewhere it is the latency of a query, however many samples a call computes.
        """
        computed = number(claim.get("computed_sample_count"), MAX_INTEGER)
        counted = log.result.sample_count if log.result is not None else None
        if self.scenario != "Offline" or computed is None or counted is None or computed <= counted:
            return
        self.facts.problems.append(
            f"the runtime computed {int(computed)} samples, but LoadGen counted {counted}: the last"
            " batch was not full"
        )

    def _estimate(self, log: LoadgenLog, claim: Mapping[str, Any]) -> None:
        is_contradicted = any(
            reason["code"] == "log_contradiction" for reason in self.facts.condition_reasons
        )
        if self.mode == "performance" and log.result is not None and not is_contradicted:
            self.facts.estimate_reason = estimate_reason(log.result, self.scenario, claim)

    def _search(self, log: LoadgenLog, claim: Mapping[str, Any]) -> None:
        try:
            self.facts.search_trace = search_trace.read_search(
                claim.get("search"), self.scenario, log
            )
        except IngestError as error:
            self.facts.problems.append(error.what)

    def _crosscheck(self, log: LoadgenLog, claim: Mapping[str, Any]) -> None:
        """Keep the rounds only: the log is that of one block, whose figures are no result."""
        self.facts.query_count = self.facts.duration_s = None
        try:
            self.facts.crosscheck = crosscheck.read_crosscheck(
                claim.get("crosscheck"), self.scenario, log
            )
        except IngestError as error:
            self.facts.problems.append(error.what)

    def _accuracy(self, log: LoadgenLog, claim: Mapping[str, Any]) -> None:
        facts = self.facts
        path = self._file("loadgen_accuracy")
        if path is None or self.job.labels_path is None:
            missing = "accuracy log" if path is None else "data set with labels"
            facts.problems.append(f"accuracy is unknown: the {missing} is missing")
            return
        key = self.dataset.get("labels")
        reference = Reference(
            Path(self.job.labels_path),
            key if isinstance(key, str) else "y",
            str(self.dataset.get("layout", "")),
        )
        try:
            found = recompute(self.metric, path, reference, log.settings.accuracy_sample_count)
        except IngestError as error:
            facts.problems.append(error.what)
            return
        facts.sample_count = found.total
        facts.accuracy = found.value
        facts.accuracy_metric = self.metric
        if not found.complete:
            text = f"{found.total} of {found.expected} samples were answered"
            self._note("accuracy_incomplete", text)
        self._check_claim(claim.get("accuracy"), found)

    def _check_claim(self, claimed: object, found: Recomputed) -> None:
        if not isinstance(claimed, Mapping):
            return
        given: Any = claimed.get("value")
        # A similarity may be below 0.
        is_negative = isinstance(given, float) and given < 0
        size = number(abs(given) if is_negative else given, _MAX_METRIC)
        value = None if size is None else -size if is_negative else size
        limit = _CLAIM_TOLERANCE * max(1.0, abs(found.value))
        if value is None or abs(value - found.value) > limit:
            claim_text = excerpt(claimed.get("value"))
            self._note(
                "accuracy_claim",
                f"the job reported {claim_text}, but its log shows {found.value:.6g}",
            )

    # Figures from the device.

    def _claim(self) -> Mapping[str, Any]:
        """Return the job's result.json, or the agent's copy of it; empty if it is not valid."""
        path = self._file("result")
        if path is None:
            provenance = table(self.job.final.get("provenance"))
            return table(provenance.get("program_result"))
        try:
            return table(json.loads(read_regular(path, thresholds.MAX_RESULT_BYTES)))
        except (OSError, ValueError, RecursionError) as error:
            text = excerpt(str(error))
            self._note("refused_figures", f"the job's result.json cannot be read: {text}")
            return {}

    def _memory(self, claim: Mapping[str, Any], observed: telemetry.Telemetry) -> int | None:
        """Return the highest of the peaks by the program, by telemetry and by the supervisor.

        Figures above the memory and swap of the device are ignored.
        """
        provenance = table(self.job.final.get("provenance"))
        memory = table(table(provenance.get("capabilities")).get("memory"))
        total = number(memory.get("total_bytes"), thresholds.MAX_MEMORY_BYTES)
        swap = number(memory.get("swap_bytes"), thresholds.MAX_MEMORY_BYTES)
        most = (total or thresholds.MAX_MEMORY_BYTES) + (swap or 0)
        claimed = claim.get("peak_memory_bytes")
        figure = number(claimed, most)
        if claimed is not None and not figure:
            self._note(
                "refused_figures",
                f"the job reported an impossible memory use: {excerpt(claimed)} bytes",
            )
        seen = observed.maximum("memory_bytes") or 0.0
        # By the kernel, for the largest process: telemetry may miss a short moment.
        process = number(provenance.get("peak_memory_bytes"), most)
        peak = int(max(figure or 0.0, seen if seen <= most else 0.0, process or 0.0))
        return peak or None

    def _before_profile(
        self, claim: Mapping[str, Any], observed: telemetry.Telemetry
    ) -> telemetry.Telemetry:
        """Return the telemetry without the pass that profiles operators, which needs memory too."""
        start = number(table(claim.get("operators")).get("start_unix_ns"), _MAX_UNIX_NS)
        began = number(self.job.final.get("started_unix_ns"), _MAX_UNIX_NS)
        if not self._profiles_operators() or start is None or began is None or start <= began:
            return observed
        return observed.during(0.0, (start - began) / 1e6)

    def _phases(self, claim: Mapping[str, Any]) -> None:
        duration_ns = number(self.job.final.get("duration_ns"), float(MAX_INTEGER)) or 0.0
        found = phases.read_phases(claim, duration_ns, self.facts.peak_memory_bytes)
        for name, value in found.columns.items():
            setattr(self.facts, name, value)
        for text in found.dropped:
            self._note("refused_figures", text)

    def _profiles_operators(self) -> bool:
        asked = table(self.job.order.get("parameters")).get(operator_profile.PARAMETER)
        return asked is True and self.mode == "performance"

    def _operators(self, claim: Mapping[str, Any]) -> None:
        if not self._profiles_operators():
            return
        path = self._file(operator_profile.ROLE)
        if path is None:
            reason = table(claim.get("operators")).get("unavailable")
            self.facts.operators = operator_profile.unavailable(reason)
            return
        try:
            data = read_regular(path, operator_profile.MAX_TRACE_BYTES)
            self.facts.operators = operator_profile.read_profile(data)
        except (OSError, IngestError) as error:
            # The text of an OSError contains the controller's path.
            what = (
                error.what
                if isinstance(error, IngestError)
                else f"cannot be read: {error.strerror or type(error).__name__}"
            )
            text = f"the operator profile {what}"
            self.facts.operators = operator_profile.unavailable(text)
            self._note("refused_figures", clean_text(text))

    def _sustained(self, log: LoadgenLog, observed: telemetry.Telemetry) -> None:
        began = number(self.job.final.get("started_unix_ns"), _MAX_UNIX_NS)
        if self.facts.problems or self._taken is None:
            return
        if log.started_unix_ns is None or began is None:
            return
        start_ms = (log.started_unix_ns - began) / 1e6
        try:
            found = sustained_run(
                self.scenario, self._taken, log.duration_s or 0.0, observed, start_ms
            )
        except IngestError as error:
            self._note("refused_figures", f"no series of the sustained run: {error.what}")
            return
        if found is not None:
            facts = self.facts
            facts.sustained = found.as_document()
            facts.steady_start_s = found.steady_start_s
            facts.steady_throughput_samples_per_s = found.throughput_samples_per_s
            facts.steady_latency_mean_ms = found.latency_mean_ms

    def _during(self, observed: telemetry.Telemetry, log: LoadgenLog | None) -> telemetry.Telemetry:
        # The agent's claim may be any number, even one that is too large for a float.
        began = number(self.job.final.get("started_unix_ns"), _MAX_UNIX_NS)
        if log is None or log.started_unix_ns is None or began is None:
            return observed
        start_ms = (log.started_unix_ns - began) / 1e6
        return observed.during(start_ms, start_ms + (log.duration_s or 0) * 1000)

    def _provenance(self) -> Mapping[str, Any]:
        return table(self.job.final.get("provenance"))

    def _start_c(self, observed: telemetry.Telemetry) -> float | None:
        """Return the temperature before the job began, or else the first reading during the job."""
        start_c = table(self._provenance().get("temperatures")).get("start_c")
        if (
            isinstance(start_c, (int, float))
            and not isinstance(start_c, bool)
            and -80 <= start_c <= 250
        ):
            return float(start_c)
        return next(iter(observed.readings("temperature_c")), None)

    def _power_modes(self) -> list[str]:
        names = table(self._provenance().get("telemetry")).get("power_modes")
        return [clean_text(name) for name in names] if isinstance(names, list) else []

    def _energy(self, log: LoadgenLog | None) -> None:
        """Set the energy of the measured interval, or the reason why it is unknown."""
        facts = self.facts
        found = self._measured_energy(log)
        facts.energy_by_source = found.by_source
        if found.joules is None:
            facts.energy_unavailable = clean_text(found.unavailable)
            return
        columns = energy.run_columns(
            found.joules,
            found.source,
            None if log is None else log.duration_s,
            facts.query_count,
            facts.sample_count,
        )
        for name, value in columns.items():
            setattr(facts, name, value)

    def _measured_energy(self, log: LoadgenLog | None) -> energy.Energy:
        path = self._file("board_power")
        if path is None:
            missing_reason = table(self._provenance().get("telemetry")).get("energy_unavailable")
            reasons = missing_reason[: limits.MAX_TEXTS] if isinstance(missing_reason, list) else []
            why = "; ".join(clean_text(reason) for reason in reasons)
            return energy.Energy(None, "", why or "the agent read no power sensor", {})
        if log is None or log.started_unix_ns is None or not log.duration_s:
            return energy.Energy(None, "", "the measured interval is unknown", {})
        try:
            series = energy.read(path)
        except IngestError as error:
            self._note("refused_figures", f"the file of power readings {error.what}")
            return energy.Energy(None, "", f"the file of power readings {error.what}", {})
        return energy.of_interval(series, log.started_unix_ns, log.duration_s)
