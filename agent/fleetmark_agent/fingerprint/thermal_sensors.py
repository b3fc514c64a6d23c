"""Temperature sensors, and which of them belong to the SoC, by their names.

A device has sensors in thermal zones and in hwmon chips. Many of them say nothing about the
temperature of the processor: those of batteries, radios, disks and the circuit board, and some that
are stuck. A sensor counts if its name is known to be of the SoC; if no such sensor gives a reading,
sensors with unknown names count, and without these, the firmware's `acpitz`. Sensors that never
change are found only over time: `SensorHistory`.

Names are those of the kernel's drivers and device trees (`type` of a thermal zone, `name` and
`temp*_label` of a hwmon chip).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_core.shared_repr import SharedRepr

LOWEST_C, HIGHEST_C = -40.0, 125.0
"""Range in which an SoC can run; an absent sensor reads -274, -256, 127.9 or 255."""
WRONG_UNIT_C = 1.25
"""Distance from 0 °C up to which a reading may be in another unit.

The kernel's unit is a thousandth of a degree. Some drivers give whole or tenths of a degree: 125 °C
is then 125 or 1250, and reads as 0.125 or 1.25 °C. A sensor without a value often reads 0.
"""
STUCK_S, STUCK_LOOKS = 30.0, 10
"""Time and readings after which an unchanged sensor is stuck, if others changed meanwhile.

