"""The condition of a run: reasons to doubt its figures even if LoadGen calls it VALID.

`good`: it was checked and there is no reason. `suspicious`: there is at least one reason.
`unchecked`: there was no telemetry during the measurement, so that competing load, which affects
latencies most, is unknown. Accuracy does not depend on the device's state, so that an accuracy run
is never `unchecked`.

A reason is a table `{"code", "text", "value", "limit"}`. The code is for programs and is stable;
the text is for operators. Value and limit are null if there is no figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fleetmark_controller.evaluation.telemetry import Telemetry
from fleetmark_controller.evaluation.thresholds import Thresholds
from fleetmark_controller.loadgen.loadgen_log import Latency
from fleetmark_controller.loadgen.mllog import clean_text

if TYPE_CHECKING:
    from fleetmark_controller.evaluation.samples import Samples

GOOD, SUSPICIOUS, UNCHECKED = "good", "suspicious", "unchecked"

CODES: Mapping[str, str] = {
    "competing_load": "other processes used CPU time during the measurement",
    "hot": "the device reached a temperature at which devices throttle",
    "warm_start": "the device was warm before the job began",
    "throttled": "the device reported throttling",
    "cpu_quota": "a CPU quota of the agent's control groups stopped processes while it measured",
    "power_mode_change": "governor, power mode or power supply changed during the measurement",
    "setting_refused": "a setting of a stable run could not be made",
    "interval_wide": "the 95 % interval of the official figure is too wide",
    "frequency_drift": "the CPU clock fell during the measurement",
    "swap": "the device swapped during the measurement",
    "percentiles_disagree": "latencies timed by the job disagree with LoadGen's",
    "samples_missing": "the job's own samples are missing, or their number differs from LoadGen's",
    "accuracy_claim": "the accuracy that the job reported differs from its log",
    "accuracy_incomplete": "not every sample of the data set was answered",
    "log_contradiction": "LoadGen's logs contradict themselves or each other",
    "log_damaged": "lines of LoadGen's log could not be read",
    "loadgen_errors": "LoadGen logged errors",
    "loadgen_version": "the LoadGen version differs from the lockfile",
    "clock": "the device's clock is wrong",
    "nonfinite_outputs": "the model's outputs contain NaN or infinite values",
    "refused_figures": "impossible figures were rejected",
}

Reason = dict[str, Any]
_MOST_REFUSED = 16
THROTTLES: Mapping[int, str] = {
    1: "under-voltage",
    2: "CPU clock capped",
    4: "throttled",
    8: "soft temperature limit",
    16: "thermal counter increased",
    32: "slowed by the kernel to cool down",
}
"""The bits of a `throttled` reading; the first four are defined by the Raspberry Pi."""


def reason(code: str, text: str, value: float | None = None, limit: float | None = None) -> Reason:
    """Return a reason; `code` must be one of `CODES`."""
    if code not in CODES:
        raise ValueError(f"no condition code: {code}")
    return {"code": code, "text": text, "value": value, "limit": limit}


def verdict(reasons: list[Reason], *, checked: bool) -> str:
    """Return the condition of a run."""
    return SUSPICIOUS if reasons else GOOD if checked else UNCHECKED


def disturbances(
    telemetry: Telemetry,
    limit: Thresholds,
    *,
    start_c: float | None = None,
    power_modes: Sequence[str] = (),
) -> list[Reason]:
    """Return the reasons that follow from the device's readings during the measurement.

    Args:
        telemetry: Readings during the measurement.
        limit: Thresholds.
        start_c: Temperature of the device before the job began.
        power_modes: Names of the values of `power_mode` readings.
    """
    return [
        *_competing_load(telemetry.readings("foreign_cpu_percent"), limit),
        *_warm_start(start_c, limit),
        *_heat(telemetry, limit),
        *_throttled(telemetry.readings("throttled")),
        *_cpu_quota(telemetry),
        *_frequency(telemetry.readings("frequency_hz"), limit),
        *_power_mode(telemetry.readings("power_mode"), power_modes),
        *_swap(telemetry, limit),
    ]


def refused_settings(stable: Mapping[str, Any]) -> list[Reason]:
    """Return a reason for each setting that a stable run asked for and the device did not get.

    Args:
        stable: what the agent reported of the settings.
    """
    texts = stable.get("refused")
    found = texts[:_MOST_REFUSED] if isinstance(texts, list) else []
    return [reason("setting_refused", clean_text(text)) for text in found]


def interval(percent: float | None, limit: Thresholds) -> list[Reason]:
    """Return a reason if the interval of the official figure within the run is too wide."""
    if percent is None or percent <= limit.run_interval_percent:
        return []
    text = f"the 95 % interval of the official figure is ± {percent:.1f} %"
    return [reason("interval_wide", text, round(percent, 2), limit.run_interval_percent)]


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
            reason("hot", f"the device reached {hottest:.0f} °C", hottest, limit.temperature_c)
        )
    return found


def _warm_start(start_c: float | None, limit: Thresholds) -> list[Reason]:
    if start_c is None or start_c <= limit.start_temperature_c:
        return []
    text = f"the device was at {start_c:.0f} °C before the job began"
    return [reason("warm_start", text, start_c, limit.start_temperature_c)]


def _throttled(readings: list[float]) -> list[Reason]:
    bits = 0
    for value in readings:
        # A reading may be any number within its range; unknown bits get no text.
        bits |= int(value)
    if not bits:
        return []
    how = ", ".join(text for bit, text in THROTTLES.items() if bits & bit)
    text = f"the device throttled: {how}" if how else "the device reported throttling"
    return [reason("throttled", text, float(bits), 0.0)]


def _cpu_quota(telemetry: Telemetry) -> list[Reason]:
    """Name periods in which a quota was used up: processes stood still until the next period.

    See the kernel's documentation, "CFS Bandwidth Control".
    """
    throttled = sum(telemetry.readings("quota_throttled"))
    if not throttled:
        return []
    periods = max(throttled, sum(telemetry.readings("quota_periods")))
    text = f"the CPU quota was used up in {throttled:.0f} of {periods:.0f} periods"
    return [reason("cpu_quota", text, throttled, 0.0)]


def _power_mode(readings: list[float], names: Sequence[str]) -> list[Reason]:
    if len(set(readings)) < 2:
        return []
    before = readings[0]
    after = next(value for value in readings if value != before)

    def words(number: float) -> set[str]:
        known = number.is_integer() and number < len(names)
        return set(names[int(number)].split(", ")) if known else {f"mode {number:g}"}

    gone, come = words(before) - words(after), words(after) - words(before)
    text = f"the power mode changed: {', '.join(sorted(gone))} became {', '.join(sorted(come))}"
    return [reason("power_mode_change", text)]


def _frequency(readings: list[float], limit: Thresholds) -> list[Reason]:
    if not readings:
        return []
    drift = 100 * (1 - min(readings) / max(readings))
    if drift <= limit.frequency_drift_percent:
        return []
    text = f"the CPU clock fell from {max(readings) / 1e6:.0f} to {min(readings) / 1e6:.0f} MHz"
    return [reason("frequency_drift", text, round(drift, 1), limit.frequency_drift_percent)]


def _swap(telemetry: Telemetry, limit: Thresholds) -> list[Reason]:
    for name, text in (
        ("swapped_bytes", "{:.0f} MiB were swapped in and out"),
        ("swap_bytes", "used swap grew by {:.0f} MiB"),
    ):
        readings = telemetry.readings(name)
        grown = max(readings) - readings[0] if readings else 0
        if grown > limit.swap_bytes:
            return [reason("swap", text.format(grown / (1 << 20)), grown, limit.swap_bytes)]
    return []


def timings(
    ordered: Samples, official: Latency, scenario: str, expected_count: int, limit: Thresholds
) -> list[Reason]:
    """Return a reason if the job's own timings do not agree with LoadGen's percentiles.

    LoadGen times around the system under test, so its figures are higher by the cost of the call.
    In Offline it starts before the job has the list of queries, whatever its length. In Server its
    latency includes the time that a query waited, so that only the lower bound applies.
    """
    from fleetmark_controller.evaluation.samples import percentile

    if ordered.size != expected_count:
        text = f"the job timed {ordered.size} samples, LoadGen timed {expected_count}"
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
