"""The phases of a job before its measurement, and the memory after loading, as its program reports.

No log has these figures, so they are checked only for plausibility. A figure that cannot be true is
dropped, with a text that says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleetmark_controller.loadgen.errors import excerpt

_PHASES = {
    "load_ms": "load_ns",
    "first_inference_ms": "first_inference_ns",
    "warmup_ms": "warmup_ns",
    "steady_state_ms": "steady_state_ns",
}


@dataclass(frozen=True)
class PhaseFigures:
    """Figures by column of table `run`, None where not measured; and texts about dropped ones."""

    columns: Mapping[str, float | int | None]
    dropped: tuple[str, ...] = ()


def read_phases(
    claim: Mapping[str, Any], duration_ns: float, peak_memory_bytes: float | None
) -> PhaseFigures:
    """Return the figures in a program's result.json.

    Args:
        claim: content of result.json.
        duration_ns: duration of the job, which no phase exceeds.
        peak_memory_bytes: peak memory of the job, which the memory after loading does not exceed;
            None: unknown, and then the memory after loading is dropped as well.
    """
    table = claim.get("phases")
    phases: Mapping[str, Any] = table if isinstance(table, Mapping) else {}
    columns: dict[str, float | int | None] = {}
    dropped: list[str] = []
    for column, key in _PHASES.items():
        value = phases.get(key)
        columns[column] = _phase_ms(value, duration_ns)
        if value is not None and columns[column] is None:
            dropped.append(f"the job reported an impossible {key}: {excerpt(value)}")
    first, warmup = columns["first_inference_ms"], columns["warmup_ms"]
    if first is not None and warmup is not None and first > warmup:
        columns["first_inference_ms"] = columns["warmup_ms"] = None
        dropped.append("the job reported a first inference that is longer than its warm-up")
    memory = claim.get("load_memory_bytes")
    columns["load_memory_bytes"] = _memory_bytes(memory, peak_memory_bytes)
    if memory is not None and columns["load_memory_bytes"] is None:
        dropped.append(f"the job reported an impossible memory after loading: {excerpt(memory)}")
    return PhaseFigures(columns, tuple(dropped))


def _phase_ms(value: object, most_ns: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most_ns:
        return None
    return value / 1e6


def _memory_bytes(value: object, most: float | None) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or most is None:
        return None
    return value if 0 < value <= most else None
