"""Lines that show how an external power meter measured the energy of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_PARTS = (
    ("alignment_j", "by the alignment"),
    ("sampling_j", "by the sampling (estimate)"),
    ("meter_j", "by the meter"),
)


def meter_lines(meter: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about the document of a meter, column `energy_meter`.

    Figures that are missing are left out: a newer controller may have written the document.
    """
    numbers = {name: value for name, value in meter.items() if isinstance(value, (int, float))}
    parts = [f"{numbers[name]:.3g} J {words}" for name, words in _PARTS if name in numbers]
    total = numbers.get("uncertainty_j")
    if parts and total is not None:
        yield f"uncertainty ± {total:.3g} J: {' + '.join(parts)}"
    elif parts:
        why = meter.get("uncertainty_unavailable")
        reason = why if isinstance(why, str) and why else "a part is unknown"
        yield f"uncertainty unknown: {reason}; known parts: {' + '.join(parts)}"
    if {"offset_s", "offset_uncertainty_s"} <= numbers.keys():
        yield (
            f"clocks aligned by {meter.get('alignment')}: meter minus device"
            f" {numbers['offset_s']:.3f} ± {numbers['offset_uncertainty_s']:.3g} s"
        )
    if {"peak_w", "longest_gap_s"} <= numbers.keys():
        yield (
            f"peak {numbers['peak_w']:.4g} W; longest time without a reading"
            f" {numbers['longest_gap_s']:.3g} s"
        )
    if {"idle_w", "energy_above_idle_j"} <= numbers.keys():
        above = numbers["energy_above_idle_j"]
        yield f"idle {numbers['idle_w']:.4g} W; {above:.4g} J above the idle power"
    before = meter.get("before")
    if isinstance(before, Mapping) and isinstance(before.get("energy_j"), (int, float)):
        yield f"the device measured {before['energy_j']:.4g} J, by {before.get('energy_source')}"
