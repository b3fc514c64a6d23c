"""Samples the board while a job runs: `python -I -m fleetmark_agent.runner.telemetry SPEC`.

A process of its own: the agent need not carry psutil, the sampling goes on while an agent is
restarted, and it ends with the supervisor. One JSON line a sample; what the board does not offer is
null. SPEC is a JSON file: `pid` of the supervisor, `interval_s`, `rows` (the file to append to).
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

COLUMNS = (
    "elapsed_ms",
    "temperature_c",
    "frequency_hz",
    "cpu_percent",
    "memory_bytes",
    "foreign_cpu_percent",
    "load",
)
"""cpu_percent is the job's (100 is one core busy), foreign_cpu_percent everybody else's."""


class Sampler:
    """Takes samples of the board and of one process tree."""

    def __init__(self, root_pid: int) -> None:
        import psutil

        self._psutil = psutil
        self.root = psutil.Process(root_pid)
        self._tree_s: dict[int, float] = {}
        self._gone_s = 0.0
        self._last: tuple[float, float, float] | None = None
        self._begun = time.monotonic()

    def is_running(self) -> bool:
        """Whether the supervisor is still there (and not another process with its number)."""
        with suppress(self._psutil.Error):
            return bool(self.root.is_running() and self.root.status() != self._psutil.STATUS_ZOMBIE)
        return False

    def sample(self) -> list[Any]:
        """One row, see `COLUMNS`."""
        now = time.monotonic()
        memory, job_s = self._tree()
        times = self._psutil.cpu_times()
        busy_s = float(sum(times)) - times.idle - getattr(times, "iowait", 0.0)
        # On Linux, time of guests is counted within the user's.
        busy_s -= getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        cpu = foreign = None
        if self._last is not None and now > self._last[0]:
            span = now - self._last[0]
            cpu = round(max(0.0, job_s - self._last[1]) / span * 100, 1)
            foreign = round(max(0.0, (busy_s - self._last[2]) / span * 100 - cpu), 1)
        self._last = (now, job_s, busy_s)
        return [
            round((now - self._begun) * 1000),
            read_temperature(),
            self._frequency(),
            cpu,
            memory,
            foreign,
            self._load(),
        ]

    def _tree(self) -> tuple[int | None, float]:
        """Memory of the job's processes, and the CPU seconds that they have used so far."""
        psutil = self._psutil
        memory = 0
        seconds: dict[int, float] = {}
        try:
            members = self.root.children(recursive=True)
        except psutil.Error:
            return None, self._gone_s + sum(self._tree_s.values())
        for process in members:
            with suppress(psutil.Error):
                with process.oneshot():
                    memory += process.memory_info().rss
                    times = process.cpu_times()
                seconds[process.pid] = times.user + times.system
        self._gone_s += sum(s for pid, s in self._tree_s.items() if pid not in seconds)
        self._tree_s = seconds
        # Before its first and after its last process a job has no memory: that is no reading of 0.
        return (memory if seconds else None), self._gone_s + sum(seconds.values())

    def _frequency(self) -> int | None:
        with suppress(Exception):
            found = self._psutil.cpu_freq()
            if found is not None and found.current > 0:
                return round(found.current * 1e6)
        return None

    def _load(self) -> float | None:
        with suppress(OSError):
            return round(os.getloadavg()[0], 2)
        return None


def read_temperature(root: Path = Path("/")) -> float | None:
    """The highest temperature of the board's thermal zones now; None where it has none."""
    found: list[float] = []
    for path in (root / "sys/class/thermal").glob("thermal_zone*/temp"):
        with suppress(OSError, ValueError):
            value = int(path.read_text()) / 1000
            # A sensor that is not wired reads absurd values.
            if -50 < value < 200:
                found.append(value)
    return max(found) if found else None


def main(spec_path: str) -> int:
    """Sample until the supervisor ends."""
    spec = json.loads(Path(spec_path).read_bytes())
    try:
        sampler = Sampler(int(spec["pid"]))
    except Exception:
        return 0
    due = time.monotonic()
    with Path(spec["rows"]).open("a", buffering=1) as file:
        while sampler.is_running():
            try:
                file.write(json.dumps(sampler.sample()) + "\n")
            except OSError:
                # A full disk: the run goes on with fewer samples.
                time.sleep(float(spec["interval_s"]))
            due = max(due + float(spec["interval_s"]), time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
