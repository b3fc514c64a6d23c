"""The quality verdict: what speaks against a run's figures, though LoadGen may call it VALID.

`good`: it was checked, and nothing speaks against it. `suspicious`: there is a reason.
`unchecked`: nobody watched what else ran on the board, which moves latencies most (no telemetry
while it measured). Accuracy does not depend on the board's state, so that an accuracy run is never
`unchecked`.

A reason is a table `{"code", "text", "value", "limit"}`: the code is for programs and stays as it
is, the text for people; value and limit are null where there is no figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fleetmark_controller.ingest.limits import Thresholds
from fleetmark_controller.ingest.loadgen_log import Latency
from fleetmark_controller.ingest.telemetry import Telemetry

if TYPE_CHECKING:
    from fleetmark_controller.ingest.samples import Samples

GOOD, SUSPICIOUS, UNCHECKED = "good", "suspicious", "unchecked"

CODES: Mapping[str, str] = {
    "competing_load": "other processes took CPU time while it measured",
    "hot": "the board was as hot as where boards slow down",
    "throttled": "the board said that it throttled",
    "frequency_drift": "the CPU's clock fell while it measured",
    "swap": "the board swapped while it measured",
    "percentiles_disagree": "latencies timed inside the job are not those of LoadGen",
    "samples_missing": "the job's own samples are missing, or not as many as LoadGen's",
    "accuracy_claim": "the job claimed another accuracy than its log shows",
    "accuracy_incomplete": "not every sample of the data set was answered",
    "log_contradiction": "LoadGen's logs contradict themselves or each other",
    "log_damaged": "lines of LoadGen's log could not be read",
    "loadgen_errors": "LoadGen logged errors",
    "loadgen_version": "another LoadGen than the one that was locked",
    "clock": "the board's clock is wrong",
    "refused_figures": "figures that can't be were refused",
}

Reason = dict[str, Any]


def reason(code: str, text: str, value: float | None = None, limit: float | None = None) -> Reason:
    """A quality reason; `code` is one of `CODES`."""
    if code not in CODES:
        raise ValueError(f"no quality code: {code}")
    return {"code": code, "text": text, "value": value, "limit": limit}


def verdict(reasons: list[Reason], *, checked: bool) -> str:
    """One word for a run."""
    return SUSPICIOUS if reasons else GOOD if checked else UNCHECKED


def disturbances(telemetry: Telemetry, limit: Thresholds) -> list[Reason]:
    """What the board's readings, taken while measuring, say against the figures."""
    return [
        *_competing_load(telemetry.readings("foreign_cpu_percent"), limit),
        *_heat(telemetry, limit),
        *_frequency(telemetry.readings("frequency_hz"), limit),
        *_swap(telemetry.readings("swap_bytes"), limit),
    ]


def _competing_load(readings: list[float], limit: Thresholds) -> list[Reason]:
    if not readings:
        return []
    mean = sum(readings) / len(readings)
    if mean > limit.foreign_cpu_mean_percent:
        return [
            reason(
                "competing_load",
                f"other processes took {mean:.0f} % of a core on average",
                round(mean, 1),
                limit.foreign_cpu_mean_percent,
            )
        ]
    peak = sorted(readings)[int(len(readings) * 0.9)]
    if peak > limit.foreign_cpu_peak_percent:
        return [
            reason(
                "competing_load",
                f"other processes took {peak:.0f} % of a core for a tenth of the time",
                round(peak, 1),
                limit.foreign_cpu_peak_percent,
            )
        ]
    return []


def _heat(telemetry: Telemetry, limit: Thresholds) -> list[Reason]:
    found = []
    hottest = telemetry.maximum("temperature_c")
    if hottest is not None and hottest >= limit.temperature_c:
        found.append(
            reason("hot", f"the board reached {hottest:.0f} °C", hottest, limit.temperature_c)
        )
    if (telemetry.maximum("throttled") or 0) > 0:
        found.append(reason("throttled", "the board says that it throttled"))
    return found


def _frequency(readings: list[float], limit: Thresholds) -> list[Reason]:
    if not readings:
        return []
    drift = 100 * (1 - min(readings) / max(readings))
    if drift <= limit.frequency_drift_percent:
        return []
    text = f"the CPU's clock fell from {max(readings) / 1e6:.0f} to {min(readings) / 1e6:.0f} MHz"
    return [reason("frequency_drift", text, round(drift, 1), limit.frequency_drift_percent)]


def _swap(readings: list[float], limit: Thresholds) -> list[Reason]:
    grown = max(readings) - readings[0] if readings else 0
    if grown <= limit.swap_bytes:
        return []
    return [
        reason("swap", f"used swap grew by {grown / (1 << 20):.0f} MiB", grown, limit.swap_bytes)
    ]


def timings(
    ordered: Samples, official: Latency, scenario: str, expected_count: int, limit: Thresholds
) -> list[Reason]:
    """Whether the job's own timings agree with LoadGen's percentiles.

    LoadGen times around the system under test, so its figures lie above by what the call costs.
    In Offline it starts before the job has the list of queries, however long that is; in Server
    its latency contains the time that a query waited, so only the lower bound holds.
    """
    from fleetmark_controller.ingest.samples import percentile

    if ordered.size != expected_count:
        text = f"the job timed {ordered.size} samples, LoadGen {expected_count}"
        return [reason("samples_missing", text, float(ordered.size), float(expected_count))]
    for name, tail in (("50.00", False), ("90.00", False), ("99.00", True)):
        inside, around = percentile(ordered, float(name) / 100), official.percentiles[name]
        slack_ns = limit.timing_base_us * 1e3 + around * limit.timing_percent / 100
        if scenario == "Offline":
            slack_ns += official.max_ns * limit.timing_percent / 100 + 1000.0 * ordered.size
        if tail:
            slack_ns *= limit.timing_tail_factor
        below_ns = limit.timing_below_us * 1e3 + around * limit.timing_percent / 100
        gap_ns = around - inside
        if gap_ns < -below_ns or (gap_ns > slack_ns and scenario != "Server"):
            text = (
                f"p{float(name):g} is {around / 1e6:.4g} ms by LoadGen "
                f"and {inside / 1e6:.4g} ms by the job's own timing"
            )
            bound = -below_ns if gap_ns < 0 else slack_ns
            return [reason("percentiles_disagree", text, gap_ns / 1e6, bound / 1e6)]
    return []
