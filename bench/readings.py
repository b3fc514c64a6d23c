"""Reads the usage of processes, of their files and of the whole machine from Linux."""

from __future__ import annotations

import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def memory_kib(pid: int) -> dict[str, int]:
    """Return `rss`, `pss` and `private` (unshared and written) memory in KiB."""
    names = {"Rss": "rss", "Pss": "pss", "Private_Dirty": "private"}
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        key, _, rest = line.partition(":")
        if key in names:
            found[names[key]] = int(rest.split()[0])
    return found


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process's live threads, in nanosecond resolution."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue
    return total / 1e9


def spent_s(pid: int) -> float:
    """Return the CPU seconds of a process and its reaped children, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # utime, stime, and those of children that were waited for.
    return sum(int(value) for value in fields[11:15]) * _TICK_S


def written_bytes(pid: int) -> dict[str, int]:
    """Return `disk`: bytes for a block device; `calls`: bytes passed to write calls of any kind."""
    values = dict(
        line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().strip().splitlines()
    )
    return {"disk": int(values["write_bytes"]), "calls": int(values["wchar"])}


def files_in(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Return inode, size and time of each file below `folder`: equal if no file was written."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def children_of(pid: int) -> list[int]:
    """Return the direct children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def machine_busy_s() -> float:
    """Return the CPU seconds that all cores together were busy since boot."""
    user, nice, system, _idle, _iowait, irq, softirq, *rest = (
        int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    steal = rest[0] if rest else 0
    return (user + nice + system + irq + softirq + steal) * _TICK_S


def own_busy_s() -> float:
    """Return the CPU seconds of this process and all its descendants, also of reaped ones."""
    total, waiting = 0.0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            total += spent_s(pid)
            waiting += children_of(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def machine() -> str:
    """Return one line about the machine and its current load."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.lower().startswith(("model name", "model\t")):
            model = line.partition(":")[2].strip()
            break
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    system = os.uname()
    return f"{system.machine}, {os.cpu_count()} cores{f', {model}' if model else ''}, load {load}"
