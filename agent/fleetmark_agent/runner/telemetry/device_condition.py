"""The device's condition: heat, clocks, throttling, swap and power mode as its kernel reports them.

Everything is read below a root folder, so that a test can supply another device's /sys and /proc,
and a container its host's. A missing figure is None, and `unavailable` gives the reason. Loaded
only beside a job.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_agent.fingerprint.cpu_quota import ThrottleCount, throttle_count
from fleetmark_agent.fingerprint.power_supplies import own_supplies
from fleetmark_agent.fingerprint.raspberry_pi import vcgencmd
from fleetmark_agent.fingerprint.thermal_sensors import hottest_c
from fleetmark_agent.runner.telemetry.temperature import Thermometer
from fleetmark_core import subprocesses

UNDER_VOLTAGE, CAPPED, THROTTLED, SOFT_LIMIT = 1, 2, 4, 8
"""The first four bits of column `throttled` are those of a Raspberry Pi's `get_throttled`."""
COUNTED, COOLING = 16, 32
"""COUNTED: a thermal counter of the CPU rose. COOLING: the kernel slows the CPU to cool it."""

_FIRMWARE = "sys/devices/platform/soc*/soc*:firmware/get_throttled"
_PROGRAM_LIMIT_S = 2.0
_ASK_AGAIN_S = 5.0
"""Pause between two calls of the program, which is costly; sticky bits cover the time between."""
_MODE_FILES = {
    "profile": "sys/firmware/acpi/platform_profile",
    "boost": "sys/devices/system/cpu/cpufreq/boost",
    "no_turbo": "sys/devices/system/cpu/intel_pstate/no_turbo",
}
_NVPMODEL = "var/lib/nvpmodel/status"


@dataclass(frozen=True)
class Reading:
    """A reading of the device. `throttled` sums the bits above: current, or since the last one.

    `quota` counts the periods of CPU quotas since the last reading; `temperatures_c` are the
    readings of the sensors that count, by their names; `temperature_c` is the highest of them.
    """

    temperature_c: float | None
    frequency_hz: int | None
    swap_bytes: int | None
    swapped_bytes: int | None
    throttled: int | None
    power_mode: str
    quota: ThrottleCount | None = None
    temperatures_c: Mapping[str, float | None] = field(default_factory=dict)


