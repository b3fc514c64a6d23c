"""The cores of the device and their kinds; `--stable` selects cores by this.

| fact | source |
|---|---|
| core design | /proc/cpuinfo (implementer and part), else `midr_el1` |
| performance and efficiency cores of x86 | /sys/devices/cpu_core, cpu_atom, cpu_lowpower |
| cores that share a clock | `related_cpus` of cpufreq |
| relative speed | `cpu_capacity`, else `cpuinfo_max_freq` |
| hardware threads of one core | `thread_siblings_list` |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetmark_agent.fingerprint import sysfs
from fleetmark_agent.fingerprint.arm_cores import core_name
from fleetmark_agent.fingerprint.cpu_info import blocks, midr_of

_CPU = "sys/devices/system/cpu"
_MOST_CORES = 1 << 14
_HYBRID = {"cpu_core": "performance", "cpu_atom": "efficiency", "cpu_lowpower": "low-power"}
_MIDR = "regs/identification/midr_el1"


@dataclass(frozen=True)
class Core:
    """One logical core.

    Args:
        number: the kernel's number of the core.
        design: the Arm design, or `performance`, `efficiency`, `low-power`; empty if unknown.
        is_arm: whether `design` is an Arm design. Cores of one Arm design run at one clock unless
            they are in different clusters; cores of one x86 design may differ (favored cores).
        policy: number of the cpufreq policy, which identifies the clock.
        speed: capacity or highest clock; comparable only among the cores of one device.
        physical: lowest number among the hardware threads of the same physical core.
    """

    number: int
    design: str = ""
    is_arm: bool = False
    policy: int | None = None
    speed: int | None = None
    physical: int | None = None


def read_cores(root: Path = Path("/")) -> dict[int, Core]:
    """Return the cores that the kernel shows, by number; facts that it does not show are unset."""
    folders = {
        int(folder.name[3:]): folder
        for folder in (root / _CPU).glob("cpu[0-9]*")
        if folder.name[3:].isdecimal() and len(folder.name) < 9
    }
    designs = _designs(root, folders)
    policies = _policies(root, folders)
    speeds = _speeds(folders)
    return {
        number: Core(
            number=number,
            design=designs.get(number, ("", False))[0],
            is_arm=designs.get(number, ("", False))[1],
            policy=policies.get(number),
            speed=speeds.get(number),
            physical=_physical(folders.get(number), number),
        )
        for number in sorted({*folders, *designs, *policies})
    }


def cpu_list(text: str | None) -> list[int]:
    """Return the numbers of a list in the kernel's format: `0-3,8` or `0 1 2 3`.

    Words that are not a number or a range are ignored, as are numbers above the highest core
    number.
    """
    found: set[int] = set()
    for word in (text or "").replace(",", " ").split():
        first, dash, last = word.partition("-")
        if not _is_number(first) or (dash and not _is_number(last)):
            continue
        found.update(range(int(first), min(int(last if dash else first), _MOST_CORES - 1) + 1))
    return sorted(found)


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 6


def _designs(root: Path, folders: Mapping[int, Path]) -> dict[int, tuple[str, bool]]:
    found: dict[int, tuple[str, bool]] = {}
    for block in blocks(sysfs.text(root / "proc/cpuinfo") or ""):
        processor, midr = block.get("processor", ""), midr_of(block)
        if _is_number(processor) and midr is not None:
            found[int(processor)] = (core_name(*midr), True)
    for number, folder in folders.items():
        register = sysfs.text(folder / _MIDR)
        if number not in found and register is not None:
            try:
                value = int(register, 16)
            except ValueError:
                continue
            # Bits 31 to 24 and 15 to 4 of MIDR_EL1 (Arm Architecture Reference Manual).
            found[number] = (core_name(value >> 24 & 0xFF, value >> 4 & 0xFFF), True)
    for name, design in _HYBRID.items():
        for number in cpu_list(sysfs.text(root / "sys/devices" / name / "cpus")):
            found.setdefault(number, (design, False))
    return found


def _policies(root: Path, folders: Mapping[int, Path]) -> dict[int, int]:
    found: dict[int, int] = {}
    shared = {p.name[6:]: p for p in (root / _CPU / "cpufreq").glob("policy[0-9]*")}
    places = [(int(name), path) for name, path in shared.items() if _is_number(name)]
    places += [(number, folder / "cpufreq") for number, folder in folders.items()]
    for policy, path in sorted(places, key=lambda place: place[0]):
        for number in cpu_list(sysfs.text(path / "related_cpus")):
            found.setdefault(number, policy)
    return found


def _speeds(folders: Mapping[int, Path]) -> dict[int, int]:
    """Return capacities, or highest clocks if more cores have those; the two are not comparable."""
    clocks: dict[int, int] = {}
    capacities: dict[int, int] = {}
    for number, folder in folders.items():
        if (capacity := sysfs.whole(folder / "cpu_capacity")) is not None and capacity > 0:
            capacities[number] = capacity
        if (clock := sysfs.whole(folder / "cpufreq/cpuinfo_max_freq")) is not None and clock > 0:
            clocks[number] = clock
    return capacities if len(capacities) >= len(clocks) else clocks


def _physical(folder: Path | None, number: int) -> int:
    siblings: Iterable[int] = ()
    if folder is not None:
        siblings = cpu_list(sysfs.text(folder / "topology/thread_siblings_list"))
    return min([number, *siblings])
