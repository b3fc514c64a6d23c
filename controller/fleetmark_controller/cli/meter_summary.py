"""Lines that show how an external power meter measured the energy of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def meter_lines(meter: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about the document of a meter, column `energy_meter`."""
    parts = [
        f"{meter['alignment_j']:.3g} J by the alignment",
        f"{meter['sampling_j']:.3g} J by the sampling",
    ]
    if meter["meter_j"] is None:
        parts.append("unknown by the meter (--meter-accuracy)")
    else:
        parts.append(f"{meter['meter_j']:.3g} J by the meter")
    total = meter["uncertainty_j"]
    bound = "at least" if total is None else f"± {total:.3g} J:"
    yield f"uncertainty {bound} {' + '.join(parts)}"
    yield (
        f"clocks aligned by {meter['alignment']}: meter minus device {meter['offset_s']:.3f}"
        f" ± {meter['offset_uncertainty_s']:.3g} s"
    )
    gap_s = meter["longest_gap_s"]
    yield f"peak {meter['peak_w']:.4g} W; longest time without a reading {gap_s:.3g} s"
    if meter["idle_w"] is not None:
        above = meter["energy_above_idle_j"]
        yield f"idle {meter['idle_w']:.4g} W; {above:.4g} J above the idle power"
    before = meter.get("before")
    if isinstance(before, Mapping) and before.get("energy_j") is not None:
        yield f"the device measured {before['energy_j']:.4g} J, by {before['energy_source']}"