Under load, a sensor is also stuck if no sensor changed in twice the time and readings.
"""
MOVED_C = 2.0
"""Change in °C from which on other sensors count as changed."""
_MOST_SENSORS, _MOST_USED = 256, 64
_NAME_LENGTH = 60

# Text, not compiled patterns: an idle agent holds this module, and needs them only to find sensors.
_FOREIGN = (
    (r"pmic|\bpm[a-z]{0,3}\d|\b(rk8|axp|tps|max77|bd7)\d*\b|\bvrm?\b", "a power regulator"),
    (r"batt|\bbat\d*\b|\bbms\b|charg|chg|\bbq\d+|fuel", "a battery or its charger"),
    (
        r"wifi|wlan|wlp\d|\bath\d|\bmt7\d|\bwmt\b|bluetooth|modem|\bmdm|\bphy\d*\b|\beth\d*\b|\bsdr"
        r"|r8169|\benp?\d|\bmlx\d|\bigc\b|\bixgbe\b|\brtl?8\d|\bpa\d*\b|mmw|\bqfe|wtr",
        "a radio or a network card",
    ),
    (r"nvme|drivetemp|\bssd|\bhdd|\bsd[a-z]?\b|emmc|\bufs\b|disk", "a disk"),
    (r"jc42|spd5118|dimm|\bl?p?ddr\d*\b|\bmem\b|tmem|\bdram", "memory"),
    (r"\brtc|\bds\d{4}|\brv\d{4}|\bpcf\d", "a clock chip"),
    (
        r"skin|quiet|\bxo\b|ambient|board|tskn|\bcase\b|\blcd\b|display|\bcam|flash|\busb|conn\b"
        r"|\bsys|\baux ?tin|\bnct\d|\bit8\d|\bw83|\bf71|asus|dell|thinkpad|applesmc|\bsen\d|\bntc"
        r"|\blm\d+|\btmp\d|\badt7|\bsht\d|\bbm[ep]\d|\bsi70|\bhtu\d|\baht\d|\bmcp9|\bsurface\b"
        r"|backlight|\bled|\bdc ?in\b|\bpsu|\bpwr|\bpower|\bina\d|\bina2|\bsec\b|\brp1\b|fan"
        r"|\bnpcm",
        "the board's, not the SoC's",
    ),
    (r"\bpch|int3400|\bchipset", "the chipset's, not the CPU's"),
    (r"\bamdgpu|\bradeon|\bnouveau|\bnvidia\b|\bxe\b", "a graphics card's"),
)
_SOC = (
    r"cpu|\bsoc|x86 pkg|coretemp|k10temp|k8temp|zenpower|bcm2\d|\btj\b|\bpackage|\bpkg"
    r"|\bcore ?\d|cluster|\bbig|\blittle|\bmid\b|\bgpu|\bnpu|\bapc?\d*\b|\bao\b|\baux\b|\bpll\b"
    r"|\bcv\d|\baoss|\bcenter|tsens|exynos|\btdie|\btctl|tdiode|\btcpu|\bb0d4|\bmali|\bg3d\b|\bisp\b"
    r"|\bdsp|\bvpu\b|\bve\b|\bnsp|\bmain\d|\bmcu\b|\bwkup|\bc7x|scpi|scmi|xgene|\btmu"
    r"|\bimx|armada|\bap806|\bcp\d|cdsp|\bddrss|\btpu\b|\bcalibrated"
)
_OFTEN_CONSTANT = r"\bacpitz\b"
"""ACPI's thermal zone: the value is the firmware's, and often a constant."""


@dataclass(frozen=True, repr=False)
class ThermalSensor(SharedRepr):
    """A temperature sensor.

    Args:
        name: its unique name.
        path: the file from which it is read.
        foreign: what it measures if its name says that it is not the SoC; else empty.
        is_soc: whether its name says that it is the SoC's.
        is_last_resort: whether it counts only if there is no other sensor.
    """

    name: str
    path: Path
    foreign: str = ""
    is_soc: bool = False
    is_last_resort: bool = False

    def celsius(self) -> float | None:
        """Read the sensor; None if it gives no number."""
        value = sysfs.whole(self.path)
        return None if value is None or abs(value) > 10**9 else value / 1000


@dataclass(frozen=True, repr=False)
class SensorChoice(SharedRepr):
    """The sensors that count, and the reason why each of the others does not."""

    used: tuple[ThermalSensor, ...]
    left_out: Mapping[str, str]


def find_sensors(root: Path = Path("/")) -> list[ThermalSensor]:
    """Return the sensors of thermal zones and hwmon chips, each with a unique name."""
    zones = list(_zones(root))
    shown = {_words(name) for name, _ in zones}
    # The kernel also shows a thermal zone as a hwmon chip.
    chips = [(name, path) for chip, name, path in _chips(root) if _words(chip) not in shown]
    real = {name.rpartition(" ")[0] for name, _ in chips if name.endswith(" Tdie")}
    found: dict[str, ThermalSensor] = {}
    for name, path in [*zones, *chips][:_MOST_SENSORS]:
        foreign = _foreign(name)
        chip, _, label = name.rpartition(" ")
        if label == "Tctl" and chip in real:
            # Tctl has an offset for fan control; see the kernel's documentation of k10temp.
            foreign = "a value for the fan; Tdie is the temperature"
        is_soc = not foreign and re.search(_SOC, _words(name)) is not None
        is_last_resort = re.search(_OFTEN_CONSTANT, _words(name)) is not None
        numbered = (name if n == 1 else f"{name} #{n}" for n in count(1))
        own_name = next(candidate for candidate in numbered if candidate not in found)
        found[own_name] = ThermalSensor(own_name, path, foreign, is_soc, is_last_resort)
    return list(found.values())


def choose_sensors(sensors: Sequence[ThermalSensor]) -> SensorChoice:
    """Read each sensor once, and select by name and by plausible reading."""
    left_out: dict[str, str] = {}
    usable: list[ThermalSensor] = []
    for sensor in sensors:
        why = f"it is {sensor.foreign}" if sensor.foreign else _why_no_reading(sensor.celsius())
        if why:
            left_out[sensor.name] = why
        else:
            usable.append(sensor)
    known = [sensor for sensor in usable if sensor.is_soc]
    for sensor in usable if known else ():
        if not sensor.is_soc:
            left_out[sensor.name] = "its name does not say that it is the SoC's, others' do"
    unknown = [sensor for sensor in usable if not sensor.is_last_resort]
    for sensor in usable if unknown and not known else ():
        if sensor.is_last_resort:
            left_out[sensor.name] = "it is often a constant, and there are other sensors"
    used = (known or unknown or usable)[:_MOST_USED]
    return SensorChoice(tuple(used), left_out)


def possible_c(value: float | None) -> float | None:
    """Return the reading if it can be a temperature of a running SoC, in the right unit."""
    possible = value is not None and LOWEST_C <= value <= HIGHEST_C and abs(value) > WRONG_UNIT_C
    return value if possible else None


def hottest_c(readings: Mapping[str, float | None], without: Iterable[str] = ()) -> float | None:
    """Return the highest plausible reading of the sensors not in `without`; None without any."""
    out = set(without)
    found = (possible_c(value) for name, value in readings.items() if name not in out)
    return max((value for value in found if value is not None), default=None)


@dataclass(repr=False)
class _Span(SharedRepr):
    """Readings of one sensor: first and last time, number, and lowest and highest value."""

    first_s: float
    last_s: float
    lowest_c: float
    highest_c: float
    looks: int = 1


class SensorHistory:
    """Record of the range of each sensor's readings, to find sensors that never change."""

    def __init__(self) -> None:
        self._spans: dict[str, _Span] = {}

    def add(self, at_s: float, readings: Mapping[str, float | None]) -> None:
        """Add one reading of all sensors; `at_s` must not decrease."""
        for name, reading in readings.items():
            value, span = possible_c(reading), self._spans.get(name)
            if value is None:
                continue
            if span is None:
                if len(self._spans) < _MOST_SENSORS:
                    self._spans[name] = _Span(at_s, at_s, value, value)
                continue
            span.last_s, span.looks = at_s, span.looks + 1
            span.lowest_c = min(span.lowest_c, value)
            span.highest_c = max(span.highest_c, value)

    def stuck(self, *, under_load: bool = False) -> dict[str, str]:
        """Return the sensors that never changed, with the reason.

        Args:
            under_load: whether the device worked meanwhile. An idle device may keep its temperature
                for a long time, so a sensor is then stuck only if another one changed.
        """
        spans = self._spans.values()
        most = max((span.highest_c - span.lowest_c for span in spans), default=0.0)
        moved = most >= MOVED_C
        patience = 1 if moved else 2
        found: dict[str, str] = {}
        for name, span in self._spans.items():
            span_s = span.last_s - span.first_s
            if (
                (moved or under_load)
                and span.lowest_c == span.highest_c
                and span_s >= patience * STUCK_S
                and span.looks >= patience * STUCK_LOOKS
            ):
                others = f", while others changed by {most:.1f} °C" if moved else ""
                found[name] = f"it read {span.lowest_c:.1f} °C for {span_s:.0f} s{others}"
        return found


