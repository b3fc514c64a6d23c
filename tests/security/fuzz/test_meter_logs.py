"""Damaged logs of power meters: figures that are possible, or a refusal in one line."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.evaluation.power_meter.meter_energy import evaluate
from fleetmark_controller.evaluation.power_meter.options import CLOCK, MARKER, MeterOptions
from fleetmark_controller.loadgen.errors import IngestError
from tests.security.fuzz.damage import damaged
from tests.support.meter_logs import NOON_S, run_times

RUN = run_times(1, 4, 0.2)
_STEPS = [(n / 4, 5.0 if 9 <= n / 4 <= 14.2 else 2.0) for n in range(96)]
_START_S = NOON_S - 9
VALID = tuple(
    text.encode()
    for text in (
        "Time (s),Main Avg Power (mW)\n" + "".join(f"{t},{w * 1000}\n" for t, w in _STEPS),
        "Time(ms),Main(mA),Main Voltage(V),\n"
        + "".join(f"{t},{w * 200},5.0,\n" for t, w in _STEPS),
        "#time,current,voltage,power\n" + "".join(f"{t},1,5,{w}\n" for t, w in _STEPS),
        "timestamp voltage_V current_A\n"
        + "".join(f"{_START_S + t:.3f} 5.0 {w / 5}\n" for t, w in _STEPS),
        "Unix time,Power (W)\n" + "".join(f"{_START_S + t:.3f},{w}\n" for t, w in _STEPS),
    )
)
OPTIONS = (
    MeterOptions(align=MARKER),
    MeterOptions(align=CLOCK, clock_offset_s=0.0, clock_uncertainty_s=0.1, accuracy_percent=1.0),
    MeterOptions(align=MARKER, clock_offset_s=0.0, clock_uncertainty_s=5.0),
)


def read(data: bytes, options: MeterOptions) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "meter.log"
        path.write_bytes(data)
        try:
            found = evaluate(path, options, RUN)
        except IngestError as error:
            assert "\n" not in error.what and len(error.what) < 1000
            return
    assert 0 < found.energy_j < math.inf
    assert found.readings >= 3
    assert all(0 <= part < math.inf for part in (found.alignment_j, found.sampling_j or 0.0))


@pytest.mark.fuzz("logs of power meters")
@given(damaged(*VALID), st.sampled_from(OPTIONS))
def test_damaged_logs(data: bytes, options: MeterOptions) -> None:
    read(data, options)


def test_the_undamaged_logs_are_read() -> None:
    for data in VALID[3:]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "meter.log"
            path.write_bytes(data)
            for options in OPTIONS:
                found = evaluate(path, options, RUN)
                assert found.energy_j == pytest.approx(20, abs=0.1)