class Condition:
    """Reader of one device's condition. Files are found once, at creation."""

    def __init__(self, root: Path = Path("/")) -> None:
        """Find the files, and read the values with which later readings are compared."""
        self.root = root
        cpu = root / "sys/devices/system/cpu"
        self._policies = sorted(cpu.glob("cpufreq/policy[0-9]*")) or sorted(
            cpu.glob("cpu[0-9]*/cpufreq")
        )
        self._clocks = [path / "scaling_cur_freq" for path in self._policies]
        self._ceilings = [path / "scaling_max_freq" for path in self._policies]
        self._ceilings_hz = [sysfs.whole(path) for path in self._ceilings]
        self._counters = sorted(cpu.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
        self._counted = self._count()
        self._cooling = list(_cpu_coolers(root))
        self._firmware = next(root.glob(_FIRMWARE), None)
        self._program = vcgencmd(root)
        self._asked_s: float | None = None
        self._firmware_report = 0
        self._sticky: int | None = None
        self.thermometer = Thermometer(root)
        self._quota = throttle_count(root)
        supplies = list(own_supplies(root))
        self._batteries = [p for p in supplies if sysfs.text(p / "type") == "Battery"]
        self._mains = [p for p in supplies if sysfs.text(p / "type") in ("Mains", "USB")]

    def sample(self) -> Reading:
        """Read the device's condition now."""
        used, swapped = self._swap()
        temperatures = self.thermometer.read()
        return Reading(
            hottest_c(temperatures),
            self._clock(),
            used,
            swapped,
            self._slowed(),
            self._mode(),
            self._stopped(),
            temperatures,
        )

    def unavailable(self) -> dict[str, str]:
        """Return, by telemetry column, the reason why this device gives no reading."""
        now = self.sample()
        reasons = {
            "temperature_c": self._no_temperature(),
            "frequency_hz": "no cpufreq under /sys/devices/system/cpu",
            "swap_bytes": "no /proc/meminfo that names swap",
            "swapped_bytes": "no /proc/vmstat that counts swapped pages",
            "throttled": "no firmware, thermal counter, cooling device or cpufreq that tells of it",
        }
        found = {name: why for name, why in reasons.items() if getattr(now, name) is None}
        if now.quota is None:
            found["quota_throttled"] = "no control groups under /sys/fs/cgroup"
        if not now.power_mode:
            found["power_mode"] = "no governor, power model or power supply to read"
        return found

    def _no_temperature(self) -> str:
        left_out = self.thermometer.choice.left_out
        if not left_out:
            return "no sensor under /sys/class/thermal and /sys/class/hwmon"
        name, why = next(iter(left_out.items()))
        more = f", and {len(left_out) - 1} more" if len(left_out) > 1 else ""
        return f"no sensor of the SoC; {name}: {why}{more}"

    # --- CPU quota ---

    def _stopped(self) -> ThrottleCount | None:
        before, self._quota = self._quota, throttle_count(self.root)
        return None if self._quota is None else self._quota.since(before or self._quota)

    # --- clocks ---

    def _clock(self) -> int | None:
        """Return the clock of the fastest core; idle cores are clocked down."""
        found = [khz for path in self._clocks if (khz := sysfs.whole(path))]
        return max(found) * 1000 if found else None

    # --- throttling ---

    def _slowed(self) -> int | None:
        watched = [self._ceilings_hz, self._counters, self._cooling, self._firmware, self._program]
        if not any(watched):
            return None
        bits = self._by_firmware()
        lowered = (
            (now := sysfs.whole(path)) is not None and before is not None and now < before
            for path, before in zip(self._ceilings, self._ceilings_hz, strict=True)
        )
        bits |= CAPPED if any(lowered) else 0
        counted = self._count()
        bits |= COUNTED if counted > self._counted else 0
        self._counted = counted
        bits |= COOLING if any((sysfs.whole(path) or 0) > 0 for path in self._cooling) else 0
        return bits

    def _count(self) -> int:
        return sum(sysfs.whole(path) or 0 for path in self._counters)

    def _by_firmware(self) -> int:
        """Return the firmware's bits: current ones, and those that occurred since the last reading.

        The firmware's lower bits are current; the upper sixteen record events since boot.
        """
        if self._firmware is None and self._program is None:
            return 0
        now_s = time.monotonic()
        lately = self._asked_s is not None and now_s < self._asked_s + _ASK_AGAIN_S
        if self._firmware is None and lately:
            return self._firmware_report
        self._asked_s = now_s
        answer = self._ask()
        if answer is None:
            return 0
        happened = answer >> 16 & 0xF
        fresh = 0 if self._sticky is None else happened & ~self._sticky
        self._sticky = happened
        self._firmware_report = answer & 0xF
        return self._firmware_report | fresh

    def _ask(self) -> int | None:
        text = sysfs.text(self._firmware) if self._firmware is not None else None
        if text is None and self._program is not None:
            ran = subprocesses.run_tool([str(self._program), "get_throttled"], _PROGRAM_LIMIT_S)
            text = None if ran.fault else ran.output.strip().rpartition("=")[2]
        with suppress(ValueError):
            return int(text, 16) if text else None
        return None

    # --- memory ---

    def _swap(self) -> tuple[int | None, int | None]:
        sizes = _table(self.root / "proc/meminfo", ("SwapTotal:", "SwapFree:"))
        used = None
        if len(sizes) == 2:
            used = max(0, sizes["SwapTotal:"] - sizes["SwapFree:"]) * 1024
        pages = _table(self.root / "proc/vmstat", ("pswpin", "pswpout"))
        return used, sum(pages.values()) * mmap.PAGESIZE if len(pages) == 2 else None

    # --- power mode ---

    def _mode(self) -> str:
        """Return every setting that limits the speed of the device, as `name=value, …`."""
        parts = []
        governors = {sysfs.text(path / "scaling_governor") for path in self._policies} - {None}
        if governors:
            parts.append(f"governor={'+'.join(sorted(map(str, governors)))}")
        model = sysfs.text(self.root / _NVPMODEL)
        if model:
            parts.append(f"nvpmodel={model.split()[0].rpartition(':')[2]}")
        for name, path in _MODE_FILES.items():
            value = sysfs.printable(sysfs.text(self.root / path), 40)
            if value:
                parts.append(f"{name}={value}")
        source = self._power()
        if source:
            parts.append(f"power={source}")
        return ", ".join(parts)

    def _power(self) -> str:
        online = [sysfs.whole(path / "online") for path in self._mains]
        if any(online):
            return "mains"
        if any(sysfs.text(path / "status") == "Discharging" for path in self._batteries):
            return "battery"
        # Mains is unplugged, and no battery reports that it discharges.
        return "battery" if self._batteries and 0 in online else ""


def _cpu_coolers(root: Path) -> Iterator[Path]:
    for path in sorted((root / "sys/class/thermal").glob("cooling_device*")):
        kind = (sysfs.text(path / "type") or "").lower()
        if kind == "processor" or "cpu" in kind:
            yield path / "cur_state"


def _table(path: Path, names: tuple[str, ...]) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in (sysfs.text(path) or "").splitlines():
        words = line.split()
        if len(words) > 1 and words[0] in names and words[1].isdecimal():
            found[words[0]] = int(words[1])
    return found