def stuck_sensors(
    looks: Iterable[tuple[float, Mapping[str, float | None]]], *, under_load: bool = False
) -> dict[str, str]:
    """Return the sensors that never changed in these readings: (seconds, readings by sensor)."""
    history = SensorHistory()
    for at_s, readings in looks:
        history.add(at_s, readings)
    return history.stuck(under_load=under_load)


def _why_no_reading(value: float | None) -> str:
    if value is None:
        return "it gives no reading"
    if abs(value) <= WRONG_UNIT_C:
        return f"it reads {value * 1000:.0f}: too close to zero for thousandths of a degree"
    return "" if possible_c(value) is not None else f"it reads {value:g} °C, which cannot be"


def _foreign(name: str) -> str:
    words = _words(name)
    return next((whose for pattern, whose in _FOREIGN if re.search(pattern, words)), "")


def _words(name: str) -> str:
    """Return the name in lower case, with one space for any other characters: `cpu thermal`."""
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


def _zones(root: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted((root / "sys/class/thermal").glob("thermal_zone*"), key=_by_number):
        if (path / "temp").exists():
            yield _shown(sysfs.text(path / "type"), path.name), path / "temp"


def _chips(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield the chip's name, the sensor's name and its file."""
    for folder in sorted((root / "sys/class/hwmon").glob("hwmon*"), key=_by_number):
        chip = _shown(sysfs.text(folder / "name"), folder.name)
        for path in sorted(folder.glob("temp*_input"), key=_by_number):
            channel = path.name.removesuffix("_input")
            label = _shown(sysfs.text(folder / f"{channel}_label"), channel)
            yield chip, f"{chip} {label}", path


def _shown(name: str | None, otherwise: str) -> str:
    return sysfs.printable(name, _NAME_LENGTH) or otherwise


def _by_number(path: Path) -> tuple[int, str]:
    digits = "".join(letter for letter in path.name if letter.isascii() and letter.isdecimal())
    return int(digits[:9] or 0), path.name
