"""Logs of power meters: known formats, named columns, damaged and hostile files."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.evaluation.power_meter import reader
from fleetmark_controller.evaluation.power_meter.headings import checked_factor, stated_unit
from fleetmark_controller.evaluation.power_meter.options import (
    POWER_UNITS,
    MeterOptions,
    check_options,
    parse_clock_offset,
)
from fleetmark_controller.evaluation.power_meter.reader import MeterLog
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_core.errors import FleetmarkError
from tests.support.meter_logs import Floats

NAMED = MeterOptions(time_column="t", power_column="p", time_format="relative_s")
PRODUCT = MeterOptions(
    time_column="t", voltage_column="u", current_column="i", time_format="relative_s"
)
FORMATS = {
    "monsoon-powertool": (
        "Time (s),Main Avg Power (mW)\n0.0,1500\n0.0002,2500\n",
        [(0.0, 1.5), (0.0002, 2.5)],
    ),
    "monsoon-powertool without power": (
        "Time (s),Main Avg Current (mA),Main Avg Voltage (V)\n0.0,300,5\n1.0,500,5\n",
        [(0.0, 1.5), (1.0, 2.5)],
    ),
    "monsoon-python": (
        "Time(ms),Main(mA),Main Voltage(V),\n0.5,300.0,5.0,\n0.5,500.0,5.0,\n0.6,400.0,5.0,\n",
        [(0.5, 2.0), (0.6, 2.0)],
    ),
    "joulescope": (
        "#time,current,voltage,power,charge,energy\n0.0,0.4,4.7,1.9,0,0\n0.5,0.4,4.7,2.0,0.2,0.9\n",
        [(0.0, 1.9), (0.5, 2.0)],
    ),
    "fnirsi-logger": (
        "\ntimestamp sample_in_packet voltage_V current_A dp_V dn_V temp_C_ema energy_Ws"
        " capacity_As\n"
        "1657568326.775 0 5.00000 0.30000 1.184 1.031 30.500 0.000000 0.000001\n"
        "1657568326.805 1 5.00000 0.50000 1.184 1.033 30.500 0.000000 0.000001\n"
        "1657568326.784 0 5.00000 0.50000 1.184 1.033 30.500 0.000000 0.000001\n"
        "1657568326.815 0 5.00000 0.10000 1.184 1.033 30.500 0.000000 0.000001\n",
        [(1657568326.775, 1.5), (1657568326.805, 2.5), (1657568326.815, 0.5)],
    ),
    "rd-usb": (
        "Time,Voltage (V),Current (A),Power (W),Temperature (°C),Unix time\r\n"
        "2026-11-23 20:53:04,5.1,0.3,1.53,30,1790000000\r\n"
        "2026-11-23 20:53:05,5.1,0.4,2.04,30,1790000001\r\n",
        [(1790000000.0, 1.53), (1790000001.0, 2.04)],
    ),
}


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "meter.log"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def readings(path: Path, options: MeterOptions) -> list[tuple[float, float]]:
    """All readings of a log."""
    return [
        (float(at), float(watts))
        for times, power in MeterLog(path, options).chunks()
        for at, watts in zip(times, power, strict=True)
    ]


def read(
    folder: Path, text: str | bytes, options: MeterOptions = NAMED
) -> list[tuple[float, float]]:
    return readings(written(folder, text), options)


@pytest.mark.parametrize("name", FORMATS)
def test_known_formats(tmp_path: Path, name: str) -> None:
    text, expected = FORMATS[name]
    path = written(tmp_path, text)
    for options in (MeterOptions(), MeterOptions(log_format=name.partition(" ")[0])):
        log = MeterLog(path, options)
        assert log.layout.log_format == name.partition(" ")[0]
        assert readings(path, options) == [
            (pytest.approx(at, abs=1e-6), pytest.approx(watts)) for at, watts in expected
        ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
def test_named_columns_and_units(tmp_path: Path, delimiter: str) -> None:
    text = "\ufefft,u,i\n0,5000,200\n1,5000,300\n".replace(",", delimiter)
    options = MeterOptions(
        time_column="T",
        voltage_column="u",
        current_column="i",
        voltage_unit="mV",
        current_unit="mA",
        time_format="relative_ms",
    )
    assert read(tmp_path, text, options) == [
        (0.0, pytest.approx(1.0)),
        (0.001, pytest.approx(1.5)),
    ]


def test_columns_by_number_and_without_headings(tmp_path: Path) -> None:
    options = MeterOptions(time_column="#1", power_column="#3", time_format="relative_s")
    assert read(tmp_path, "0,x,1\n1,x,2\n", options) == [(0, 1), (1, 2)]
    assert read(tmp_path, "a comment\n\n0;9;1\n1;9;2\n", options) == [(0, 1), (1, 2)]


@pytest.mark.parametrize(
    ("stamps", "utc_offset_s"),
    [
        (("2026-09-21T12:53:20.5Z", "2026-09-21T12:53:21,500000Z"), None),
        (("2026-09-21 14:53:20.5+02:00", "2026-09-21 14:53:21.5+0200"), None),
        (("2026-09-21 14:53:20.5", "2026-09-21 14:53:21.5"), 7200.0),
    ],
)
def test_iso_times(tmp_path: Path, stamps: tuple[str, str], utc_offset_s: float | None) -> None:
    options = MeterOptions(
        time_column="t", power_column="p", time_format="iso", utc_offset_s=utc_offset_s
    )
    text = f't;p\n"{stamps[0]}";1\n"{stamps[1]}";2\n'
    assert read(tmp_path, text, options) == [(1789995200.5, 1.0), (1789995201.5, 2.0)]


def test_a_time_without_an_offset_to_utc_is_refused(tmp_path: Path) -> None:
    options = MeterOptions(time_column="t", power_column="p", time_format="iso")
    with pytest.raises(IngestError, match=r"line 2: .* --utc-offset"):
        read(tmp_path, "t,p\n2026-09-21 14:53:20,1\n", options)


def test_the_start_of_relative_times(tmp_path: Path) -> None:
    options = MeterOptions(
        time_column="t", power_column="p", time_format="relative_s", log_start_unix_ns=10**18
    )
    path = written(tmp_path, "t,p\n1,1\n2,1\n")
    assert readings(path, options) == [(1e9 + 1, 1), (1e9 + 2, 1)]
    assert MeterLog(path, options).is_absolute
    assert not MeterLog(path, NAMED).is_absolute


BAD = {
    "a NaN": ("t,p\n0,1\n1,nan\n", "not a finite number in line 3"),
    "an infinity": ("t,p\n0,1\n\n1,inf\n", "not a finite number in line 4"),
    "a text": ("t,p\n0,1\n1,--\n", "bad value in line 3: '--' is not a number"),
    "a decimal comma": ("t;p\n0;1\n1;2,5\n", "bad value in line 3: '2,5' is not a number"),
    "a wrapped number": ("t,p\n0,np.float64(1.5)\n", "bad value in line 2"),
    "a missing column": ("t,p\n0,1\n1\n", "fewer than 2 columns in line 3"),
    "a clock that goes backwards": ("t,p\n1,1\n0.5,1\n", "clock that goes backwards by 0.5 s"),
    "an impossible power": ("t,p\n0,1e9\n", "impossible power in line 2"),
    "an impossible product": ("t,p\n0,1e308\n", "impossible power in line 2"),
    "Unix times as relative": ("t,p\n1790000000,1\n", "--time-format unix_s"),
    "no such column": ("a,b\n0,1\n", "no line with the columns 't', 'p'"),
    "two such columns": ("t,p,p\n0,1,2\n", "2 columns 'p'; give the number of one, such as #2"),
    "nothing": ("", "no line with the columns"),
    "a long line": ("t,p\n" + "1" * 9000, "more than 8192 bytes in line 2"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_logs_name_the_line(tmp_path: Path, name: str) -> None:
    text, message = BAD[name]
    with pytest.raises(IngestError) as error:
        read(tmp_path, text)
    assert message in error.value.what


def test_an_unknown_log_names_the_formats(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"no headings of a known format.*'hello'.*--time-column"):
        read(tmp_path, "hello\nworld\n", MeterOptions())
    with pytest.raises(IngestError, match=r"not of format rd-usb.*Unix time, Power"):
        read(tmp_path, "hello\nworld\n", MeterOptions(log_format="rd-usb"))


def test_a_step_back_that_the_program_does_not_cause_is_refused(tmp_path: Path) -> None:
    text = "timestamp voltage_V current_A\n1000.0 5 1\n999.8 5 1\n"
    with pytest.raises(IngestError, match=r"backwards by 0\.2 s near line 3"):
        read(tmp_path, text, MeterOptions())


def test_text_after_the_last_newline_does_not_count(tmp_path: Path) -> None:
    assert read(tmp_path, "t,p\n0,10\n1,10\n2,1") == [(0, 10), (1, 10)]


def test_too_large_a_file_and_too_many_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "t,p\n" + "".join(f"{n},1\n" for n in range(100)))
    monkeypatch.setattr(reader, "MAX_ROWS", 50)
    with pytest.raises(IngestError, match="more than 50 rows"):
        readings(path, NAMED)
    monkeypatch.setattr(reader, "MAX_LOG_BYTES", 100)
    with pytest.raises(IngestError, match="larger than"):
        MeterLog(path, NAMED)
    with pytest.raises(IngestError, match="cannot be read"):
        MeterLog(tmp_path, NAMED)


@given(
    steps=st.lists(st.floats(1e-6, 100), min_size=1, max_size=60),
    power=st.lists(st.floats(0, 1000), min_size=60, max_size=60),
    block=st.integers(5, 200),
    blank=st.booleans(),
)
def test_rows_are_read_as_written_whatever_the_blocks(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[float],
    power: list[float],
    block: int,
    blank: bool,
) -> None:
    times: Floats = np.cumsum(steps)
    rows = list(zip(times.tolist(), power, strict=False))
    ends = "\r\n" if blank else "\n"
    text = f"t,p{ends}" + "".join(f"{at!r},{watts!r}{ends}{ends * blank}" for at, watts in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_BLOCK_BYTES", block)
        found = read(tmp_path_factory.mktemp("log"), text)
    assert found == [(at, pytest.approx(watts, rel=1e-12)) for at, watts in rows]


@given(
    groups=st.lists(st.lists(st.floats(0, 100), min_size=1, max_size=5), min_size=1, max_size=15),
    block=st.integers(5, 100),
)
def test_readings_with_one_time_are_averaged(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[float]], block: int
) -> None:
    text = "t,p\n" + "".join(
        f"{at},{watts!r}\n" for at, group in enumerate(groups) for watts in group
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_BLOCK_BYTES", block)
        found = read(tmp_path_factory.mktemp("log"), text)
    assert [at for at, _ in found] == list(range(len(groups)))
    assert [watts for _, watts in found] == pytest.approx(
        [sum(group) / len(group) for group in groups], abs=1e-9
    )


@given(data=st.binary(max_size=400), headed=st.booleans())
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, headed: bool) -> None:
    text = b"t,p\n" + data if headed else data
    for options in (NAMED, MeterOptions()):
        try:
            found = read(tmp_path_factory.mktemp("log"), text, options)
        except IngestError:
            continue
        assert all(np.isfinite(at) and np.isfinite(watts) for at, watts in found)
        assert all(a[0] < b[0] for a, b in itertools.pairwise(found))


@given(text=st.text(alphabet="0123456789.,-+e\n \t\"';naif#", max_size=200))
def test_any_rows(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    try:
        found = read(tmp_path_factory.mktemp("log"), f"t,p\n{text}\n")
    except IngestError:
        return
    assert all(np.isfinite(at) and abs(watts) < reader.MOST_W for at, watts in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1.5±0.1", (1.5, 0.1)), ("-2 ± 0", (-2, 0)), ("1+-0.5", (1, 0.5)), ("0+/-1", (0, 1)),
     ("3", (3, None))],
)  # fmt: skip
def test_clock_offsets(text: str, expected: tuple[float, float | None]) -> None:
    assert parse_clock_offset(text) == expected


@pytest.mark.parametrize("text", ["", "±1", "x±1", "1±x", "1±-1", "nan", "1±nan", "inf"])
def test_what_is_no_clock_offset(text: str) -> None:
    with pytest.raises(ValueError):
        parse_clock_offset(text)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        (MeterOptions(clock_offset_s=0.0), "--clock-offset"),
        (MeterOptions(clock_offset_s=float("nan"), clock_uncertainty_s=0.0), "--clock-offset"),
        (MeterOptions(clock_offset_s=0.0, clock_uncertainty_s=-1.0), "--clock-offset"),
        (MeterOptions(accuracy_percent=101.0), "--meter-accuracy"),
        (MeterOptions(meter="a\nb"), "--meter"),
        (MeterOptions(power_unit="kW"), "--power-unit"),
        (MeterOptions(scope=""), "--scope"),
        (MeterOptions(time_column="t"), "--time-column"),
        (MeterOptions(time_column="t", power_column="p"), "--time-format"),
        (MeterOptions(time_column="t", voltage_column="u"), "--voltage-column"),
        (MeterOptions(power_column="p", voltage_column="u"), "--power-column"),
        (MeterOptions(log_start_unix_ns=-1), "--log-start"),
        (MeterOptions(power_unit="mW"), "--power-unit"),
        (MeterOptions(log_format="rd-usb", power_unit="mW"), "--power-unit"),
        (MeterOptions(log_format="rd-usb", current_unit="mA"), "--current-unit"),
        (replace(NAMED, current_unit="mA"), "--current-unit"),
        (replace(NAMED, voltage_unit="mV"), "--voltage-unit"),
        (replace(PRODUCT, power_unit="mW"), "--power-unit"),
        (replace(NAMED, utc_offset_s=3600.0), "--utc-offset"),
        (replace(NAMED, time_format="unix_s", utc_offset_s=3600.0), "--utc-offset"),
        (MeterOptions(log_format="rd-usb", utc_offset_s=0.0), "--utc-offset"),
        (replace(NAMED, time_format="iso", log_start_unix_ns=10**18), "--log-start"),
        (replace(NAMED, time_format="unix_ms", log_start_unix_ns=10**18), "--log-start"),
    ],
)
def test_options_that_do_not_fit(options: MeterOptions, where: str) -> None:
    with pytest.raises(FleetmarkError) as error:
        check_options(options)
    assert error.value.where == where


@pytest.mark.parametrize(
    ("heading", "unit"),
    [
        ("Power (mW)", "mW"), ("current_mA", "mA"), ("I [uA]", "uA"), ("Power(\u00b5W)", "uW"),
        ("Power (\u03bcW)", "uW"), ("voltage_V", "V"), ("P in kW", "kW"), ("milliamps", "mA"),
        ("Load power, watts", "W"), ("Power (mW) avg", "mW"), ("power", ""), ("p", ""), ("W", ""),
        ("mean", ""), ("", ""), ("(mW", ""), ("DRAM", ""),
    ],
)  # fmt: skip
def test_units_of_headings(heading: str, unit: str) -> None:
    assert stated_unit(heading) == unit


@given(st.text(max_size=60), st.sampled_from(["", *POWER_UNITS]))
def test_any_heading_has_a_factor_or_names_its_unit(heading: str, unit: str) -> None:
    try:
        factor = checked_factor("power", heading, unit, POWER_UNITS)
    except IngestError as error:
        assert stated_unit(heading) in error.what and "--power-column" in error.what
    else:
        assert factor == POWER_UNITS[unit or "W"]


@pytest.mark.parametrize("heading", ["Power (mW)", "power_mW", "power [mW]", "milliwatts"])
def test_the_unit_of_a_heading_must_be_stated(tmp_path: Path, heading: str) -> None:
    text = f"t,{heading}\n0,1500\n1,2500\n"
    named = replace(NAMED, power_column=heading)
    numbered = replace(NAMED, time_column="#1", power_column="#2")
    for options in (named, numbered, replace(named, power_unit="uW")):
        with pytest.raises(IngestError, match=r"whose unit is mW.*state --power-unit mW"):
            read(tmp_path, text, options)
    for options in (named, numbered):
        assert read(tmp_path, text, replace(options, power_unit="mW"))[0] == (0, 1.5)


@pytest.mark.parametrize(
    ("heading", "message"),
    [("P (kW)", "kW; that is not supported"), ("I (mA)", "mA; that is no unit of power")],
)
def test_a_heading_with_a_unit_that_no_option_has(
    tmp_path: Path, heading: str, message: str
) -> None:
    with pytest.raises(IngestError) as error:
        read(tmp_path, f"t,{heading}\n0,1\n", replace(NAMED, power_column=heading))
    assert message in error.value.what


def test_units_of_voltage_and_current(tmp_path: Path) -> None:
    text = "t,U (mV),rail_A\n0,5000,2\n"
    options = replace(PRODUCT, voltage_column="u (mv)", current_column="rail_A")
    with pytest.raises(IngestError, match="state --voltage-unit mV"):
        read(tmp_path, text, options)
    assert read(tmp_path, text, replace(options, voltage_unit="mV")) == [(0, 10)]


def test_a_channel_that_is_named_like_a_unit(tmp_path: Path) -> None:
    assert read(tmp_path, "t,rail_A\n0,2\n", replace(NAMED, power_column="rail_A")) == [(0, 2)]


def test_the_start_of_a_log_with_absolute_times_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"absolute times \(unix_s\).*--log-start"):
        read(tmp_path, FORMATS["rd-usb"][0], MeterOptions(log_start_unix_ns=10**18))
