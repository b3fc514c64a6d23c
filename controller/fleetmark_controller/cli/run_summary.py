"""Lines that show phases, memory, validity, condition and energy of a run. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fleetmark_controller.cli.meter_summary import meter_lines
from fleetmark_controller.cli.sustained_summary import sustained_lines
from fleetmark_core.resource_model import size

SUMMARIZED = frozenset(
    (
        *(
            "loadgen_validity",
            "estimate_reason",
            "condition",
            "condition_reasons",
            "energy_j",
            "energy_per_query_j",
        ),
        *("energy_per_sample_j", "power_mean_w", "energy_source", "energy_unavailable"),
        *(
            "energy_official",
            "energy_uncertainty_j",
            "energy_meter",
            "interval_percent",
            "repeat_interval_percent",
        ),
        *("load_ms", "first_inference_ms", "warmup_ms", "steady_state_ms"),
        *("load_memory_bytes", "peak_memory_bytes"),
        *("steady_start_s", "steady_throughput_samples_per_s", "steady_latency_mean_ms"),
    )
)
"""Columns that the lines show, and that the list of columns omits."""

_WORDS = {
    "good": "good: no reason to doubt the figures",
    "suspicious": "suspicious",
    "unchecked": "unchecked: other load on the device was not recorded",
}
_WATCHED = {
    "temperature_c": "temperature",
    "frequency_hz": "clock",
    "swap_bytes": "swap",
    "swapped_bytes": "swapping",
    "throttled": "throttling",
    "power_mode": "power mode",
    "quota_throttled": "CPU quota",
}
_MOST_SENSORS = 5
"""Maximum number of listed unused sensors: a phone has dozens. All are in the provenance."""


def phase_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about the phases before the measurement, and about memory."""
    yield f"Phases     {', '.join(_phases(figures))}"
    yield f"Memory     {', '.join(_memory(figures))}"


