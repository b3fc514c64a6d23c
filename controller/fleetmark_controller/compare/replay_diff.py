"""Differences between a run and its replays: in what they ran on, and in their figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

Row = Mapping[str, Any]

FIGURES = (
    *("metric_value", "latency_mean_ms", "latency_p50_ms", "latency_p90_ms", "latency_p99_ms"),
    *("throughput_samples_per_s", "accuracy", "energy_j", "energy_per_query_j"),
    *("power_mean_w", "peak_memory_bytes", "temperature_start_c", "temperature_max_c"),
    *("load_ms", "first_inference_ms", "warmup_ms", "steady_state_ms", "load_memory_bytes"),
)
_ENERGY_FIGURES = frozenset({"energy_j", "energy_per_query_j", "power_mean_w"})
VERDICTS = ("loadgen_validity", "condition")

_OWN = (
    *("order", "order_sha256", "boot_id", "clock", "cpu_s", "peak_memory_bytes", "problems"),
    "loadgen_reasons",
    *("competing_load", "temperatures", "facts", "files", "program_result.duration_ns"),
    *("program_result.query_count", "program_result.sample_count", "program_result.accuracy"),
    "program_result.computed_sample_count",
    *("program_result.start_unix_ns", "program_result.peak_memory_bytes"),
    *("program_result.calibration", "program_result.search", "program_result.loadgen_user_conf"),
    *("program_result.phases", "program_result.load_memory_bytes", "program_result.operators"),
    *("program_result.warmup_count", "capabilities.storage.free_bytes"),
    *("capabilities.storage.cache_bytes", "energy_by_source_j", "telemetry.began_unix_ns"),
    *("stable.waited_s", "stable.before_c", "stable.start_c", "stable.began_because"),
)
"""Provenance that differs in every run, is calibrated again, or is compared as figures."""


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return (name, then, now) of all provenance that differs although a replay should match it."""
    before, after = dict(_leaves(then)), dict(_leaves(now))
    return [
        (name, before.get(name, "–"), after.get(name, "–"))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name) and not _is_own(name)
    ]


def figures(then: Row, now: Sequence[Row]) -> list[tuple[str, Any, Any, Any, Any]]:
    """Return (figure, then, lowest now, highest now, change) for each figure that has a value.

    The change is that of the median, as a fraction. It is None for energy and power if they do not
    all have the same source: sensors and meters see different parts of a device.
    """
    found = []
    is_one_source = energy_sources([then]) == energy_sources(now)
    for name in FIGURES:
        values = sorted(row[name] for row in now if row[name] is not None)
        if then[name] is None and not values:
            continue
        middle = median(values) if values else None
        change = middle / then[name] - 1 if middle is not None and then[name] else None
        if name in _ENERGY_FIGURES and not is_one_source:
            change = None
        low, high = (values[0], values[-1]) if values else (None, None)
        found.append((name, then[name], low, high, change))
    return found


def energy_sources(rows: Sequence[Row]) -> list[str | None]:
    """Return the different sources of the rows' energy, in the order of the rows.

    Rows without energy are left out; the only item is None if no row has energy.
    """
    sources = {row.get("energy_source"): None for row in rows if row.get("energy_j") is not None}
    return list(sources) or [None]


def energy_notice(then: Row, now: Sequence[Row]) -> str:
    """Return a sentence with the sources if energy is not compared; empty if it is, or is unknown.

    Unknown is an energy that either side lacks.
    """
    before, after = energy_sources([then]), energy_sources(now)
    lacks = then.get("energy_j") is None or all(row.get("energy_j") is None for row in now)
    if lacks or before == after:
        return ""
    shown = ", ".join(source or "unknown" for source in after)
    return (
        f"Energy and power are not compared: their sources differ (then: {before[0] or 'unknown'};"
        f" now: {shown})."
    )


def _is_own(name: str) -> bool:
    return any(name == own or name.startswith(f"{own}.") for own in _OWN)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{name}.{_label(inner, number)}")
    elif isinstance(value, list):
        yield name, ", ".join(str(item) for item in value)
    else:
        yield name, "–" if value is None else str(value)


def _label(value: Any, number: int) -> str:
    """Return an item's name or path, so that an added item does not shift the others."""
    if isinstance(value, Mapping):
        for key in ("name", "path", "kind"):
            if isinstance(value.get(key), str):
                return str(value[key])
    return str(number)
