"""Power and energy sensors of a device, found and read below a root folder.

| sensor | source | unit | scope |
|---|---|---|---|
| RAPL | /sys/class/powercap/intel-rapl:* | counter, µJ, wraps | cpu, memory |
| INA219, INA226, INA260, INA3221, ACPI meter | /sys/class/hwmon | µW, or mA × mV | board, part |
| Jetson rails of JetPack 4 | /sys/bus/i2c/drivers/ina3221x | mW | board, part |
| sum of the rails that supply a Jetson AGX module | the hwmon rails by label | µW | module |
| PMIC of a Raspberry Pi 5 | `vcgencmd pmic_read_adc` | µW, a sum of rails | soc |
| battery | /sys/class/power_supply | µW, or µA × µV, while it discharges | battery |
| NVIDIA | libnvidia-ml, if it is installed | counter, mJ, or mW | gpu |

A rail has the scope `board` (the whole device) if its label says that it is the input, if it is the
only one of its kind, or if the agent's configuration names it. The controller interprets the
readings: this module only passes on the kernel's figures. Loaded only beside a job.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_agent.fingerprint.power_supplies import own_supplies
from fleetmark_agent.runner.telemetry import nvml, raspberry_pmic
from fleetmark_agent.runner.telemetry.power_source import (
    BATTERY,
    BOARD,
    COUNTER,
    CPU,
    GPU,
    MEMORY,
    MODULE,
    PART,
    POWER,
    PowerSupply,
)

_INPUT = re.compile(r"(^|[^A-Z])(VDD_IN|VIN|POM_5V_IN|\w*_5V_IN|INPUT)$")
_JETSON_CHIP = "ina3221"
_JETSON_CHANNELS = ("1", "2", "3")
"""Further channels of an INA3221 are shunt voltages, and 7 is their sum."""
_NOT_CONNECTED = "NC"
_MODULE_RAILS = (
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
"""Rails that together supply a module that has none for its input: AGX Orin, Thor, AGX Xavier.

VDDQ_VDD2_1V8AO of the AGX Orin is not among them: VIN_SYS_5V0 supplies it.
"""
_ONE_CHANNEL = ("ina219", "ina220", "ina226", "ina230", "ina231", "ina237", "ina238", "ina260")
_METERS = ("power_meter",)
_GPUS = ("amdgpu",)
_RAPL_SCOPES = {"package": CPU, "dram": MEMORY}


@dataclass(frozen=True)
class PowerSensor:
    """All sensors that can be read now, and the reason why each of the others cannot."""

    sources: tuple[PowerSupply, ...]
    unavailable: tuple[str, ...]


def find(root: Path = Path("/"), input_name: str = "") -> PowerSensor:
    """Find the sensors. `input_name` is the one that measures the whole device, if known."""
    sources: list[PowerSupply] = []
    unavailable: list[str] = []
    kinds = (_rapl, _hwmon, _jetson_rails, _batteries)
    for kind in kinds:
        for source in kind(root):
            if source.read() is None and source.scope != BATTERY:
                unavailable.append(f"{source.name}: {_why_not(source, root)}")
            else:
                sources.append(source)
    sources.extend(_module_sum(sources))
    pmic, why = raspberry_pmic.source(root)
    if pmic is not None:
        sources.append(pmic)
    elif why:
        unavailable.append(f"{raspberry_pmic.NAME}: {why}")
    if root == Path("/"):
        sources.extend(nvml.sources())
    sources = _told_apart(sources)
    if input_name:
        named = [source.name for source in sources]
        if input_name in named:
            at = named.index(input_name)
            sources[at] = replace(sources[at], scope=BOARD)
        else:
            known = ", ".join(named) or "none"
            unavailable.append(f"{input_name}: no such sensor (there are: {known})")
    if not sources and not unavailable:
        unavailable.append("the device has no power or energy sensor")
    return PowerSensor(tuple(sources), tuple(unavailable))


def _told_apart(sources: list[PowerSupply]) -> list[PowerSupply]:
    """Return the sensors with unique names: repeated names get a number."""
    seen: dict[str, int] = {}
    found = []
    for source in sources:
        seen[source.name] = number = seen.get(source.name, 0) + 1
        found.append(source if number == 1 else replace(source, name=f"{source.name} #{number}"))
    return found


def _file(path: Path) -> Callable[[], int | None]:
    return lambda: sysfs.whole(path)


def _product(first: Path, second: Path) -> Callable[[], int | None]:
    def times() -> int | None:
        a, b = sysfs.whole(first), sysfs.whole(second)
        return None if a is None or b is None else a * b

    return times


def _rapl(root: Path) -> Iterator[PowerSupply]:
    # `intel-rapl-mmio` counts the same packages a second time. AMD's sensors are also called
    # intel-rapl.
    for path in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        name = sysfs.printable(sysfs.text(path / "name"), 60) or path.name
        scope = _RAPL_SCOPES.get(name.split("-")[0], PART)
        package = path.name.split(":")[1]
        shown = f"rapl {name}" if scope == CPU else f"rapl {name} {package}"
        wraps_at = sysfs.whole(path / "max_energy_range_uj")
        yield PowerSupply(shown, scope, COUNTER, 1e-6, _file(path / "energy_uj"), wraps_at)


def _hwmon(root: Path) -> Iterator[PowerSupply]:
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        name = sysfs.printable(sysfs.text(chip / "name"), 40) or chip.name
        found = list(_channels(chip))
        for label, unit, reader in found:
            scope = PART
            alone = len(found) == 1 and name in _ONE_CHANNEL
            if name in _METERS or alone or _is_input(label):
                scope = BOARD
            elif name in _GPUS:
                scope = GPU
            yield PowerSupply(f"{name} {label}".strip(), scope, POWER, unit, reader)


def _channels(chip: Path) -> Iterator[tuple[str, float, Callable[[], int | None]]]:
    """Yield each channel's label, unit in watts and reader: power, else current times voltage."""
    powers = sorted({*chip.glob("power[0-9]*_input"), *chip.glob("power[0-9]*_average")})
    numbers = set()
    for path in powers:
        number = re.sub(r"\D", "", path.name)
        if number not in numbers:
            numbers.add(number)
            yield _label(chip, number, "power"), 1e-6, _file(path)
    for current in sorted(chip.glob("curr[0-9]*_input")):
        number = re.sub(r"\D", "", current.name)
        voltage = chip / f"in{number}_input"
        if number in numbers or not voltage.exists():
            continue
        label = _label(chip, number, "in", "curr")
        is_rail = number in _JETSON_CHANNELS and label.upper() != _NOT_CONNECTED
        if is_rail or sysfs.text(chip / "name") != _JETSON_CHIP:
            # Milliamperes times millivolts.
            yield label, 1e-6, _product(current, voltage)