def lines(figures: Mapping[str, Any], provenance: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about validity, condition and energy."""
    validity = figures.get("loadgen_validity")
    texts = (*_list(provenance.get("problems")), *_list(provenance.get("loadgen_reasons")))
    problems = [str(text) for text in texts]
    mode = figures.get("mode") or "accuracy"
    validity_text = f"gives no verdict in {mode} mode" if validity is None else str(validity)
    yield f"LoadGen    {validity_text}"
    for problem in problems:
        yield f"           - {problem}"
    if figures.get("estimate_reason"):
        yield f"Estimate   {figures['estimate_reason']}"
    if figures.get("scenario") == "Offline":
        yield from _batch(_table(provenance.get("program_result")))
    condition = figures.get("condition")
    yield f"Condition  {_WORDS.get(str(condition), condition or 'unavailable')}"
    for reason in _reasons(figures.get("condition_reasons")):
        yield f"           - {_reason(reason)}"
    missing = _table(_table(provenance.get("telemetry")).get("unavailable"))
    for name, why in missing.items():
        if name in _WATCHED:
            yield f"           - not recorded: {_WATCHED[name]} ({why})"
    yield from _left_out(_table(_table(provenance.get("temperatures")).get("left_out")))
    root = provenance.get("system_root")
    if isinstance(root, str) and root != "/":
        yield f"           - system files of the device were read below {root}"
    yield from _stable(_table(provenance.get("stable")))
    yield from _start(_table(provenance.get("start_limit")))
    yield from sustained_lines(provenance.get("sustained"))
    yield from _intervals(figures)
    yield from _energy(figures)


def _batch(result: Mapping[str, Any]) -> Iterator[str]:
    """Yield the batch that was used if it is not the one of the parameters."""
    used = _table(result.get("calibration")).get("batch_size")
    wanted = _table(result.get("parameters")).get("batch_size")
    if isinstance(used, int) and isinstance(wanted, int) and 1 < wanted != used:
        yield f"Batch      {used} samples per call, where the parameter is {wanted}"


def _phases(figures: Mapping[str, Any]) -> Iterator[str]:
    for name, words in (
        ("load_ms", "load {} ms"),
        ("first_inference_ms", "first inference {} ms"),
        ("warmup_ms", "warm-up {} ms"),
        ("steady_state_ms", "steady state {} ms per call"),
    ):
        value = figures.get(name)
        if isinstance(value, (int, float)):
            yield words.format(f"{value:.4g}")
        else:
            yield f"{words.partition(' {')[0]} unavailable"


def _memory(figures: Mapping[str, Any]) -> Iterator[str]:
    for name, words in (("load_memory_bytes", "after loading"), ("peak_memory_bytes", "at most")):
        value = figures.get(name)
        yield f"{words} {size(value) if isinstance(value, (int, float)) else 'unavailable'}"


def _left_out(sensors: Mapping[str, Any]) -> Iterator[str]:
    for name, why in list(sensors.items())[:_MOST_SENSORS]:
        yield f"           - temperature sensor {name} left out: {why}"
    more = len(sensors) - _MOST_SENSORS
    if more > 0:
        yield f"           - {more} more temperature sensors left out"


def _reason(reason: Mapping[str, Any]) -> str:
    value, limit = reason.get("value"), reason.get("limit")
    bound = ""
    if isinstance(value, (int, float)) and isinstance(limit, (int, float)):
        bound = f" ({value:g}, limit {limit:g})"
    return f"{reason.get('code')}: {reason.get('text')}{bound}"


def _intervals(figures: Mapping[str, Any]) -> Iterator[str]:
    found = []
    for name, where in (
        ("interval_percent", "within the run"),
        ("repeat_interval_percent", "over its repetitions"),
    ):
        if isinstance(figures.get(name), (int, float)):
            found.append(f"± {figures[name]:.1f} % {where}")
    if found:
        yield f"Interval   95 % of the official figure: {', '.join(found)}"


def _stable(conditions: Mapping[str, Any]) -> Iterator[str]:
    if not conditions:
        return
    parts = []
    if isinstance(conditions.get("waited_s"), (int, float)):
        parts.append(
            f"began after {conditions['waited_s']:.0f} s: {conditions.get('began_because')}"
        )
    if conditions.get("governor"):
        parts.append(
            f"governor {conditions['governor']} instead of {conditions.get('governor_before')}"
        )
    made = [one for one in _list(conditions.get("settings")) if isinstance(one, Mapping)]
    others = (f"{one.get('name')} {one.get('set')} instead of {one.get('before')}"
              for one in made if one.get("name") != "governor")  # fmt: skip
    parts += dict.fromkeys(others)
    cores = _list(conditions.get("cores"))
    if cores:
        why = conditions.get("cores_because")
        parts.append(
            f"on cores {_kinds(conditions) or _numbers(cores)}{f' ({why})' if why else ''}"
        )
    yield f"Stable     {'; '.join(parts) or 'nothing was changed'}"
    for reason in _list(conditions.get("not_set")):
        yield f"           - not set: {reason}"


def _start(wait: Mapping[str, Any]) -> Iterator[str]:
    below_c, start_c, waited_s = (wait.get(name) for name in ("below_c", "start_c", "waited_s"))
    if all(isinstance(value, (int, float)) for value in (below_c, start_c, waited_s)):
        yield f"Start      at {start_c:.1f} °C after {waited_s:.0f} s, below {below_c:g} °C"


def _kinds(conditions: Mapping[str, Any]) -> str:
    """Return cores by kind, `6, 7 of Cortex-A76 and 3 of Cortex-A55`; empty without names."""
    kinds = [kind for kind in _list(conditions.get("core_kinds")) if isinstance(kind, Mapping)]
    if not all(kind.get("kind") for kind in kinds):
        return ""
    return " and ".join(f"{_numbers(_list(k.get('cores')))} of {k['kind']}" for k in kinds)


def _numbers(cores: list[Any]) -> str:
    return ", ".join(map(str, cores))


def _energy(figures: Mapping[str, Any]) -> Iterator[str]:
    joules = figures.get("energy_j")
    if not isinstance(joules, (int, float)):
        why = figures.get("energy_unavailable")
        yield f"Energy     unavailable{f': {why}' if why else ''}"
        return
    kind = "official" if figures.get("energy_official") else "unofficial"
    meter = _table(_document(figures.get("energy_meter")))
    bound = figures.get("energy_uncertainty_j")
    within = f" ± {bound:.3g} J" if isinstance(bound, (int, float)) else ""
    parts = [f"{joules:.4g} J{within}"]
    for name, words in (
        ("power_mean_w", "{:.4g} W"),
        ("energy_per_query_j", "{:.4g} J per query"),
        ("energy_per_sample_j", "{:.4g} J per sample"),
    ):
        if isinstance(figures.get(name), (int, float)):
            parts.append(words.format(figures[name]))
    yield f"Energy     {', '.join(parts)}"
    yield f"           - {kind}, by {figures.get('energy_source')}"
    for line in meter_lines(meter) if meter else ():
        yield f"           - {line}"


def _reasons(value: object) -> list[Mapping[str, Any]]:
    return [reason for reason in _list(_document(value)) if isinstance(reason, Mapping)]


def _document(value: object) -> object:
    """Return the value of a column that holds JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
