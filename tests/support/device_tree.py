"""Another device's /sys and /proc, as files below a folder: what a test sets, the agent reads."""

from __future__ import annotations

from pathlib import Path

CPU = "sys/devices/system/cpu"


class DeviceTree:
    """A tree of small files. Files are replaced atomically, so that no reader sees half of one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def put(self, path: str, value: object) -> Path:
        """Write one file."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{target.name}.new")
        scratch.write_text(f"{value}\n")
        scratch.replace(target)
        return target

    def get(self, path: str) -> str:
        """Read one file."""
        return (self.root / path).read_text().strip()

    # What devices have.

    def temperature(self, celsius: float) -> None:
        self.put("sys/class/thermal/thermal_zone0/type", "cpu-thermal")
        self.put("sys/class/thermal/thermal_zone0/temp", round(celsius * 1000))

    def clock(self, mhz: int, policy: int = 0) -> None:
        self.put(f"{CPU}/cpufreq/policy{policy}/scaling_cur_freq", mhz * 1000)

    def ceiling(self, mhz: int, policy: int = 0) -> None:
        self.put(f"{CPU}/cpufreq/policy{policy}/scaling_max_freq", mhz * 1000)

    def governor(self, name: str, choices: str = "performance powersave", policy: int = 0) -> None:
        folder = f"{CPU}/cpufreq/policy{policy}"
        self.put(f"{folder}/scaling_governor", name)
        self.put(f"{folder}/scaling_available_governors", choices)

    def firmware(self, value: int) -> None:
        """Set a Raspberry Pi's get_throttled, as its kernel shows it."""
        self.put("sys/devices/platform/soc/soc:firmware/get_throttled", f"{value:x}")

    def power_supply(self, *, mains: bool, discharging: bool) -> None:
        folder = "sys/class/power_supply"
        self.put(f"{folder}/AC/type", "Mains")
        self.put(f"{folder}/AC/online", int(mains))
        self.put(f"{folder}/BAT0/type", "Battery")
        self.put(f"{folder}/BAT0/status", "Discharging" if discharging else "Full")

    def swap(self, *, used_mib: int, swapped_pages: int) -> None:
        self.put("proc/meminfo", f"SwapTotal: 1048576 kB\nSwapFree: {1048576 - used_mib * 1024} kB")
        self.put("proc/vmstat", f"nr_free_pages 7\npswpin {swapped_pages}\npswpout 0")

    def cpu_quota(self, *, periods: int, throttled: int, quota: str = "max 100000") -> None:
        """Set the quota of the agent's own control group, version 2."""
        group = "sys/fs/cgroup/system.slice/agent.service"
        self.put("proc/self/cgroup", "0::/system.slice/agent.service")
        self.put(f"{group}/cpu.max", quota)
        self.put(f"{group}/cpu.stat", f"nr_periods {periods}\nnr_throttled {throttled}")

    def rapl(self, zone: str, name: str, microjoules: int, wraps_at: int = 262_143_328_850) -> None:
        folder = f"sys/class/powercap/{zone}"
        self.put(f"{folder}/name", name)
        self.put(f"{folder}/max_energy_range_uj", wraps_at)
        self.put(f"{folder}/energy_uj", microjoules)

    def reset_to_healthy(self) -> DeviceTree:
        """Write the files of a device with all sensors and no problem."""
        self.temperature(45)
        self.clock(1800)
        self.ceiling(1800)
        self.governor("powersave")
        self.firmware(0)
        self.power_supply(mains=True, discharging=False)
        self.swap(used_mib=0, swapped_pages=1000)
        self.cpu_quota(periods=0, throttled=0)
        return self