def _label(chip: Path, number: str, *kinds: str) -> str:
    for kind in kinds:
        label = sysfs.printable(sysfs.text(chip / f"{kind}{number}_label"), 40)
        if label:
            return label
    return f"channel {number}"


def _jetson_rails(root: Path) -> Iterator[PowerSupply]:
    for device in sorted(root.glob("sys/bus/i2c/drivers/ina3221x/*/iio:device*")):
        for path in sorted(device.glob("in_power[0-9]_input")):
            number = path.name[len("in_power")]
            rail = sysfs.printable(sysfs.text(device / f"rail_name_{number}"), 40)
            if rail and rail.upper() != _NOT_CONNECTED:
                scope = BOARD if _is_input(rail) else PART
                yield PowerSupply(f"ina3221x {rail}", scope, POWER, 1e-3, _file(path))


def _module_sum(sources: Sequence[PowerSupply]) -> Iterator[PowerSupply]:
    """Yield the sum of the rails that supply a module, if no rail is the input of the device."""
    rails = {
        source.name.removeprefix(f"{_JETSON_CHIP} "): source
        for source in sources
        if source.name.startswith(f"{_JETSON_CHIP} ")
    }
    if any(source.scope == BOARD for source in sources):
        return
    for names in _MODULE_RAILS:
        parts = [rails[name] for name in names if name in rails]
        if len(parts) == len(names):
            shown = f"{_JETSON_CHIP} {' + '.join(names)}"
            yield PowerSupply(shown, MODULE, POWER, 1e-6, _sum(parts))
            return


def _sum(parts: Sequence[PowerSupply]) -> Callable[[], int | None]:
    def total() -> int | None:
        values = [value for part in parts if (value := part.read()) is not None]
        return sum(values) if len(values) == len(parts) else None

    return total


def _batteries(root: Path) -> Iterator[PowerSupply]:
    for path in own_supplies(root):
        if sysfs.text(path / "type") != "Battery":
            continue
        if (path / "power_now").exists():
            reader, unit = _file(path / "power_now"), 1e-6
        elif (path / "current_now").exists() and (path / "voltage_now").exists():
            reader, unit = _product(path / "current_now", path / "voltage_now"), 1e-12
        else:
            continue
        yield PowerSupply(f"battery {path.name}", BATTERY, POWER, unit, _discharging(path, reader))


def _discharging(path: Path, reader: Callable[[], int | None]) -> Callable[[], int | None]:
    """Return a reader that gives no value while the battery charges.

    Power that flows into the battery is not what the device uses.
    """

    def value() -> int | None:
        found = reader() if sysfs.text(path / "status") == "Discharging" else None
        return None if found is None else abs(found)

    return value


def _is_input(label: str) -> bool:
    return bool(_INPUT.search(label.upper().replace(" ", "_")))


def _why_not(source: PowerSupply, root: Path) -> str:
    if source.name.startswith("rapl"):
        for path in (root / "sys/class/powercap").glob("intel-rapl:*/energy_uj"):
            with suppress(OSError):
                if not os.access(path, os.R_OK):
                    return "only root may read it (see chmod of its energy_uj)"
    return "it gives no reading"
